"""The exporter: the history's two logs, from the cursor on, through the choice, as lines, to an output.

Law: rows are committed in units; a unit's lines are durable at the output before the cursor moves, and are taken back where it
did not. A file therefore has every row once; a receiver of posts at least once, with the same key each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from firsthand.export.choice import Choice
from firsthand.export.cursor import Cursor
from firsthand.export.heartbeat import HeartbeatSpan
from firsthand.export.naming import Naming
from firsthand.export.output import Output
from firsthand.export.reader import FIRST, LogReading
from firsthand.export.unit import Unit
from firsthand.history import place
from firsthand.history.log import log
from firsthand.history.log.growth import Growth

#: Seconds between two looks while rows are there that are to wait for names, or where the kernel does not tell that a log has grown.
LOOK = 0.5
#: Seconds until a log is looked at, at the latest.
LONGEST = 60.0
#: As `wait`, for some seconds or until one of the descriptors is readable.
Idle = Callable[[float, Sequence[int]], bool]
_SLICE = 2_000


class Form(Protocol):
    """How rows become lines: jsonl.py or ocsf.py."""

    def lines(self, table: str, rows: pa.Table) -> Iterator[bytes]:
        """Each row as one line."""

    def line(self, record: dict[str, Any]) -> bytes:
        """A record that is no row as one line."""


@dataclass(frozen=True)
class ExportPlan:
    """How to export. `grace`: seconds that rows wait for names while following; `heartbeat`: seconds between two, 0: none.

    `begin`: where a fresh cursor begins: with `now` or with the `first` row that is held.
    """

    follow: bool = False
    grace: float = 0.0
    heartbeat: float = 60.0
    begin: str = "first"
    node: str = ""


class Exporter:
    """One run over one history. ExportError and HistoryError where it cannot go on; the cursor then stays."""

    def __init__(
        self, history: Path, cursor: Cursor, output: Output, form: Form, choice: Choice, plan: ExportPlan
    ) -> None:
        self.cursor, self.output, self.form, self.choice, self.plan = cursor, output, form, choice, plan
        self.watch = HeartbeatSpan(history, plan.node)
        output.open(cursor.state.output)
        self._readers = [self._reader(history, folder) for folder in (place.NAMES, place.LOG)]
        self._growths = [Growth(history / folder) for folder in (place.NAMES, place.LOG)]
        self.naming = Naming(history)
        cursor.save()
        self._next_heartbeat = time.monotonic()

    def _reader(self, history: Path, folder: str) -> LogReading:
        state = self.cursor.state
        start = state.positions.get(folder)
        resumed = start is not None
        if start is None:
            start = _end(history, folder) if self.plan.begin == "now" else FIRST
        state.positions[folder] = start
        return LogReading(history, folder, start, resumed=resumed, written=state.written, since=self.choice.since)

    def run(self, wait: Callable[[float], bool], idle: Idle | None = None) -> None:
        """Export until there is nothing more, or, following, until `wait` (of some seconds) says that it is time to end; with `idle`
        nothing is done until a log grows or something is due."""
        until = None if self.plan.follow else time.time_ns() // 1000
        if not self._settle():
            return
        while self._pass(until, wait) and self.plan.follow:
            self._beat()
            if self._rest(wait, idle) or not self._settle():
                return

    def close(self) -> None:
        """Let go of everything."""
        for reader in self._readers:
            reader.close()
        for growth in self._growths:
            growth.close()
        self.naming.close()
        self.output.close()
        self.cursor.close()

    def _rest(self, wait: Callable[[float], bool], idle: Idle | None) -> bool:
        """Until something may have come; True where it is time to end."""
        if idle is None or any(reader.young for reader in self._readers):
            return wait(LOOK)
        began = [growth.watch() for growth in self._growths]  # each of them
        if any(began):
            return wait(0)  # what came before is to be looked for
        told = [growth.fileno() for growth in self._growths if growth.fileno() >= 0]
        if len(told) < len(self._growths):
            return wait(LOOK)
        beat = self._next_heartbeat - time.monotonic() if self.plan.heartbeat else LONGEST
        over = idle(min(max(beat, 0.0), LONGEST), told)
        for growth in self._growths:
            growth.seen()
        return over

    def _pass(self, until: int | None, wait: Callable[[float], bool]) -> bool:
        """Everything that is old enough; False where it is time to end."""
        before = until if until is not None else time.time_ns() // 1000 - int(self.plan.grace * 1_000_000)
        self.naming.look()
        for reader in self._readers:
            while (unit := reader.next(before)) is not None:
                self._commit(list(self._lines(unit)), unit)
                if not self._settle() or wait(0):
                    return False
                self._beat()
        return True

    def _lines(self, unit: Unit) -> Iterator[bytes]:
        for gap in unit.gaps:
            yield self.form.line({"table": "gap", "time": datetime.now(UTC), "node": self.watch.node, **gap})
        self.naming.hear(unit.tables)
        for table, rows in unit.tables:
            self.watch.see(table, rows)
            if self.choice.takes(table):
                yield from self._rows(table, rows)

    def _rows(self, table: str, rows: pa.Table) -> Iterator[bytes]:
        chosen = self.choice.rows(table, self.naming.named(rows), self.naming.labels())
        chosen = self.choice.columns(table, chosen)
        for start in range(0, chosen.num_rows, _SLICE):
            yield from self.form.lines(table, chosen.slice(start, _SLICE))

    def _commit(self, lines: list[bytes], unit: Unit | None = None) -> None:
        state = self.cursor.state
        if lines:
            self.output.put(lines, state.output)
        if unit is not None:
            state.positions[unit.log] = unit.end
            state.written = max(state.written, unit.written)
        state.sequence += len(lines)
        self.watch.records += len(lines)
        self.cursor.save()

    def _settle(self) -> bool:
        return self.output.settle(self.cursor.state.output, self.cursor.save)

    def _beat(self) -> None:
        """A heartbeat where it is time for one."""
        if not self.plan.follow or not self.plan.heartbeat or time.monotonic() < self._next_heartbeat:
            return
        self._next_heartbeat = time.monotonic() + self.plan.heartbeat
        state = self.cursor.state
        positions = {folder: list(at) for folder, at in state.positions.items()}
        record = self.watch.record(datetime.now(UTC), state.sequence, positions, state.written)
        self._commit([self.form.line(record)])


def _end(history: Path, folder: str) -> log.Position:
    cursor = log.LogCursor(history, None, folder)
    cursor.to_end()
    cursor.close()
    return max(cursor.position, FIRST)
