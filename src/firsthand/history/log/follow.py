"""Following the log as it grows, from any number of processes, at no cost to the observer."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa

from firsthand.errors import DamagedError
from firsthand.history import place
from firsthand.history.log import arrow
from firsthand.history.log.chunk import Chunk, Position
from firsthand.history.log.growth import Growth
from firsthand.history.log.log import LogCursor

#: One poll returns at most about this much, so that a follower that lags stays small.
MAX_BYTES = 8 << 20


class LogFollower:
    """New rows of some tables (none named: all) of one log, in the order in which they became durable.

    It may begin before the history exists. A file that it has open is read to its end even when the keeper has deleted
    it. `damage` collects what could not be read.
    """

    def __init__(
        self,
        directory: Path,
        tables: Collection[str] = (),
        *,
        from_now: bool = True,
        start: Position | None = None,
        folder: str = place.LOG,
    ) -> None:
        self.tables = frozenset(tables)
        self.damage: list[str] = []
        self._cursor = LogCursor(directory, start, folder)
        self._growth = Growth(directory / folder)
        if from_now and start is None:
            self._cursor.to_end()

    @property
    def position(self) -> Position:
        """Where the next poll begins."""
        return self._cursor.position

    @property
    def missed(self) -> int:
        """Log files that went to segments before this follower, lagging, came to them."""
        return self._cursor.missed

    def poll(self, timeout: float) -> list[tuple[str, pa.Table]]:
        """The rows since the last poll, in their tables' full schema; after `timeout` seconds without any, []."""
        until = time.monotonic() + timeout
        while not (found := self._take()):
            rest = until - time.monotonic()
            if rest <= 0:
                break
            self._growth.wait(rest)
        return found

    def _take(self) -> list[tuple[str, pa.Table]]:
        found: list[tuple[str, pa.Table]] = []
        size = 0
        while size < MAX_BYTES and (chunk := self._next()) is not None:
            size += chunk.payload.nbytes
            try:
                found += arrow.tables(chunk, self.tables)
            except DamagedError as error:
                self.damage.append(str(error))
        return found

    def _next(self) -> Chunk | None:
        while True:
            try:
                return self._cursor.next()
            except DamagedError as error:
                self.damage.append(str(error))

    def close(self) -> None:
        """Let go of the open file."""
        self._cursor.close()
        self._growth.close()

    def __enter__(self) -> LogFollower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
