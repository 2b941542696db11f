"""Who held which address: the machine's own and its services'."""

from __future__ import annotations

from firsthand.subjects.column import Column
from firsthand.subjects.declare import NAMES, Subject, SubjectTable

_TABLE = SubjectTable(
    "address",
    "Addresses of the machine over time; `pod` and `container` have those of pods and containers",
    (
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
    kinds=("held", "gone"),
    retention=NAMES,
    summary=("address", "namespace"),
)

SUBJECT = Subject("address", (_TABLE,), rank=80)
