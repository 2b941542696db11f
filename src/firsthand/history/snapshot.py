"""What a reader sees: the manifest's segments and the log's tail behind them, every row exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from firsthand.errors import DamagedError, HistoryError
from firsthand.history import arrow, holders, manifest, place, segment
from firsthand.history.chunk import Chunk, Position
from firsthand.history.log import LogReader, files

_TRIES = 20
#: Bytes of segments that a reader holds against their hashes, the newest first: about 0.2 s. Of the others it looks at the size.
CHECKED = 256 << 20


@dataclass
class View:
    """The segments of one moment and the tail that was durable then.

    `damage` says what could not be read; `aside` are the segments that are damaged, by path; `chunks` those that the tail
    is made of, each with its log.
    """

    directory: Path
    manifest: manifest.Snapshot
    tail: dict[str, list[pa.Table]] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)
    aside: set[str] = field(default_factory=set)
    chunks: list[tuple[str, Chunk]] = field(default_factory=list)

    def paths(self, table: str, *, named: bool | None = None) -> list[Path]:
        """The segment files of a table; `named`: only those whose rows all have their names, or only the others."""
        root = segment.generation(self.directory, self.manifest.generation)
        held = [found for found in self.manifest.segments if found.table == table and found.path not in self.aside]
        return [root / found.path for found in held if named is None or named == (found.unnamed == 0)]

    def rows(self, table: str) -> pa.Table:
        """The tail's rows of a table, in its full schema."""
        return arrow.together(table, self.tail.get(table, []))


def take(directory: Path, check: int = CHECKED) -> View:
    """The manifest first, then the log behind it; of the newest segments, `check` bytes are held against their hashes.

    A log file may be handed over and deleted between the two: then the look begins again.
    """
    for _ in range(_TRIES):
        try:
            view = View(directory, manifest.load(directory))
        except DamagedError as error:
            return _without_manifest(directory, error)
        whole = [_whole(view.manifest.of(log), _read_tail(view, log)) for log in (place.NAMES, place.LOG)]
        now = view.manifest if all(whole) else manifest.load(directory)
        same = all(now.of(log) == view.manifest.of(log) for log in (place.NAMES, place.LOG))
        if same and _set_aside(view, check):
            return view
    raise HistoryError(f"{directory}: the log was handed over {_TRIES} times while it was read; try again")


def _set_aside(view: View, check: int) -> bool:
    """Take damaged segments out; False where the generation was replaced meanwhile, and its files may be gone for that."""
    root = segment.generation(view.directory, view.manifest.generation)
    for one in sorted(view.manifest.segments, key=lambda one: one.time_max or 0, reverse=True):
        check -= one.bytes
        found = segment.damage(root / one.path, one, by_size=check < 0)
        if found:
            view.aside.add(one.path)
            view.damage.append(f"a segment of {one.table} is left out: {found}")
    return not view.aside or manifest.load(view.directory).generation == view.manifest.generation


def _without_manifest(directory: Path, error: DamagedError) -> View:
    """What can be read where the manifest cannot: the segments of the generation in force. Which rows of the log are in
    them is not known, so the log is left out and no row comes twice."""
    current = directory / place.CURRENT
    name = current.readlink().name if current.is_symlink() else ""
    if not name.isdecimal():
        raise error
    root = segment.generation(directory, int(name))
    paths = [path.relative_to(root) for path in sorted(root.glob("*/date=*/*.parquet"))]
    found = tuple(_unlisted(root, path) for path in paths)
    view = View(directory, manifest.Snapshot(int(name), None, found))
    view.damage.append(f"the newest rows, which are in the log alone, are left out: {error}")
    _open_all(view, root)
    return view


def _unlisted(root: Path, path: Path) -> manifest.Segment:
    table, day, _ = path.parts
    size = (root / path).stat().st_size
    date = day.removeprefix("date=")
    return manifest.Segment(path.as_posix(), table, date, "", 0, size, None, None, 0, 0, 0, 0, "")


def _open_all(view: View, root: Path) -> None:
    for one in view.manifest.segments:
        found = segment.damage(root / one.path, one)
        if found:
            view.aside.add(one.path)
            view.damage.append(f"a segment of {one.table} is left out: {found}")


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
        try:
            tables = arrow.tables(found)
        except DamagedError as error:
            view.damage.append(str(error))
            continue
        view.chunks.append((log, found))
        for name, rows in tables:
            view.tail.setdefault(name, []).append(rows)
    if rest := holders.torn(view.directory, log, end):
        view.damage.append(rest)
    return visited


def _whole(start: Position | None, visited: Sequence[int]) -> bool:
    """Whether the files read follow on one another from where the segments end."""
    return start is not None and list(visited) == list(range(start.file, start.file + len(visited))) != []
