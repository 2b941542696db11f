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
    "malformed",
    "canary_silent",
    "log_damaged",
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

#: Columns behind the common ones that user space derives or makes, by table.
OWN: dict[str, tuple[Column, ...]] = {
    "process": (
        Column(
            "event",
            "text",
            "fork, exec, exit; seen: it ran already when observing began; folded: equal short processes in one row",
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
    ),
    "container": (
        Column(
            "event",
            "text",
            "of a cgroup: create, remove, move (a process came into it), seen (first met, or there before); of a container, as "
            "its runtime tells: named (the whole row again at each change), gone",
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
    "loss": "What is known to be missing, with its cause",
    "clock": "Pairs of the wall clock and the kernel's clock, by which `time` was computed",
    "observer": "When Firsthand observed, with which hooks, scope and settings",
}

#: What each table is of at HEAD: kind of source, for the reference page.
SOURCE = _HERE
