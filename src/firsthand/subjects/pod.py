"""Pods, as the container runtimes tell them."""

from __future__ import annotations

from firsthand.subjects.column import Column
from firsthand.subjects.columns import HOST, RUNTIME, WHOSE, WORDS
from firsthand.subjects.declare import NAMES, Subject, SubjectTable, TimelineRow

_TABLE = SubjectTable(
    "pod",
    "Pods over time, with their addresses, from the container runtimes",
    (
        Column("event", "text", "named (the whole row again at each change), gone"),
        Column("pod_uid", "text", "Kubernetes pod uid"),
        Column("runtime", "text", "the container runtime that told it"),
        *RUNTIME,
        *HOST,
        *WORDS,
        Column(
            "addresses_since",
            "time",
            "its addresses were its own from this moment on, to `until`; null while it is not known",
        ),
    ),
    kinds=("named", "gone"),
    retention=NAMES,
    summary=WHOSE[:-1],  # it has no container_name
    line=TimelineRow("array_to_string(addresses, ' ')", "concat_ws(' ', runtime, state, workload)"),
)

SUBJECT = Subject("pod", (_TABLE,), rank=70)
