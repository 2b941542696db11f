"""Which rows of `observer` say whether a window was observed: few of the many that a long session has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from firsthand.ask.completeness import ALIVE_WITHIN
from firsthand.evidence.question import BundleQuestion
from firsthand.evidence.sources import RowSource

TABLE = "observer"
_KEY = ("node", "boot", "instance")
_COLUMNS = (*_KEY, "time", "event", "recorded")
_WITHIN = round(ALIVE_WITHIN.total_seconds() * 1_000_000)
_EPOCH = datetime(1970, 1, 1)


class Row(NamedTuple):
    """One row: its time in microseconds, and the number by which those of one moment are ordered, and its place."""

    time: int
    recorded: int
    source: str
    number: int
    event: str
    key: tuple[str | None, ...]


@dataclass
class _Session:
    """The rows of one observer from its start on, or from the first that is known. `ready`: the first of that name.

    `next` begins the session that followed it: it tells that this one has ended.
    """

    rows: list[Row]
    ready: Row | None = None
    next: Row | None = None
    begin: int = field(init=False)

    def __post_init__(self) -> None:
        self.begin = self.rows[0].time

    def add(self, row: Row) -> None:
        self.rows.append(row)
        if row.event == "ready" and self.ready is None:
            self.ready = row

    @property
    def beginning(self) -> list[Row]:
        return [self.rows[0], *([self.ready] if self.ready else [])]

    def within(self, since: int, until: int) -> Iterator[Row]:
        """What says that it observed between two moments: its beginning, the rows around and between them."""
        if self.rows[-1].time + _WITHIN < since or self.rows[0].time > until:
            return
        yield from self.beginning
        before = [row for row in self.rows if row.time < since]
        after = next((row for row in self.rows if row.time > until), None)
        yield from before[-1:]
        yield from (row for row in self.rows if since <= row.time <= until)
        yield from [end for end in [after or self.next] if end]


def choose(sources: Iterable[RowSource], question: BundleQuestion) -> list[Row]:
    """The wanted rows of these sources."""
    return chosen([row for source in sources for row in _rows(source)], question)


def chosen(rows: Iterable[Row], question: BundleQuestion) -> list[Row]:
    """Those of the sessions that reach into the window, and how each node's first session began."""
    mine = [row for row in rows if question.node is None or row.key[0] == question.node]
    sessions = _sessions(sorted(mine, key=lambda row: row[:4]))
    first: dict[str | None, _Session] = {}
    for session in sorted(sessions, key=lambda one: one.begin):
        first.setdefault(session.rows[0].key[0], session)
    wanted = {row for session in sessions for row in session.within(question.since, question.until)}
    return sorted(wanted | {row for session in first.values() for row in session.beginning})


def _sessions(rows: Iterable[Row]) -> list[_Session]:
    found: list[_Session] = []
    last: dict[tuple[str | None, ...], _Session] = {}
    for row in rows:
        if row.key in last and row.event != "start":
            last[row.key].add(row)
        else:
            if row.key in last:
                last[row.key].next = row
            last[row.key] = _Session([row])
            found.append(last[row.key])
            if row.event == "ready":
                last[row.key].ready = row
    return found


def _rows(source: RowSource) -> Iterator[Row]:
    for first, rows in source.rows(TABLE, _COLUMNS):
        numbered = rows.append_column("row", pa.array(np.arange(first, first + rows.num_rows)))
        for row in numbered.to_pylist():
            key = tuple(row[name] for name in _KEY)
            yield Row(_micro(row["time"]), row["recorded"] or 0, source.name, row["row"], row["event"] or "", key)


def _micro(moment: datetime | None) -> int:
    return 0 if moment is None else round((moment - _EPOCH).total_seconds() * 1_000_000)
