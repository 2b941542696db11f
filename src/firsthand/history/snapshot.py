"""What a reader sees: the manifest's segments and the log's tail behind them, every row exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from firsthand.errors import DamagedError, HistoryError
from firsthand.history import arrow, manifest, place, segment
from firsthand.history.chunk import Position
from firsthand.history.log import LogReader

_TRIES = 20


@dataclass
class View:
    """The segments of one moment and the tail that was durable then. `damage` says what of the tail was unreadable."""

    directory: Path
    manifest: manifest.Snapshot
    tail: dict[str, list[pa.Table]] = field(default_factory=dict)
    damage: list[str] = field(default_factory=list)

    def paths(self, table: str, *, named: bool | None = None) -> list[Path]:
        """The segment files of a table; `named`: only those whose rows all have their names, or only the others."""
        root = segment.generation(self.directory, self.manifest.generation)
        held = [found for found in self.manifest.segments if found.table == table]
        return [root / found.path for found in held if named is None or named == (found.unnamed == 0)]

    def rows(self, table: str) -> pa.Table:
        """The tail's rows of a table, in its full schema."""
        return arrow.together(table, self.tail.get(table, []))


def take(directory: Path) -> View:
    """The manifest first, then the log behind it.

    A log file may be handed over and deleted between the two: then the look begins again.
    """
    for _ in range(_TRIES):
        view = View(directory, manifest.load(directory))
        whole = [_whole(view.manifest.of(log), _read_tail(view, log)) for log in (place.NAMES, place.LOG)]
        if all(whole):
            return view
        now = manifest.load(directory)
        if all(now.of(log) == view.manifest.of(log) for log in (place.NAMES, place.LOG)):
            return view
    raise HistoryError(f"{directory}: the log was handed over {_TRIES} times while it was read; try again")


def _read_tail(view: View, log: str) -> list[int]:
    """Fill the tail from one log; the numbers of the files that were read, rising."""
    visited: list[int] = []
    for found in LogReader(view.directory, log).walk(view.manifest.of(log)):
        if isinstance(found, DamagedError):
            view.damage.append(str(found))
            continue
        if found.position.file not in visited[-1:]:
            visited.append(found.position.file)
        for name, stream in found.streams():
            view.tail.setdefault(name, []).append(arrow.conform(name, arrow.read(stream)))
    return visited


def _whole(start: Position | None, visited: Sequence[int]) -> bool:
    """Whether the files read follow on one another from where the segments end."""
    return start is not None and list(visited) == list(range(start.file, start.file + len(visited))) != []
