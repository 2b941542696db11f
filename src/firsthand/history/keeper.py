"""The keeper: hands the durable log over to Parquet segments (`python -m firsthand.history.keeper --history DIR`).

A process of its own without capabilities. Each pass writes segments, then commits the manifest, and only then deletes
log files. A crash between any two of these is repaired by doing the pass again: names follow from the log position.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import stat
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from firsthand.errors import DamagedError, FirsthandError, HistoryError
from firsthand.history import arrow, compact, place, segment
from firsthand.history.chunk import Chunk, Position
from firsthand.history.log import Cursor, files, path_of
from firsthand.history.manifest import Manifest, Segment

EVERY = 5.0
#: One group of segments holds about this much at most; it bounds the keeper's memory.
MAX_ROWS = 200_000
MAX_BYTES = 64 << 20
#: Seconds for which a log file stays after its hand-over, so that a follower that lags can open it.
LINGER = 20.0


@dataclass
class Group:
    """Chunks of one node that become one segment per table and day."""

    start: Position
    end: Position
    node: str = ""
    rows: int = 0
    bytes: int = 0
    written: int = 0
    tables: dict[str, list[pa.Table]] = field(default_factory=dict)
    damage: list[tuple[Position, str]] = field(default_factory=list)

    def takes(self, chunk: Chunk, max_rows: int) -> bool:
        """Whether the chunk still belongs in here."""
        if not self.rows:
            return True
        return (
            chunk.header.node == self.node
            and self.rows + chunk.rows <= max_rows
            and self.bytes + chunk.payload.nbytes <= MAX_BYTES
        )

    def add(self, chunk: Chunk) -> None:
        """Take a chunk's rows in."""
        self.node = chunk.header.node
        self.rows += chunk.rows
        self.bytes += chunk.payload.nbytes
        self.written = chunk.header.written
        self.end = chunk.next
        for name, stream in chunk.streams():
            self.tables.setdefault(name, []).append(arrow.conform(name, arrow.read(stream)))

    def add_damage(self, at: Position, error: DamagedError) -> None:
        """Take note of a chunk that is lost: a row of `loss`, of unknown extent."""
        self.damage.append((at, str(error)))
        until = time.time_ns() // 1000
        since = self.written or None
        values = {"time": until, "node": self.node, "cause": "log_damaged", "since": since, "until": until}
        self.tables.setdefault("loss", []).append(arrow.row("loss", values | {"detail": str(error)}))
        self.rows += 1


class Keeper:
    """The one keeper of a history. HistoryError where another runs. `linger` in seconds, see LINGER."""

    def __init__(self, directory: Path, *, linger: float = LINGER, max_rows: int = MAX_ROWS) -> None:
        self.directory = directory
        self.linger = linger
        self.max_rows = max_rows
        place.create(directory)
        self._lock = place.lock(directory / "keeper.lock", "keeper")
        try:
            self._open()
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self) -> None:
        self.manifest = Manifest(self.directory)
        now = self.manifest.snapshot()
        self.generation = now.generation
        self.handed_over = now.handed_over
        place.folder(segment.generation(self.directory, self.generation))
        place.point_current(self.directory, self.generation)
        self._cursor = Cursor(self.directory, now.handed_over)

    def pass_once(self) -> int:
        """Hand over all that is durable now, and return the rows of it. Nothing is lost or doubled if it is killed."""
        total = 0
        while (rows := self._group()) is not None:
            total += rows
        self._delete_logs()
        return total

    def tidy(self) -> None:
        """Merge small segments of past days where there are many, and remove generations out of use."""
        self.generation = compact.run(self.directory, self.manifest, self.generation)

    def close(self) -> None:
        """Let go of the history."""
        self._cursor.close()
        self.manifest.close()
        os.close(self._lock)

    def _group(self) -> int | None:
        """One group from the log to a commit; its rows, or None where the log holds nothing new."""
        group = self._gather()
        if group.end == group.start and not group.rows:
            return None
        try:
            self.manifest.hand_over(self._write(group), group.end, group.damage)
        except BaseException:
            self._cursor.back(group.start)
            raise
        self.handed_over = group.end
        return group.rows

    def _write(self, group: Group) -> list[Segment]:
        root = segment.generation(self.directory, self.generation)
        written: list[Segment] = []
        for name, parts in sorted(group.tables.items()):
            rows = arrow.together(name, parts)
            written += segment.write(root, name, rows, group.node, (group.start, group.end))
        return written

    def _gather(self) -> Group:
        start = self._cursor.position
        group = Group(start, start)
        while group.rows < self.max_rows:
            at = self._cursor.position
            try:
                chunk = self._cursor.next()
            except DamagedError as error:
                self._set_aside(at.file)
                group.add_damage(at, error)
                group.end = self._cursor.position
                continue
            if chunk is None:
                break
            if not group.takes(chunk, self.max_rows):
                self._cursor.back(chunk.position)
                break
            group.add(chunk)
        return group

    def _set_aside(self, number: int) -> None:
        """Keep a damaged log file under damaged/, by a hard link."""
        folder = place.folder(self.directory / place.DAMAGED)
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            (folder / f"{number:016d}.log").hardlink_to(path_of(self.directory, number))

    def _delete_logs(self) -> None:
        """Delete log files that are wholly handed over, have a newer one behind them and have lingered."""
        if self.handed_over is None:
            return
        for number in files(self.directory)[:-1]:
            path = path_of(self.directory, number)
            if number < self.handed_over.file and time.time() - path.stat().st_mtime >= self.linger:
                path.unlink()


def run(keeper: Keeper, every: float, stop: Sequence[int]) -> None:
    """Pass after pass, `every` seconds, until one of the descriptors is readable; then the last pass.

    A pass that fails (a full disk) is told on standard error and tried again: the log holds its rows meanwhile.
    """
    while not select.select(stop, [], [], every)[0]:
        try:
            keeper.pass_once()
            keeper.tidy()
        except HistoryError as error:
            print(f"keeper: {error}", file=sys.stderr, flush=True)
    keeper.pass_once()


def _stops() -> list[int]:
    """Descriptors that end the run: the pipe that signals write to, and standard input where it is a pipe or socket."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(writing, b"."))
    mode = os.fstat(0).st_mode
    return [reading, 0] if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else [reading]


def main(arguments: list[str]) -> int:
    """The keeper process: 0 after its last pass, 1 with a message where it cannot keep."""
    parser = argparse.ArgumentParser(prog="python -m firsthand.history.keeper", description=__doc__.splitlines()[0])
    parser.add_argument("--history", type=Path, default=None, help="the history's directory")
    parser.add_argument("--every", type=float, default=EVERY, help="seconds between passes, at most 10")
    parser.add_argument(
        "--linger", type=float, default=LINGER, help="seconds that a log file stays after its hand-over"
    )
    options = parser.parse_args(arguments)
    stops = _stops()
    try:
        keeper = Keeper(options.history or place.default_directory(), linger=options.linger)
        run(keeper, min(options.every, 10.0), stops)
        keeper.close()
    except FirsthandError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
