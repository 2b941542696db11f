"""Whether the window was observed in whole: what the bundle's own rows of `observer` and `loss` say, beside what was told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from firsthand.ask import completeness
from firsthand.ask.answer import iso
from firsthand.ask.completeness import Completeness
from firsthand.evidence.question import BundleQuestion
from firsthand.evidence.selection import NAMED, SUBJECTS
from firsthand.history.store import connection as _connection
from firsthand.probe import spec

#: The tables whose rows are judged.
TABLES = (*SUBJECTS, *NAMED)
#: The tables that the judgement is made from.
ROWS = ("observer", "loss")


@dataclass(frozen=True)
class RecordJudged:
    """What the rows say: events lost, the spans observed within the window, and the reasons why it is not whole."""

    lost: int
    observed: list[list[str]]
    reasons: list[str]


def hooks() -> dict[str, str]:
    """The table of each hook that completeness needs, as this version has them."""
    return spec.needed()


def read(
    rows: Mapping[str, pa.Table], question: BundleQuestion, made: datetime, hooks_of: dict[str, str] | None = None
) -> RecordJudged:
    """Judge by the rows of ROWS, as it was when the bundle was `made`. ValueError where they are no such rows."""
    window = question.window
    with duckdb.connect(":memory:") as connection:
        for name, value in _SETTINGS.items():
            connection.execute(f"SET {name} = {value}")
        for table in ROWS:
            connection.register(table, rows[table])
        spans = completeness.spans(connection, made)
        lost, reasons = completeness.recorded(
            connection, spans, window, TABLES, hooks() if hooks_of is None else hooks_of, node=question.node, whole=True
        )
    return RecordJudged(lost, _observed(spans, question), reasons)


_SETTINGS = {
    "memory_limit": _connection.quoted(_connection.MEMORY),
    "threads": str(_connection.THREADS),
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "enable_external_access": "false",
}


def _observed(spans: list[completeness.Span], question: BundleQuestion) -> list[list[str]]:
    mine = [span for span in spans if question.node is None or span.node == question.node]
    return [[iso(begin), iso(end)] for begin, end in completeness.observed(mine, question.window)]


def told(judged: Completeness, own: RecordJudged) -> dict[str, Any]:
    """completeness.json: the judgement on the whole history, and what it was made by."""
    reasons = list(dict.fromkeys([*own.reasons, *judged.reasons]))
    plain = judged.plain() | {"complete": not reasons, "reasons": reasons}
    return plain | {"tables": list(TABLES), "hooks": hooks()}


def contradictions(raw: Mapping[str, Any], own: RecordJudged) -> list[str]:
    """What was told against what the rows say, as findings. KeyError or TypeError where nothing readable was told."""
    said = set(raw["reasons"])
    found = [
        f"completeness.json: it leaves out what its rows say: {reason}" for reason in own.reasons if reason not in said
    ]
    if raw["complete"] is not (not said):
        found.append("completeness.json: it says `complete` against its own reasons")
    if raw["observed"] != own.observed:
        found.append(f"completeness.json: observed {raw['observed']}, its rows say {own.observed}")
    if raw["events_lost"] != own.lost:
        found.append(f"completeness.json: {raw['events_lost']} events lost, its rows say {own.lost}")
    return found
