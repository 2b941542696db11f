"""What a reader sees: the manifest's segments and the log's tail behind them, every row exactly once."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from firsthand.errors import DamagedError, HistoryError
from firsthand.history import place
from firsthand.history.log import tail
from firsthand.history.log.asked import Through
from firsthand.history.log.chunk import Chunk, Position
from firsthand.history.log.log import LogReader, files
from firsthand.history.store import holders, intact, manifest
from firsthand.history.store.manifest import Segment

if TYPE_CHECKING:
    import pyarrow as pa

_TRIES = 20
#: Bytes of segments that a reader holds against their hashes, the newest first: about 0.2 s. Of the others it looks at the size.
CHECKED = 256 << 20


@dataclass
class View:
    """The segments of one moment and the tail that was durable then. What a table needs is looked at when it is first asked for.

    `check`: bytes of segments that are still to be held against their hashes. `damage` says what could not be read; `aside` are the
    segments that are damaged, by path. `base` is the folder of segments where no manifest tells it. `through`: the moments before
    which the record is whole, see asked.py; None where no observer says it.
    """

    directory: Path
    manifest: manifest.Snapshot
    check: int = CHECKED
    damage: list[str] = field(default_factory=list)
    aside: set[str] = field(default_factory=set)
    base: Path | None = None
    through: Through | None = None
    _read: list[tuple[str, Chunk]] = field(default_factory=list)
    _rows: dict[int, list[tuple[str, tail.TailRows]] | None] = field(default_factory=dict)
    _looked: set[str] = field(default_factory=set)
    _sized: set[str] = field(default_factory=set)
    _by_table: dict[str, list[Segment]] | None = None

    def add(self, log: str, chunk: Chunk) -> None:
        """One more chunk of the tail."""
        self._read.append((log, chunk))

    @property
    def chunks(self) -> list[tuple[str, Chunk]]:
        """The chunks that the tail is made of, each with its log."""
        return [one for number, one in enumerate(self._read) if self._decided(number) is not None]

    @property
    def root(self) -> Path:
        """The folder that paths of segments are below."""
        return self.base or place.generation(self.directory, self.manifest.generation)

    @property
    def tables(self) -> set[str]:
        """The tables that stand in the tail."""
        return {name for _, chunk in self._read for name, *_ in chunk.header.tables}

    def listed(self, table: str) -> list[Segment]:
        """The segments of a table, as the manifest has them, without those that are known to be damaged."""
        if self._by_table is None:
            self._by_table = {}
            for one in self.manifest.segments:
                self._by_table.setdefault(one.table, []).append(one)
        return [one for one in self._by_table.get(table, ()) if one.path not in self.aside]

    def sized(self, table: str) -> list[Segment]:
        """Those of a table that are there, in their size."""
        if table not in self._sized:
            self._sized.add(table)
            self._set_aside(self.listed(table), by_size=True)
        return self.listed(table)

    def segments(self, table: str) -> list[Segment]:
        """The segments of a table, without those that are damaged."""
        return self.whole(table, self.listed(table))

    def whole(self, table: str, wanted: Sequence[Segment]) -> list[Segment]:
        """Those of some segments of a table that are not damaged. Each is looked at once: as long as `check` lasts by its hash, the newest
        first, else by its size; also those that are not wanted by their size."""
        self.sized(table)
        self._set_aside([one for one in wanted if one.path not in self._looked], by_size=False)
        return [one for one in wanted if one.path not in self.aside]

    def tail_of(self, table: str) -> list[tail.TailRows]:
        """The tail's rows of a table, by chunk."""
        return [rows for number in self._of(table) for name, rows in self._decided(number) or () if name == table]

    def length(self, table: str) -> int:
        """How many rows of a table are in the tail, as its chunks say."""
        return sum(rows for _, chunk in self._read for name, rows, _ in chunk.header.tables if name == table)

    def rows(self, table: str) -> pa.Table:
        """The same as one table of PyArrow, in its full schema."""
        from firsthand.history.log import arrow

        held = [self._read[number][1] for number in self._of(table) if self._decided(number) is not None]
        return arrow.together(table, [rows for chunk in held for _, rows in arrow.tables(chunk, (table,))])

    def _of(self, table: str) -> list[int]:
        """The numbers of the chunks that have rows of a table."""
        return [n for n, (_, chunk) in enumerate(self._read) if any(name == table for name, *_ in chunk.header.tables)]

    def _decided(self, number: int) -> list[tuple[str, tail.TailRows]] | None:
        """A chunk's rows by table; None where they are none, which `damage` then says."""
        if number not in self._rows:
            try:
                self._rows[number] = tail.of_chunk(self._read[number][1])
            except DamagedError as error:
                self._rows[number] = None
                self.damage.append(str(error))
        return self._rows[number]

    def outdated(self, paths: Collection[str]) -> bool:
        """Whether segments may lack for what the keeper did since: another generation is in force, or one of these was merged."""
        now = manifest.load(self.directory)
        listed = {one.path for one in now.segments}
        return now.generation != self.manifest.generation or not listed.issuperset(paths)

    def _set_aside(self, segments: Sequence[Segment], *, by_size: bool) -> None:
        """Take damaged segments out."""
        for one in sorted(segments, key=lambda one: one.time_max or 0, reverse=True):
            if not by_size:
                self._looked.add(one.path)
                self.check -= one.bytes
                if self.check < 0:
                    continue
            found = intact.damage(self.root / one.path, one, by_size=by_size, quick=True)
            if found and one.path not in self.aside:
                self.aside.add(one.path)
                self.damage.append(f"a segment of {one.table} is left out: {found}")
        if self.aside and self.outdated(self.aside):
            raise HistoryError(f"{self.directory}: its segments were merged and removed meanwhile; ask again")


def take(directory: Path, check: int = CHECKED) -> View:
    """The manifest first, then the log behind it; of the newest segments, `check` bytes are held against their hashes.

    A log file may be handed over and deleted between the two: then the look begins again.
    """
    for _ in range(_TRIES):
        try:
            view = View(directory, manifest.load(directory), check)
        except DamagedError as error:
            return _without_manifest(directory, error)
        whole = [_whole(view.manifest.of(log), _read_tail(view, log)) for log in (place.NAMES, place.LOG)]
        now = view.manifest if all(whole) else manifest.load(directory)
        if all(now.of(log) == view.manifest.of(log) for log in (place.NAMES, place.LOG)):
            return view
    raise HistoryError(f"{directory}: the log was handed over {_TRIES} times while it was read; try again")


def _without_manifest(directory: Path, error: DamagedError) -> View:
    """What can be read where the manifest cannot: the segments of the generation in force. Which rows of the log are in
    them is not known, so the log is left out and no row comes twice."""
    current = directory / place.CURRENT
    root = directory / current.readlink() if current.is_symlink() else directory
    if root.parent != directory / place.GENERATIONS or not root.is_dir():
        raise error
    paths = [path.relative_to(root) for path in sorted(root.glob("*/date=*/*.parquet"))]
    found = tuple(_unlisted(root, path) for path in paths)
    view = View(directory, manifest.Snapshot(0, None, found), sys.maxsize, base=root)
    view.damage.append(f"the newest rows, which are in the log alone, are left out: {error}")
    return view


def _unlisted(root: Path, path: Path) -> Segment:
    table, day, _ = path.parts
    size = (root / path).stat().st_size
    date = day.removeprefix("date=")
    return Segment(path.as_posix(), table, date, "", 0, size, None, None, 0, 0, 0, 0, "")


def _read_tail(view: View, log: str) -> list[int]:
    """Fill the tail from one log; the numbers of the files that were read, rising."""
    visited: list[int] = []
    end = view.manifest.of(log) or Position(0, 0)
    if end.file == 0 and (first := next(iter(files(view.directory, log)), 1)) > 1:
        view.damage.append(
            f"{log}: its files before {first} are gone, and the manifest does not tell what became of them"
        )
    for found in LogReader(view.directory, log).walk(view.manifest.of(log)):
        if isinstance(found, DamagedError):
            view.damage.append(str(found))
            continue
        end = found.next
        if found.position.file not in visited[-1:]:
            visited.append(found.position.file)
        view.add(log, found)
    if rest := holders.torn(view.directory, log, end):
        view.damage.append(rest)
    return visited


def _whole(start: Position | None, visited: Sequence[int]) -> bool:
    """Whether the files read follow on one another from where the segments end."""
    return start is not None and list(visited) == list(range(start.file, start.file + len(visited))) != []
