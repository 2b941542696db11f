"""Rows whose log files went while nobody exported: read from the segments that the keeper made of them.

A segment spans many chunks, and a merged one is sorted anew, so that its rows are told apart by the column LOG_POSITION: a
step takes, of every segment that reaches into it, the rows from one log position to another, whatever compaction did.
What no segment holds, or retention let go, is a gap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from firsthand.errors import HistoryError
from firsthand.export.unit import Unit
from firsthand.history.log import arrow
from firsthand.history.log.chunk import Position
from firsthand.history.store import manifest, segment
from firsthand.history.store.manifest import Segment, Snapshot

#: A step takes segments of about so many rows, and goes out in units of about so many.
STEP_ROWS = 200_000
UNIT_ROWS = 10_000
#: The cause of rows of `loss` by which retention tells what it let go.
RETENTION = "retention"
_TRIES = 5

Span = tuple[Position, Position]


@dataclass(frozen=True)
class Held:
    """The segments of one log (`log` of place.py). Those whose rows are all of before `since` need not be read."""

    directory: Path
    log: str
    since: datetime | None = None

    def now(self) -> Snapshot:
        """What the manifest says now."""
        return manifest.load(self.directory)

    def within(self, now: Snapshot, span: Span) -> list[Segment]:
        """The segments with rows of the span, by where they begin. Those without extent hold no rows of the log."""
        held = [one for one in now.segments if one.log == self.log and _start(one) < span[1] and span[0] < _stop(one)]
        return sorted((one for one in held if _start(one) < _stop(one)), key=lambda one: (_start(one), one.path))

    def read(self, now: Snapshot, one: Segment, filters: Any = None) -> pa.Table:
        """A segment's rows, of the table's full schema."""
        rows = pq.read_table(self._path(now, one), partitioning=None, filters=filters)
        return arrow.conform(one.table, rows)

    def placed(self, now: Snapshot, one: Segment) -> bool:
        """Whether its rows say where they stood in the log; segments of before there was LOG_POSITION do not."""
        return segment.LOG_POSITION.name in pq.read_schema(self._path(now, one)).names

    def wanted(self, one: Segment) -> bool:
        """Whether it can hold rows since `since`."""
        return self.since is None or one.time_max is None or one.time_max >= _micro(self.since.replace(tzinfo=None))

    def _path(self, now: Snapshot, one: Segment) -> Path:
        return segment.generation(self.directory, now.generation) / one.path


def units(held: Held, span: Span, written: int | None) -> Iterator[Unit]:
    """The rows of a log between two positions, from its segments; the last unit ends where the span does.

    `written`: when the newest row that went out before became durable (microseconds): then gaps are told; None: nothing
    went out before. HistoryError where a segment cannot be read.
    """
    at, end = span
    gaps = _gaps(held, span, written) if written is not None else []
    while at < end:
        to, tables = _step(held, (at, end), span[0])
        for unit in _split(held.log, to, tables):
            unit.gaps, gaps = gaps, []
            yield unit
        at = to


def _step(held: Held, span: Span, begun: Position) -> tuple[Position, list[tuple[str, pa.Table]]]:
    """Rows from the span's start to where a step ends. A compaction may take files away meanwhile: then it looks again."""
    for attempt in range(_TRIES):
        now = held.now()
        segments = held.within(now, span)
        to = _end(segments, span)
        reach = [one for one in segments if _start(one) < to and held.wanted(one)]
        try:
            return to, _by_table((one.table, _rows(held, now, one, (span[0], to), begun)) for one in reach)
        except (OSError, pa.ArrowException) as error:
            if attempt + 1 == _TRIES:
                raise HistoryError(
                    f"{held.directory}: a segment cannot be read ({error}); restore it, or begin anew"
                ) from error
    raise AssertionError("unreachable")


def _end(held: list[Segment], span: Span) -> Position:
    """Where a step ends: where the first segment begins that would be too much for it."""
    rows = 0
    for one in held:
        rows += one.rows
        if rows > STEP_ROWS and _start(one) > span[0]:
            return _start(one)
    return span[1]


def _rows(held: Held, now: Snapshot, one: Segment, span: Span, begun: Position) -> pa.Table:
    """A segment's rows of the span. Where it does not say which they are, all belong to the first step that reaches into it:
    where the cursor stood within it some go out again, and once more is better than never."""
    if held.placed(now, one):
        name = segment.LOG_POSITION.name
        low, high = map(segment.place_of, span)
        return held.read(now, one, [(name, ">=", low), (name, "<", high)])
    at = max(_start(one), begun)
    return segment.located(held.read(now, one), at).slice(0, None if span[0] <= at < span[1] else 0)


def _by_table(found: Iterable[tuple[str, pa.Table]]) -> list[tuple[str, pa.Table]]:
    tables: dict[str, list[pa.Table]] = {}
    for name, rows in found:
        if rows.num_rows:
            tables.setdefault(name, []).append(rows)
    key = [(segment.LOG_POSITION.name, "ascending")]
    return [(name, arrow.together(name, parts).sort_by(key)) for name, parts in tables.items()]


def _split(log: str, to: Position, tables: list[tuple[str, pa.Table]]) -> Iterator[Unit]:
    """Units of about UNIT_ROWS, each ending between two chunks."""
    low = -1
    for high in [*_cuts([rows[segment.LOG_POSITION.name] for _, rows in tables]), segment.place_of(to)]:
        unit = Unit(log, Position(high >> 32, high & 0xFFFFFFFF))
        for name, rows in tables:
            place = rows[segment.LOG_POSITION.name]
            part = rows.filter(pc.and_(pc.greater_equal(place, low), pc.less(place, high)))
            if part.num_rows:
                unit.tables.append((name, part.drop_columns([segment.LOG_POSITION.name])))
        yield unit
        low = high


def _cuts(places: list[Any]) -> list[int]:
    """Log positions that leave about UNIT_ROWS rows between two of them."""
    if not places:
        return []
    every = pc.sort_indices(joined := pa.chunked_array([chunk for one in places for chunk in one.chunks], pa.int64()))
    ordered = joined.take(every)
    if not len(ordered):
        return []
    found = [ordered[row].as_py() for row in range(UNIT_ROWS, len(ordered), UNIT_ROWS)]
    return sorted(set(found) - {ordered[0].as_py()})


def _gaps(held: Held, span: Span, written: int) -> list[dict[str, Any]]:
    now = held.now()
    found = [_missing(held.log, between) for between in _uncovered(held.within(now, span), span)]
    return found + list(_retired(held, now, written))


def _missing(log: str, between: Span) -> dict[str, Any]:
    why = "the history no longer holds this part of the log: retention removed it, or it held no rows"
    return {"cause": "not_held", "log": log, "from": list(between[0]), "to": list(between[1]), "detail": why}


def _uncovered(held: list[Segment], span: Span) -> list[Span]:
    """The parts of a span that no segment reaches into."""
    at, found = span[0], []
    for one in held:
        if _start(one) > at:
            found.append((at, _start(one)))
        at = max(at, _stop(one))
    return [*found, (at, span[1])] if at < span[1] else found


def _retired(held: Held, now: Snapshot, written: int) -> Iterator[dict[str, Any]]:
    """What retention says that it let go of the time since the cursor's last row."""
    for one in now.segments:
        if one.log == held.log and one.table == "loss" and (one.time_max or 0) >= written:
            rows = held.read(now, one)
            for row in rows.filter(pc.equal(rows["cause"], RETENTION)).select(_TOLD).to_pylist():
                if row["until"] is None or _micro(row["until"]) >= written:
                    told = {key: value for key, value in row.items() if value is not None}
                    yield told | {"retention_at": told.pop("time")}


_TOLD = ["time", "node", "namespace", "table_name", "cause", "events", "since", "until", "detail"]


def _micro(moment: Any) -> int:
    return int(pa.scalar(moment, pa.timestamp("us")).value)


def _start(one: Segment) -> Position:
    return Position(one.from_file, one.from_offset)


def _stop(one: Segment) -> Position:
    return Position(one.to_file, one.to_offset)
