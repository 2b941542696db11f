"""Columns that several tables have: those of every table, and groups that subjects share."""

from __future__ import annotations

from firsthand.subjects.column import Column

#: The first columns of every table, in this order (DESIGN.md). Those the kernel sends are filled from its records.
COMMON: tuple[Column, ...] = (
    Column("time", "time", "when it happened, UTC; computed once, at the first drain, from the last clock sample"),
    Column("ktime", "int64", "bpf_ktime_get_boot_ns: since boot, suspend included", "ns"),
    Column("node", "text", "name of the machine"),
    Column("boot", "text", "/proc/sys/kernel/random/boot_id of this boot"),
    Column("ring", "int16", "the ring that carried the record: 0 ordinary, 1 urgent"),
    Column("cpu", "int16", "the processor on which it happened"),
    Column("seq", "int64", "number of the record in its (ring, cpu); a gap is a loss"),
    Column("exec_tgid", "int32", "exec_id, part 2 (after boot): the process's id in the host's pid namespace"),
    Column("exec_start", "int64", "exec_id, part 3: start_boottime of the process's leader", "ns"),
    Column("exec_number", "int64", "exec_id, part 4: self_exec_id, which rises at each exec"),
    Column("parent_tgid", "int32", "the parent's id at the fork"),
    Column("parent_start", "int64", "the parent's start_boottime at the fork", "ns"),
    Column("parent_number", "int64", "the parent's self_exec_id at the fork"),
    Column("pid", "int32", "process id in the host's pid namespace, as ps shows it"),
    Column(
        "container",
        "text",
        "container id, from the cgroup path or from what a runtime tells of that cgroup; null on the host",
    ),
    Column("pod", "text", "pod name; null while unknown"),
    Column("namespace", "text", "Kubernetes namespace; null while unknown"),
    Column("workload", "text", "namespace/kind/name of the top owner; null while unknown"),
    Column("image", "text", "container image; null while unknown"),
    Column("exe", "text", "path of the binary from the resolved dentry, in its mount namespace"),
)

CGROUP = (
    Column("cgroup_path", "text", "path of the cgroup below its hierarchy's root"),
    Column("runtime", "text", "container runtime where the cgroup path names one; null: unknown or host"),
    Column("pod_uid", "text", "Kubernetes pod uid from the cgroup path"),
)

RUNTIME = (
    Column("socket", "text", "the runtime's socket that told it"),
    Column("state", "text", "container: created, running, exited, unknown; pod: ready, not_ready"),
    Column("since", "time", "it existed from this moment"),
    Column("until", "time", "it lived until this moment; null: it still did"),
)
HOST = (
    Column("host_pid", "bool", "declared to share the host's pid namespace; null: the runtime does not tell"),
    Column("host_network", "bool", "declared to share the host's network namespace"),
    Column("host_ipc", "bool", "declared to share the host's IPC namespace"),
)
WORDS = (
    Column("addresses", "list", "its network addresses, as the runtime tells them"),
    Column("labels", "list", "labels as KEY=VALUE"),
    Column("annotations", "list", "the wanted annotations as KEY=VALUE (setting runtimes.annotations)"),
    Column("workload_source", "text", "what told the workload: the label or annotation; null: no workload is known"),
    Column("cut", "text", "names of the columns that were cut at their bound, comma separated; null: none"),
)

OWNER_NAMES = (
    Column("container_name", "text", "name of the container in its pod, or its runtime's name for it; null: unknown"),
    Column("workload_source", "text", "what told the workload: the label or annotation; null: no workload is known"),
)
CLAIMED = Column(
    "claimed",
    "bool",
    "its container or pod is what the cgroup's path says and no runtime confirmed; false: a runtime has it in that cgroup; null: in none",
)
#: Of the packet that a row was read from: the same words as the kernel's for a connection.
PACKET = (
    *CGROUP,
    *OWNER_NAMES,
    CLAIMED,
    Column("cgroup_id", "int64", "kernfs id of the cgroup's directory"),
    Column("cgroup_hierarchy", "int64", "the hierarchy of cgroup_id: 0 is cgroup v2"),
    Column("ns_net", "int64", "network namespace of the socket, inode number as in /proc/PID/ns"),
    Column("cookie", "int64", "the socket's cookie: joins with `connection`"),
    Column("transport", "text", "tcp or udp"),
    Column("direction", "text", "out: this row's process sent the message; in: it was sent to it"),
    Column("local_address", "text", "the socket's own address"),
    Column("local_port", "int64", "the socket's own port"),
    Column("peer_address", "text", "the other end's address"),
    Column("peer_port", "int64", "the other end's port"),
    Column("uid", "int64", "real user id of the process, in the host's user namespace"),
    Column("euid", "int64", "effective user id of the process"),
    Column("cap_permitted", "int64", "permitted set of the process, bits of linux/capability.h"),
    Column("cap_effective", "int64", "effective set of the process"),
    Column("message_bytes", "int32", "true length of the message or head, as far as it is known", "bytes"),
)

#: What every table of the kernel side's events has: whose a row is, filled from its `cgroup_id`, and by name when it becomes a segment.
OWNED = (*CGROUP, *OWNER_NAMES, CLAIMED)

#: Columns that say whose a row is, by whose values segments are chosen (history/store/summary.py).
WHOSE = ("container", "pod", "pod_uid", "namespace", "workload", "image", "container_name")
WHO = ("exec_start", "parent_start", "exe", *WHOSE)
#: What history/store/summary.py makes of rows in no container.
OUTSIDE = {"outside": ("container", "cgroup_id", "cgroup_path")}
