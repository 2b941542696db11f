"""One of the history's logs, read from a cursor on: chunk by chunk, and from segments where its files went meanwhile.

Law: every row whose chunk stands at or behind the cursor comes out once, and what is no longer held is told as a gap.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from firsthand.errors import DamagedError, ExportError
from firsthand.export import catchup
from firsthand.export.unit import Unit
from firsthand.history.log import arrow
from firsthand.history.log.chunk import Chunk, ChunkFile, Position
from firsthand.history.log.log import LogCursor, files, path_of, waits
from firsthand.history.store import manifest

#: A unit ends after this many bytes of log; it bounds what is held at once, together with the size of one chunk.
MAX_BYTES = 4 << 20
#: File numbers begin with 1 (log.py).
FIRST = Position(1, 0)


class _Strict(LogCursor):
    """A cursor that waits at a file that is not there, where its parent goes on to the next one that is."""

    def _open(self) -> bool:
        try:
            path = path_of(self.directory, self.position.file, self.folder)
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        self._file = ChunkFile(descriptor, self.position.file)
        return True

    def _leave(self, position: Position) -> None:
        super()._leave(Position(self.position.file + 1, 0))  # files are numbered without gaps

    @property
    def waits(self) -> bool:
        """Whether the file of its position could not be opened."""
        return self._file is None


class LogReading:
    """A log (`folder` of place.py) from `start` on. `resumed`: rows before it went out, the newest written at `written` (microseconds):
    then gaps count. Segments with nothing since `since` may be left out. `young`: the last look found rows that are to wait."""

    def __init__(
        self,
        directory: Path,
        folder: str,
        start: Position,
        *,
        resumed: bool,
        written: int = 0,
        since: datetime | None = None,
    ) -> None:
        self.directory = directory
        self.folder = folder
        self.resumed = resumed
        self.written = written
        self.since = since
        self.young = False
        self._cursor = _Strict(directory, start, folder)
        self._behind: Iterator[Unit] | None = None

    @property
    def position(self) -> Position:
        """Where the next unit begins."""
        return self._cursor.position

    def next(self, before: int | None = None) -> Unit | None:
        """The next unit, of chunks written before that moment (microseconds; None: all); None where there is none yet.

        ExportError where the log does not reach as far as the cursor; HistoryError where segments cannot be read.
        """
        while True:
            if self._behind is not None:
                unit = next(self._behind, None)
                if unit is not None:
                    self._cursor.position = unit.end
                    return unit
                self._behind, self.resumed = None, True
            unit = self._live(before)
            if unit is not None or not self._cursor.waits:
                return unit
            hole = self._hole()
            if hole is None:
                return None
            held = catchup.Held(self.directory, self.folder, self.since)
            self._behind = catchup.units(held, (self.position, hole), self.written if self.resumed else None)

    def close(self) -> None:
        """Let go of the open file."""
        self._cursor.close()

    def _live(self, before: int | None) -> Unit | None:
        unit, self.young = Unit(self.folder, self.position), False
        while unit.bytes < MAX_BYTES and (found := self._chunk(unit)) is not None:
            if before is not None and waits(found.header.written, before, time.time_ns() // 1000):
                self._cursor.back(found.position)
                self.young = True
                break
            try:
                _add(unit, found)
            except DamagedError as error:
                unit.gaps.append({"cause": "log_damaged", "log": self.folder, "detail": str(error)})
        unit.end = self.position
        if not unit.bytes and not unit.gaps:
            return None
        self.resumed, self.written = True, max(unit.written, self.written)
        return unit

    def _chunk(self, unit: Unit) -> Chunk | None:
        while True:
            try:
                return self._cursor.next()
            except DamagedError as error:
                unit.gaps.append({"cause": "log_damaged", "log": self.folder, "detail": str(error)})

    def _hole(self) -> Position | None:
        """Up to where the log's files are gone; None where they are only not there yet."""
        numbers = files(self.directory, self.folder)
        at = self.position
        if at.file in numbers:
            return None
        if numbers and numbers[-1] < at.file:
            raise ExportError(
                f"{self.directory / self.folder} ends with file {numbers[-1]}, and the cursor is at file {at.file}: "
                "this history was begun anew; remove the cursor, or name another with --cursor"
            )
        if numbers:
            return Position(next(number for number in numbers if number > at.file), 0)
        handed = manifest.load(self.directory).of(self.folder)
        return handed if handed is not None and handed > at else None


def _add(unit: Unit, chunk: Chunk) -> None:
    unit.tables += arrow.tables(chunk)
    unit.bytes += chunk.payload.nbytes + 1
    unit.written = chunk.header.written
