"""Columns that user space adds: declared here, once, in the same words as the kernel's."""

from __future__ import annotations

from firsthand.schema.column import Column

_HERE = "user space"
#: Every cause of a row of `loss`; docs/loss.md has a line for each.
CAUSES = (
    "sequence_gap",
    "open_tail",
    "recursion_miss",
    "helper_failed",
    "withheld",
    "translation_overflow",
    "dissector",
    "malformed",
    "canary_silent",
    "control_changed",
    "scope_remade",
    "log_damaged",
    "segment_damaged",
    "runtime_gone",
    "retention",
)

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

_CGROUP = (
    Column("cgroup_path", "text", "path of the cgroup below its hierarchy's root"),
    Column("runtime", "text", "container runtime where the cgroup path names one; null: unknown or host"),
    Column("pod_uid", "text", "Kubernetes pod uid from the cgroup path"),
)

_RUNTIME = (
    Column("socket", "text", "the runtime's socket that told it"),
    Column("state", "text", "container: created, running, exited, unknown; pod: ready, not_ready"),
    Column("since", "time", "it existed from this moment"),
    Column("until", "time", "it lived until this moment; null: it still did"),
)
_HOST = (
    Column("host_pid", "bool", "declared to share the host's pid namespace; null: the runtime does not tell"),
    Column("host_network", "bool", "declared to share the host's network namespace"),
    Column("host_ipc", "bool", "declared to share the host's IPC namespace"),
)
_WORDS = (
    Column("addresses", "list", "its network addresses, as the runtime tells them"),
    Column("labels", "list", "labels as KEY=VALUE"),
    Column("annotations", "list", "the wanted annotations as KEY=VALUE (setting runtimes.annotations)"),
    Column("workload_source", "text", "what told the workload: the label or annotation; null: no workload is known"),
    Column("cut", "text", "names of the columns that were cut at their bound, comma separated; null: none"),
)

_NAMED = (
    Column("container_name", "text", "name of the container in its pod, or its runtime's name for it; null: unknown"),
    Column("workload_source", "text", "what told the workload: the label or annotation; null: no workload is known"),
)
_CLAIMED = Column(
    "claimed",
    "bool",
    "its container or pod is what the cgroup's path says and no runtime confirmed; false: a runtime has it in that cgroup; null: in none",
)
#: Of the packet that a row was read from: the same words as the kernel's for a connection.
_PACKET = (
    *_CGROUP,
    *_NAMED,
    _CLAIMED,
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

#: Columns behind the common ones that user space derives or makes, by table.
OWN: dict[str, tuple[Column, ...]] = {
    "process": (
        Column(
            "event",
            "text",
            "fork, exec, exit; seen: it ran already when observing began; folded: equal short processes in one row; left: it was moved out of "
            "the scope, and what it did then was not recorded",
        ),
        *_CGROUP,
        Column("redacted", "bool", "something in the arguments was replaced before it reached the disk"),
        Column("redaction", "text", "names of the redaction patterns that matched, comma separated"),
        Column(
            "container_name",
            "text",
            "name of the container in its pod, or its runtime's name for it; null while unknown",
        ),
        Column(
            "workload_source", "text", "what told the workload: the label or annotation; null: no workload is known"
        ),
        Column("folded_until", "time", "when the last one of a folded row was executed; `time` is the first one's"),
        _CLAIMED,
    ),
    "container": (
        Column(
            "event",
            "text",
            "of a cgroup: create, remove, move (a process came into it), seen (first met, or there before); of a container, as "
            "its runtime tells: named (the whole row again at each change), gone; of a cgroup whose path names a container: confirmed (where "
            "that is not the place that its `named` row has), contradicted (`reason` is where its runtime has it)",
        ),
        *_CGROUP,
        Column("container_name", "text", "name of the container in its pod, or its runtime's name for it"),
        Column("attempt", "int32", "how often the kubelet had started it before"),
        Column("sandbox", "text", "id of its pod's sandbox"),
        Column("kind", "text", "sandbox, init, ephemeral or container; null while unknown"),
        Column(
            "kind_source", "text", "what told the kind: runtime, spec (the pod's last applied one), order (of its end)"
        ),
        *_RUNTIME,
        Column("started", "time", "when its first process started"),
        Column("finished", "time", "when its first process ended"),
        Column("exit_code", "int32", "of its first process, as the runtime tells it"),
        Column("reason", "text", "why it ended, as the runtime tells it"),
        Column("image_digest", "text", "sha256 of the image's manifest where the runtime tells one, else the image id"),
        Column("image_id", "text", "the runtime's own id of the image"),
        Column("privileged", "bool", "declared privileged; null: the runtime does not tell"),
        Column(
            "cap_declared",
            "int64",
            "declared bounding set, bits of linux/capability.h; null: the runtime does not tell",
        ),
        Column("declared_uid", "int64", "declared user id of its first process"),
        Column("no_new_privileges", "bool", "declared: no exec may gain privilege"),
        Column("seccomp", "text", "declared seccomp: unconfined, or the profile's default action or name"),
        *_HOST,
        Column(
            "mounts",
            "list",
            "mounts from the host, SOURCE:TARGET:ro|rw, with :shared behind where mounts go back to it",
        ),
        *_WORDS,
        Column(
            "users",
            "list",
            "UID=NAME by the container's own /etc/passwd, uid as the machine has it: what the container says; null: not read",
        ),
    ),
    "pod": (
        Column("event", "text", "named (the whole row again at each change), gone"),
        Column("pod_uid", "text", "Kubernetes pod uid"),
        Column("runtime", "text", "the container runtime that told it"),
        *_RUNTIME,
        *_HOST,
        *_WORDS,
        Column(
            "addresses_since",
            "time",
            "its addresses were its own from this moment on, to `until`; null while it is not known",
        ),
    ),
    "connection": (
        Column(
            "event",
            "text",
            "connect: an attempt and its outcome; accept; listen; close, with what was carried; taken: another process uses it "
            "now; seen: it was there when observing began; open: a raw or packet socket was made; folded: equal short connections in one row",
        ),
        *_CGROUP,
        *_NAMED,
        _CLAIMED,
        Column("folded_until", "time", "when the last one of a folded row was made; `time` is the first one's"),
        Column("names", "list", "names that this pod had asked for and that gave peer_address, newest first"),
        Column("names_cut", "bool", "there were more names than fit into `names`"),
        Column("nat_address", "text", "the peer's address after translation (DNAT), where it differs"),
        Column("nat_port", "int32", "the peer's port after translation"),
        Column(
            "peer_kind",
            "text",
            "who held the peer's address (after translation) at that moment: pod, container (in no pod), service, node; where that is "
            "not known, what the address is by itself: loopback, multicast, private or external",
        ),
        Column("peer_pod", "text", "pod that held the peer's address (after translation) at that moment"),
        Column("peer_namespace", "text", "its Kubernetes namespace"),
        Column("peer_workload", "text", "its workload; of a service namespace/Service/name"),
        Column("peer_name", "text", "name of the node, or of the container in no pod, that held it"),
    ),
    "address": (
        Column("event", "text", "held (the whole row again at each change and each day), gone"),
        Column("kind", "text", "node or service"),
        Column("address", "text", "the address"),
        Column("name", "text", "name of the node or service; `namespace` is the service's"),
        Column("source", "text", "what told it: machine (its own addresses)"),
        Column(
            "since",
            "time",
            "it was held from this moment; from the boot on where it was there already when first looked at",
        ),
        Column("until", "time", "it was held until this moment; null: it still was"),
    ),
    "name": (
        Column(
            "event",
            "text",
            "question, answer; unanswered: a question to which no answer came within 5 s, at its own time",
        ),
        *_PACKET,
        Column("query_id", "int32", "the message's id"),
        Column("name", "text", "the name asked for, lower case, without the last dot"),
        Column("type", "text", "the type asked for: A, AAAA, ..."),
        Column("rcode", "text", "NOERROR, NXDOMAIN, ...; null in questions"),
        Column("records", "list", "every record of the answer: NAME TTL TYPE DATA"),
        Column("addresses", "list", "addresses that the answer gives for the name, aliases followed"),
        Column("ttl", "int32", "least time to live of these", "s"),
        Column("latency", "int64", "from the question to its answer on the same socket", "ns"),
        Column(
            "marks",
            "text",
            "what is remarkable: MALFORMED, LOOP, OVERSIZED, TRUNCATED, UNASKED, FOREIGN_RESOLVER, TUNNEL",
        ),
        Column("reason", "text", "what each mark is for, where it needs a word"),
    ),
    "request": (
        Column("event", "text", "tls: a ClientHello; http: a request's head"),
        *_PACKET,
        Column("protocol", "text", "tls, http/1.0, http/1.1, h2 (prior knowledge)"),
        Column("sni", "text", "server name of the ClientHello; null: none was sent, or it is encrypted (ech)"),
        Column("ech", "bool", "the ClientHello has an encrypted part: `sni` is the outer one"),
        Column("alpn", "list", "protocols that the client offers"),
        Column("tls_version", "text", "highest version offered"),
        Column("ja4", "text", "JA4 fingerprint of the ClientHello"),
        Column("method", "text", "HTTP method"),
        Column("host", "text", "Host or :authority, lower case, without the port"),
        Column("url_path", "text", "path, redacted; the query is cut unless a setting keeps it"),
        Column("user_agent", "text", "User-Agent, redacted"),
        Column("marks", "text", "what is remarkable: FRONTED, NO_SNI, MALFORMED, TRUNCATED"),
        Column("reason", "text", "what each mark is for, where it needs a word"),
        Column("redacted", "bool", "something in path or user agent was replaced before it reached the disk"),
        Column("redaction", "text", "names of the redaction patterns that matched, comma separated"),
        Column("within_tls", "bool", "the head was given to libssl: it went out encrypted (setting network.plaintext)"),
    ),
    "packet": (Column("event", "text", "packet"), *_CGROUP),
    "loss": (
        Column("table_name", "text", "the table whose rows are missing; null: any"),
        Column("cause", "text", f"why: {', '.join(CAUSES)}; docs/loss.md tells each"),
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
        Column(
            "event",
            "text",
            "start, or resume after a crash; ready, alive, stop; runtime: a container runtime is followed, lost or found again",
        ),
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
        Column(
            "measures",
            "text",
            "JSON: what the writer measures of itself, numbers by name; a bound is NAME beside NAME_limit",
        ),
    ),
}

DOCS: dict[str, str] = {
    "process": "Life of processes: fork, exec, exit, and what ran before observing began",
    "container": "Cgroups and the containers in them over time: from the kernel, and by name from the runtimes",
    "pod": "Pods over time, with their addresses, from the container runtimes",
    "address": "Addresses of the machine over time; `pod` and `container` have those of pods and containers",
    "connection": "Sockets: who connected, accepted and listened, with whom, how it ended and what it carried",
    "name": "DNS: questions and answers with process and pod",
    "request": "Heads of TLS and HTTP: the name asked for, inside and outside",
    "packet": "Packets on their way to `name` and `request`; never kept",
    "loss": "What is known to be missing, with its cause",
    "clock": "Pairs of the wall clock and the kernel's clock, by which `time` was computed",
    "observer": "When Firsthand observed, with which hooks, scope and settings",
}

#: Tables that batches pass through on their way to others: no row of theirs is kept.
PASSING = ("packet",)

#: What each table is of at HEAD: kind of source, for the reference page.
SOURCE = _HERE
