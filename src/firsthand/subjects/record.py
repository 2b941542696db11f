"""What Firsthand says of the record itself: when it observed, by which clock, and what is missing."""

from __future__ import annotations

from firsthand.subjects.column import Column
from firsthand.subjects.declare import RECORD, Subject, SubjectTable, TimelineRow

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

_LOSS = SubjectTable(
    "loss",
    "What is known to be missing, with its cause",
    (
        Column("table_name", "text", "the table whose rows are missing; null: any"),
        Column("cause", "text", f"why: {', '.join(CAUSES)}; docs/loss.md tells each"),
        Column("events", "int64", "how many records or values are missing"),
        Column("since", "time", "the loss happened after this moment"),
        Column("until", "time", "the loss happened before this moment"),
        Column("detail", "text", "the program, helper or place concerned"),
    ),
    retention=RECORD,
    summary=("cause", "namespace"),
    line=TimelineRow(
        "detail", "events || if(cause = 'retention', ' no longer held', ' lost')", event="cause", always=False
    ),
)
_CLOCK = SubjectTable(
    "clock",
    "Pairs of the wall clock and the kernel's clock, by which `time` was computed",
    (
        Column("realtime", "int64", "CLOCK_REALTIME of the sample", "ns"),
        Column("boottime", "int64", "CLOCK_BOOTTIME at the same moment", "ns"),
    ),
    retention=RECORD,
)
_OBSERVER = SubjectTable(
    "observer",
    "When Firsthand observed, with which hooks, scope and settings",
    (
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
    retention=RECORD,
    line=TimelineRow(
        "coalesce(kernel, settings)", "coalesce(scope, 'the whole machine')", where="event <> 'alive'", always=False
    ),
)

SUBJECT = Subject("record", (_LOSS, _CLOCK, _OBSERVER), rank=90)
