"""The life of processes."""

from __future__ import annotations

import contextlib
import os

from firsthand.subjects.column import Column
from firsthand.subjects.columns import CGROUP, CLAIMED, OUTSIDE, WHO
from firsthand.subjects.declare import (
    BY_FLAGS,
    FOLD,
    IMAGE,
    SECRET,
    Canary,
    CanaryEvent,
    Hook,
    Subject,
    SubjectTable,
    TimelineRow,
)

_EXECUTED = ("exec", "seen", "folded")
_DETAIL = """CASE WHEN event = 'exit' THEN coalesce('code ' || exit_code, 'signal ' || exit_signal)
         WHEN event = 'left' THEN 'left the scope'
         WHEN event = 'folded' THEN concat('x ', folded_count, strftime(folded_until, ' until %H:%M:%S.%g'), ', each code ', exit_code, ': ',
             array_to_string(args, ' '))
         ELSE coalesce(array_to_string(args, ' '), '') END"""
_TABLE = SubjectTable(
    "process",
    "Life of processes: fork, exec, exit, and what ran before observing began",
    (
        Column(
            "event",
            "text",
            "fork, exec, exit; seen: it ran already when observing began; folded: equal short processes in one row; left: it was moved out of "
            "the scope, and what it did then was not recorded",
        ),
        *CGROUP,
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
        CLAIMED,
    ),
    roles={"exe": IMAGE, "args": SECRET, "folded_last": FOLD},
    fills={
        "redacted": _EXECUTED,
        "redaction": _EXECUTED,
        "folded_until": ("folded",),
        "exe": ("fork", "exec", "exit", "seen", "folded", "left"),
    },
    retention=BY_FLAGS,
    summary=(*WHO, "event"),
    facts={
        "outside": (*OUTSIDE["outside"], "ns_pid", "host_namespaces", "boot", "file_device"),
        "host_device": ("file_device", "host_namespaces"),
    },
    line=TimelineRow("exe", _DETAIL),
)

_UNFOLDED = "short processes do not fold: each has its own rows"


def _cause(token: str) -> None:
    """A grandchild that executes something small."""
    grandchild = os.fork()
    if not grandchild:
        for program in ("/bin/true", "/usr/bin/true"):
            with contextlib.suppress(OSError):
                os.execv(program, ["firsthand-canary", token])
        os._exit(1)
    os.waitpid(grandchild, 0)


SUBJECT = Subject(
    "process",
    (_TABLE,),
    hooks=(
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
    ),
    existing=(
        Hook("existing_host", "existing", ("existing_host",), "process", "which namespaces are the host's"),
        Hook("existing_processes", "existing", ("existing_processes",), "process", "processes that ran already"),
    ),
    sweeps={
        "withheld_forks": Hook("fold_late", "fold", ("fold_late",), "process", _UNFOLDED),
        "folds": Hook("fold_tell", "fold", ("fold_tell",), "process", _UNFOLDED),
    },
    # The round's child and grandchild; the moment before an exec answers by what the exec knows of it.
    canary=Canary(
        (
            CanaryEvent("process", "fork", ("process_fork",)),
            CanaryEvent(
                "process",
                "exec",
                ("process_exec",),
                named=True,
                unless={"process_prepare": ("process_flag", "GAIN_UNSURE")},
            ),
            CanaryEvent("process", "exit", ("process_exit",), times=2),
            CanaryEvent("process", "seen", named=True, times=2),
        ),
        _cause,
    ),
    rank=20,
)
