"""Whether the rows that a statement of `sql` read are all that there were: the judgement of `ask`, in one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from firsthand.ask import completeness
from firsthand.ask.answer import Window, iso
from firsthand.history.store import mentions
from firsthand.history.store.connection import LazyConnection
from firsthand.history.store.mentions import Condition, Mention
from firsthand.history.store.relations import known_columns
from firsthand.probe import spec
from firsthand.subjects.registry import OWNED

#: Statements that read no row; and functions that make a statement of a text.
_OF_COLUMNS = re.compile(r"\s*(EXPLAIN|DESCRIBE|DESC|SHOW)\b", re.IGNORECASE)
_MADE = re.compile(r"\bquery(_table)?\s*\(", re.IGNORECASE)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def evidence(
    connection: LazyConnection, text: str, damage: Sequence[str] = (), now: datetime | None = None
) -> str | None:
    """`evidence complete: ...` or `evidence INCOMPLETE: ...`, with the tables, the window and the reasons; None if the statement reads
    no table of events.

    The window is the whole history, or what conditions on `time` with constants leave of it in each place where such a table is named. If
    the statement is not understood, it may read every table that its text names. `damage`: parts of the history that could not be read.
    """
    if _OF_COLUMNS.match(text):
        return None
    made = _MADE.search(text) is not None
    found = None if made else mentions.find(connection.duckdb, text, None, known_columns())
    if found is None:
        tables, within = _spelled(text), Window(_FIRST, _LAST)
    else:
        named = [one for one in found if one.table in OWNED]
        tables, within = tuple(dict.fromkeys(one.table for one in named)), _within(named)
    if not tables:
        return None
    now = now or datetime.now(UTC)
    spans = completeness.spans(connection, now)
    beyond = completeness.held(connection, tables)
    whole = completeness.extent(spans, now, beyond)
    window = Window(max(whole.since, within.since), min(whole.until, within.until))
    return _line(connection, spans, window, tables, beyond, damage)


def _spelled(text: str) -> tuple[str, ...]:
    """Tables of events whose names stand in a statement; all of them if it makes names itself."""
    words = set(re.findall(r"\w+", text.lower()))
    return tuple(one for one in OWNED if one in words or _MADE.search(text))


def _line(
    connection: LazyConnection,
    spans: list[completeness.Span],
    window: Window,
    tables: tuple[str, ...],
    beyond: Window | None,
    damage: Sequence[str],
) -> str:
    if window.since > window.until:
        return f"evidence INCOMPLETE: {', '.join(tables)}: nothing was recorded in the window of this statement"
    judged = completeness.judge(connection, spans, window, tables, spec.needed(), damage=damage, beyond=beyond)
    state = "complete" if judged.complete else "INCOMPLETE"
    rows = f"evidence {state}: {', '.join(tables)} from {iso(window.since)} to {iso(window.until)}"
    return "; ".join([rows, *judged.reasons])


def _within(named: Sequence[Mention]) -> Window:
    """The time that holds the rows of all places where a table is named."""
    bounds = [_bounds(one.condition) for one in named]
    return Window(
        min((one.since for one in bounds), default=_FIRST),
        max((one.until for one in bounds), default=_LAST),
    )


def _bounds(condition: Condition) -> Window:
    """The time of the rows that can fulfil a condition."""
    parts = [_bounds(one) for one in condition.parts]
    if condition.sign == "and":
        return Window(max(one.since for one in parts), min(one.until for one in parts))
    if condition.sign == "or":
        return Window(min(one.since for one in parts), max(one.until for one in parts))
    if condition.column != "time" or not all(isinstance(one, datetime) for one in condition.values):
        return Window(_FIRST, _LAST)
    moments = [one.replace(tzinfo=UTC) for one in condition.values]
    if condition.sign in (">", ">="):
        return Window(min(moments), _LAST)
    if condition.sign in ("<", "<="):
        return Window(_FIRST, max(moments))
    return Window(min(moments), max(moments)) if condition.sign == "=" else Window(_FIRST, _LAST)
