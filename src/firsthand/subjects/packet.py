"""Packets that are picked out for the dissector: they become rows of `name` and `request`, and are never kept."""

from __future__ import annotations

from firsthand.subjects.column import Column
from firsthand.subjects.columns import CGROUP
from firsthand.subjects.declare import OWNER, TRANSLATED, Canary, CanaryEvent, Subject, SubjectTable

_TABLE = SubjectTable(
    "packet",
    "Packets on their way to `name` and `request`; never kept",
    (Column("event", "text", "packet"), *CGROUP),
    roles={"exe": OWNER, "peer_address": TRANSLATED},
    kept=False,
)

# The canary's stream of connection.py has a head in each direction.
SUBJECT = Subject(
    "packet", (_TABLE,), canary=Canary((CanaryEvent("packet", "packet", transport="tcp", times=2),)), rank=40
)
