"""What is to be brought into the kernel: subjects, their hooks best first, and the blind spot that a missing one leaves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hook:
    """One thing to observe. `programs` are ways to do it, best first; the first that loads and attaches is taken."""

    name: str
    object: str
    programs: tuple[str, ...]
    table: str
    blind_spot: str


HOOKS: tuple[Hook, ...] = (
    Hook("cgroup_create", "cgroup", ("cgroup_create",), "container", "creation of cgroups"),
    Hook("cgroup_remove", "cgroup", ("cgroup_remove",), "container", "removal of cgroups"),
    Hook("cgroup_move", "cgroup", ("cgroup_move",), "container", "moves of processes between cgroups"),
    Hook("process_exit", "exit", ("process_exit",), "process", "when and how processes end"),
    Hook("process_fork", "process", ("process_fork",), "process", "forks, and the parents of processes"),
    Hook(
        "process_prepare",
        "process",
        ("process_prepare", "process_prepare_fentry"),
        "process",
        "credentials before an exec: set-uid gains are judged by the file's mode alone (flag GAIN_UNSURE)",
    ),
    Hook("process_exec", "process", ("process_exec",), "process", "executed programs"),
)

#: Iterators, run once at the start in this order.
EXISTING: tuple[Hook, ...] = (
    Hook("existing_host", "existing", ("existing_host",), "process", "which namespaces are the host's"),
    Hook("existing_processes", "existing", ("existing_processes",), "process", "processes that ran already"),
)

#: Iterators over one map each, begun again each second where short processes fold: without both, none does.
SWEEPS: tuple[Hook, ...] = (
    Hook("fold_late", "fold", ("fold_late",), "process", "short processes do not fold: each has its own rows"),
    Hook("fold_tell", "fold", ("fold_tell",), "process", "short processes do not fold: each has its own rows"),
)
#: The maps that they go over.
SWEPT = {"fold_late": "withheld_forks", "fold_tell": "folds"}

#: Maps that all objects share, pinned under these names.
SHARED = (
    "ring",
    "urgent",
    "control",
    "produced",
    "failures",
    "records",
    "paths",
    "host",
    "processes",
    "cgroups",
    "scopes",
    "fold_words",
    "fold_secret",
    "withheld_forks",
    "withheld_execs",
    "folds",
)
