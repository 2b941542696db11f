"""Cgroups, and the containers in them."""

from __future__ import annotations

from firsthand.subjects.column import Column
from firsthand.subjects.columns import CGROUP, HOST, RUNTIME, WHOSE, WORDS
from firsthand.subjects.declare import NAMES, Canary, CanaryEvent, Hook, Subject, SubjectTable, TimelineRow

_TABLE = SubjectTable(
    "container",
    "Cgroups and the containers in them over time: from the kernel, and by name from the runtimes",
    (
        Column(
            "event",
            "text",
            "of a cgroup: create, remove, move (a process came into it), seen (first met, or there before); of a container, as "
            "its runtime tells: named (the whole row again at each change), gone; of a cgroup whose path names a container: confirmed (where "
            "that is not the place that its `named` row has), contradicted (`reason` is where its runtime has it)",
        ),
        *CGROUP,
        Column("container_name", "text", "name of the container in its pod, or its runtime's name for it"),
        Column("attempt", "int32", "how often the kubelet had started it before"),
        Column("sandbox", "text", "id of its pod's sandbox"),
        Column("kind", "text", "sandbox, init, ephemeral or container; null while unknown"),
        Column(
            "kind_source", "text", "what told the kind: runtime, spec (the pod's last applied one), order (of its end)"
        ),
        *RUNTIME,
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
        *HOST,
        Column(
            "mounts",
            "list",
            "mounts from the host, SOURCE:TARGET:ro|rw, with :shared behind where mounts go back to it",
        ),
        *WORDS,
        Column(
            "users",
            "list",
            "UID=NAME by the container's own /etc/passwd, uid as the machine has it: what the container says; null: not read",
        ),
    ),
    kinds=("create", "remove", "move", "seen", "named", "gone", "confirmed", "contradicted"),
    retention=NAMES,
    summary=WHOSE,
    line=TimelineRow("coalesce(cgroup_path, image)", "concat_ws(' ', runtime, kind, state)"),
)

SUBJECT = Subject(
    "container",
    (_TABLE,),
    hooks=(
        Hook("cgroup_create", "cgroup", ("cgroup_create",), "container", "creation of cgroups"),
        Hook("cgroup_remove", "cgroup", ("cgroup_remove",), "container", "removal of cgroups"),
        Hook("cgroup_move", "cgroup", ("cgroup_move",), "container", "moves of processes between cgroups"),
    ),
    # The round's own cgroup (probe/rounds.py).
    canary=Canary(
        (
            CanaryEvent("container", "create", ("cgroup_create",)),
            CanaryEvent("container", "move", ("cgroup_move",)),
            CanaryEvent("container", "remove", ("cgroup_remove",)),
            CanaryEvent("container", "seen"),
        )
    ),
    rank=10,
)
