"""Columns that user space adds: declared here, once, in the same words as the kernel's."""

from __future__ import annotations

from firsthand.schema.column import Column

_HERE = "user space"

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
    Column("container", "text", "container id from the cgroup path; null on the host"),
    Column("pod", "text", "pod name; null while unknown"),
    Column("namespace", "text", "Kubernetes namespace; null while unknown"),
    Column("workload", "text", "namespace/kind/name of the top owner; null while unknown"),
    Column("image", "text", "container image; null while unknown"),
    Column("exe", "text", "path of the binary from the resolved dentry, in its mount namespace"),
)

_CGROUP = (
    Column("cgroup_path", "text", "path of the cgroup below its hierarchy's root"),
    Column("runtime", "text", "container runtime where the cgroup path names one; null: unknown or host"),
    Column("pod_uid", "text", "Kubernetes pod uid from the cgroup path"),
)

#: Columns behind the common ones that user space derives or makes, by table.
OWN: dict[str, tuple[Column, ...]] = {
    "process": (
        Column("event", "text", "fork, exec, exit, or seen: it ran already when observing began"),
        *_CGROUP,
        Column("redacted", "bool", "something in the arguments was replaced before it reached the disk"),
        Column("redaction", "text", "names of the redaction patterns that matched, comma separated"),
    ),
    "container": (
        Column("event", "text", "create, remove, move (a process came into it), or seen: first met, or there before"),
        *_CGROUP,
    ),
    "loss": (
        Column("table_name", "text", "the table whose rows are missing; null: any"),
        Column("cause", "text", "why: sequence_gap, open_tail, recursion_miss, helper_failed, reserve_failed, ..."),
        Column("events", "int64", "how many records or values are missing"),
        Column("since", "time", "the loss happened after this moment"),
        Column("until", "time", "the loss happened before this moment"),
        Column("detail", "text", "the program, helper or place concerned"),
    ),
    "clock": (
        Column("realtime", "int64", "CLOCK_REALTIME of the sample", "ns"),
        Column("boottime", "int64", "CLOCK_BOOTTIME at the same moment", "ns"),
    ),
    "observer": (
        Column("event", "text", "start, ready, alive or stop"),
        Column("instance", "text", "name of the pin folder"),
        Column("version", "text", "version of Firsthand"),
        Column("kernel", "text", "uname release and machine"),
        Column("scope", "text", "cgroup folders observed, newline separated; null: the whole machine"),
        Column("hooks", "text", "JSON: each hook's name and `present` or `missing: why`"),
        Column("blind_spots", "text", "JSON list: what the present hooks cannot see"),
        Column("settings", "text", "JSON: settings in force that leave something out"),
        Column("layout", "text", "hash of the record layout; its description is under schema/"),
        Column("recorded", "int64", "records read from the rings so far"),
        Column("lost", "int64", "records counted as lost so far"),
    ),
}

DOCS: dict[str, str] = {
    "process": "Life of processes: fork, exec, exit, and what ran before observing began",
    "container": "Cgroups and the containers in them over time",
    "loss": "What is known to be missing, with its cause",
    "clock": "Pairs of the wall clock and the kernel's clock, by which `time` was computed",
    "observer": "When Firsthand observed, with which hooks, scope and settings",
}

#: What each table is of at HEAD: kind of source, for the reference page.
SOURCE = _HERE
