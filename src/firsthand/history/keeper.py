"""The keeper: hands the durable log over to Parquet segments (`python -m firsthand.history.keeper --history DIR`).

A process of its own without capabilities. Each pass writes segments, then commits the manifest, and only then deletes
log files. A crash between any two of these is repaired by doing the pass again: names follow from the log position.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import select
import shutil
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from firsthand import boottime, ending, settings
from firsthand.errors import DamagedError, FirsthandError, HistoryError
from firsthand.history import arrow, chain, compact, fault, names, place, segment
from firsthand.history.chain import Publisher
from firsthand.history.chunk import Chunk, Position
from firsthand.history.log import Cursor, files, path_of, waits
from firsthand.history.manifest import Manifest, Segment
from firsthand.history.names import Names
from firsthand.history.patience import Complaint, begun
from firsthand.history.retention import Retention
from firsthand.history.steady import Steady

EVERY = 5.0
#: One group of segments holds about this much at most; it bounds the keeper's memory.
MAX_ROWS = 200_000
MAX_BYTES = 64 << 20
#: Seconds for which a log file stays after its hand-over, so that a follower that lags can open it.
LINGER = 20.0
#: Seconds for which rows wait in the log for the names of their containers; readers have them meanwhile.
GRACE = 4.0
#: Segments with rows of unnamed containers whose names may still come.
MOST_UNNAMED = 10_000


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
    digest: Any = field(default_factory=hashlib.sha256)

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
        """Take a chunk's rows in. DamagedError where they are unreadable: then nothing of it is."""
        tables = arrow.tables(chunk)
        self.node = chunk.header.node
        self.rows += chunk.rows
        self.bytes += chunk.payload.nbytes
        self.digest.update(f"{chunk.position.file}:{chunk.position.offset}:{chunk.checksum}\n".encode())
        self.written = chunk.header.written
        self.end = chunk.next
        for name, rows in tables:
            self.tables.setdefault(name, []).append(segment.located(rows, chunk.position))

    def add_damage(self, at: Position, error: DamagedError, until: int) -> None:
        """Take note of a chunk that is lost: a row of `loss`, of unknown extent, found at `until` (microseconds)."""
        self.damage.append((at, str(error)))
        since = self.written or None
        values = {"time": until, "node": self.node, "cause": "log_damaged", "since": since, "until": until}
        row = arrow.row("loss", values | {"detail": str(error)})
        self.tables.setdefault("loss", []).append(segment.located(row, at))
        self.rows += 1


class Source:
    """One log on its way into segments: the observer's, or the follower's with the names."""

    def __init__(self, directory: Path, log: str, handed_over: Position | None) -> None:
        self.log = log
        self.handed_over = handed_over
        self.cursor = Cursor(directory, handed_over, log)


class Keeper:
    """The one keeper of a history. HistoryError where another runs. `linger` and `grace` in seconds, see LINGER and GRACE.

    `many` is compact.MANY. Without `limits` nothing is ever let go. `now` gives the time in seconds since 1970, `elapsed` one that
    nobody can set; by default it goes as a `now` of the caller's own does. `kept` is chain.KEPT.
    """

    def __init__(
        self,
        directory: Path,
        *,
        linger: float = LINGER,
        max_rows: int = MAX_ROWS,
        grace: float = 0.0,
        many: int = compact.MANY,
        limits: settings.Limits | None = None,
        now: Callable[[], float] = time.time,
        elapsed: Callable[[], float] | None = None,
        heads: Path | None = None,
        kept: int = chain.KEPT,
    ) -> None:
        self.directory = directory
        self._kept = kept
        self.linger = linger
        self.max_rows = max_rows
        self.grace = grace
        self.now = now
        self.elapsed = elapsed or (_since_boot if now is time.time else now)
        self.many = many
        self.limits = limits
        self._publisher = Publisher(heads)
        self.names = Names()
        self._unnamed: OrderedDict[str, set[str]] = OrderedDict()
        self._late: set[str] = set()
        place.create(directory)
        try:
            self._lock = place.lock(directory / "keeper.lock", "keeper")
        except OSError as error:
            raise place.unwritable(directory, error) from error
        try:
            self._open()
        except OSError as error:
            os.close(self._lock)
            raise place.unwritable(directory, error) from error
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self) -> None:
        self.manifest = Manifest(self.directory, self.now, self._kept)
        began = self.manifest.snapshot()
        self._unknown = "" if began.handed_over or began.names_handed_over or began.segments else _aside(self.directory)
        steady = Steady(self.now, self.elapsed, self.manifest)
        self._retention = Retention(self.directory, self.manifest, self.limits, steady) if self.limits else None
        now = self.manifest.snapshot()
        self.generation = now.generation
        place.folder(segment.generation(self.directory, self.generation))
        place.point_current(self.directory, self.generation)
        self._sources = [Source(self.directory, log, now.of(log)) for log in (place.NAMES, place.LOG)]
        self._recall(now.segments)

    def _recall(self, segments: Sequence[Segment]) -> None:
        """Learn the names of the last two days again: the follower tells those that live anew with each day."""
        root = segment.generation(self.directory, self.generation)
        since = segment.date_of(int(self.now() // 86400) - 1)
        for one in segments:
            if one.date < since or (
                one.table not in names.TABLES if one.log == place.NAMES else one.table != "container"
            ):
                continue
            if damage := segment.damage(root / one.path, one):
                print(f"keeper: names are not known from there: {damage}", file=sys.stderr, flush=True)
            else:
                self.names.learn(one.table, arrow.conform(one.table, pq.read_table(root / one.path, partitioning=None)))

    def pass_once(self, *, last: bool = False) -> int:
        """Hand over what is durable and old enough to be named (`last`: all), and return the rows of it.

        Nothing is lost or doubled if it is killed. Names come first, so that rows find them.
        """
        total = 0
        before = None if last or not self.grace else int((self.now() - self.grace) * 1_000_000)
        for source in self._sources:
            while (rows := self._group(source, before if source.log == place.LOG else None)) is not None:
                total += rows
            self._delete_logs(source)
        self._publisher.publish(self.manifest.head(), now=last)
        return total

    def tidy(self) -> None:
        """Merge small segments where there are many, remove generations out of use, let go what is over the limits."""
        try:
            self._tidy()
        except OSError as error:
            raise HistoryError(f"{self.directory}: the next generation cannot be made ({error}); free space") from error
        finally:  # an act may have been committed before another failed
            self.generation = self.manifest.generation()

    def _tidy(self) -> None:
        late, self._late = self._late, set()
        generation = compact.run(
            self.directory, self.manifest, self.generation, many=self.many, names=self.names, late=late, now=self.now
        )
        if self._retention is not None:
            self._retention.run(generation)

    def close(self) -> None:
        """Let go of the history."""
        for source in self._sources:
            source.cursor.close()
        self.manifest.close()
        os.close(self._lock)

    def _group(self, source: Source, before: int | None) -> int | None:
        """One group from a log to a commit; its rows, or None where the log holds nothing new that was written `before`."""
        group = self._gather(source, before)
        if group.end == group.start and not group.rows:
            return None
        try:
            made = self._write(source, group)
            self.manifest.hand_over(made, group.end, group.damage, source.log, group.digest.hexdigest())
        except BaseException:
            source.cursor.back(group.start)
            raise
        source.handed_over = group.end
        return group.rows

    def _write(self, source: Source, group: Group) -> list[Segment]:
        root = segment.generation(self.directory, self.generation)
        written: list[Segment] = []
        tables = {name: arrow.together(name, parts) for name, parts in sorted(group.tables.items())}
        for name in names.TABLES:
            if name in tables:
                self._learn(name, tables[name])
        for name, found in tables.items():
            rows = found if source.log == place.NAMES else self.names.freeze(found)
            made = segment.write(root, name, rows, group.node, (group.start, group.end), source.log)
            self._remember_unnamed(rows, made)
            written += made
        return written

    def _learn(self, table: str, rows: pa.Table) -> None:
        """Take names in; segments that were written without them are due to be written again."""
        for identity in self.names.learn(table, rows):
            self._late |= self._unnamed.pop(identity, set())

    def _remember_unnamed(self, rows: pa.Table, made: list[Segment]) -> None:
        mask = names.unknown(rows)
        if mask is None or not any(one.unnamed for one in made):
            return
        for identity in pc.unique(rows["container"].filter(mask)).to_pylist():
            self._unnamed.setdefault(identity, set()).update(one.path for one in made if one.unnamed)
        while len(self._unnamed) > MOST_UNNAMED:
            self._unnamed.popitem(last=False)

    def _gather(self, source: Source, before: int | None) -> Group:
        cursor = source.cursor
        start = cursor.position
        group = Group(start, start)
        if self._unknown and source.log == place.LOG:
            group.add_damage(start, DamagedError(self._unknown), int(self.now() * 1_000_000))
            self._unknown = ""
        while group.rows < self.max_rows:
            at = cursor.position
            try:
                chunk = cursor.next()
                if chunk is None:
                    break
                young = before is not None and waits(chunk.header.written, before, int(self.now() * 1_000_000))
                if young or not group.takes(chunk, self.max_rows):
                    cursor.back(chunk.position)
                    break
                group.add(chunk)
            except DamagedError as error:
                at = max(at, Position(cursor.position.file, 0))  # the look may have begun before the first file
                self._set_aside(at.file, source.log)
                group.add_damage(at, error, int(self.now() * 1_000_000))
                group.end = cursor.position
        return group

    def _set_aside(self, number: int, log: str) -> None:
        """Keep a damaged log file under damaged/, by a hard link."""
        folder = place.folder(self.directory / place.DAMAGED)
        name = f"{number:016d}.log" if log == place.LOG else f"{log}-{number:016d}.log"
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            try:
                (folder / name).hardlink_to(path_of(self.directory, number, log))
            except PermissionError:  # another user's file (fs.protected_hardlinks)
                shutil.copyfile(path_of(self.directory, number, log), folder / name)

    def _delete_logs(self, source: Source) -> None:
        """Delete log files that are wholly handed over, have a newer one behind them and have lingered."""
        if source.handed_over is None:
            return
        numbers = files(self.directory, source.log)
        while numbers and not path_of(self.directory, numbers[-1], source.log).stat().st_size:
            numbers.pop()  # a writer has begun it and may die before its first chunk: what it goes on from stands before
        for number in numbers[:-1]:
            path = path_of(self.directory, number, source.log)
            lingers = (
                0 <= self.now() - path.stat().st_mtime < self.linger
            )  # one of the future is of before a clock was set back
            if number < source.handed_over.file and not lingers:
                fault.reached("log.before_delete")
                path.unlink()


def _since_boot() -> float:
    return boottime.now_ns() / 1e9


def _aside(directory: Path) -> str:
    """Keep segments that no manifest lists any more, since it was emptied or lost: under damaged/, and what is to be said."""
    segments = directory / place.GENERATIONS
    if not any(segments.rglob("*.parquet")):
        return ""
    folder = place.folder(directory / place.DAMAGED)
    number = sum(1 for _ in folder.glob(f"{place.GENERATIONS}-*")) + 1
    segments.rename(folder / f"{place.GENERATIONS}-{number}")
    said = f"the manifest was empty: the segments that it had listed are kept in {place.DAMAGED}/{place.GENERATIONS}-{number}"
    print(f"keeper: {said}", file=sys.stderr, flush=True)
    return said


def run(keeper: Keeper, every: float, stop: Sequence[int]) -> None:
    """Pass after pass, `every` seconds, until one of the descriptors is readable; then the last pass.

    A pass that fails (a full disk) is told on standard error, once, and tried again: the log holds its rows meanwhile.
    """
    complaint = Complaint("keeper")
    while not select.select(stop, [], [], every)[0]:
        try:
            keeper.pass_once()
            keeper.tidy()
            complaint.well()
        except HistoryError as error:
            complaint.say(error)
    keeper.pass_once(last=True)


def main(arguments: list[str]) -> int:
    """The keeper process: 0 after its last pass, 1 with a message where it cannot keep."""
    parser = argparse.ArgumentParser(prog="python -m firsthand.history.keeper", description=__doc__.splitlines()[0])
    parser.add_argument("--history", type=Path, default=None, help="the history's directory")
    parser.add_argument("--every", type=float, default=EVERY, help="seconds between passes, at most 10")
    parser.add_argument(
        "--linger", type=float, default=LINGER, help="seconds that a log file stays after its hand-over"
    )
    parser.add_argument("--grace", type=float, default=GRACE, help="seconds that rows wait in the log for their names")
    parser.add_argument("--heads", type=Path, help="a file outside the history to which the chain's head is appended")
    parser.add_argument("--limits", help="settings.Limits as JSON; the settings file's by default")
    options = parser.parse_args(arguments)
    stops = ending.stops()
    try:
        limits = settings.Limits.parse(options.limits) if options.limits else settings.load().retention
        history = options.history or place.default_directory()
        times = {"linger": options.linger, "grace": options.grace}
        keeper = begun(lambda: Keeper(history, **times, limits=limits, heads=options.heads), "keeper", stops)
        if keeper is not None:
            run(keeper, min(options.every, 10.0), stops)
            keeper.close()
    except FirsthandError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
