"""Retention: lets the rows go that budget.py names, and leaves rows of `loss` that say what is no longer held.

No file is edited. As at compaction, the next generation is built beside the one in force; segments of which a part stays
are written again in it. What went, what was written and what is said of it are one commit: a crash before it leaves a
folder that the next act builds anew, one after it is put right by the keeper's start.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from firsthand.errors import HistoryError
from firsthand.history import place
from firsthand.history.keep import budget
from firsthand.history.keep.budget import PART, Cut
from firsthand.history.keep.inventory import Inventory
from firsthand.history.keep.steady import Steady
from firsthand.history.log import arrow
from firsthand.history.log.chunk import Position
from firsthand.history.store import aside, generations, hold, manifest, segment, share
from firsthand.history.store.hold import Hold
from firsthand.history.store.manifest import Manifest, Segment, Snapshot
from firsthand.settings.sections.retention import Limits

#: Seconds between two looks.
EVERY = 60.0
#: Segments that one act writes again at most, and rows of them, so that the log never waits long; the next look goes on.
MOST, MOST_ROWS = 64, 2_000_000
#: Acts of one look: sizes are estimates, and files have a foot.
ACTS = 4
_BATCH = 65_536
#: Segments of these rows are of no log.
LOG = "retention"


@dataclass
class RemovedRows:
    """What an act let go, by (node, table, namespace, reason): rows, first, last."""

    counts: dict[tuple[str, str, str, str], tuple[int, int, int]] = field(default_factory=dict)

    def add(self, one: Segment, namespace: str, reason: str, rows: int, first: int, last: int) -> None:
        """Take note of rows of one segment."""
        key = (one.node, one.table, namespace, reason)
        before = self.counts.get(key, (0, first, last))
        self.counts[key] = (before[0] + rows, min(before[1], first), max(before[2], last))

    def rows(self, now: int) -> Iterator[tuple[str, pa.Table]]:
        """By node, the rows of `loss` that say so."""
        for (node, table, namespace, reason), (rows, first, last) in sorted(self.counts.items()):
            values = {"time": now, "node": node, "namespace": namespace, "cause": share.CAUSE, "table_name": table}
            yield node, arrow.row("loss", values | {"events": rows, "since": first, "until": last, "detail": reason})


class Retention:
    """Retention of one history, as the keeper does it; by the wall clock as `steady` has it."""

    def __init__(self, directory: Path, manifest: Manifest, limits: Limits, steady: Steady) -> None:
        self.directory = directory
        self.manifest = manifest
        self.limits = limits
        self.steady = steady
        self.now = steady.now
        self._inventory = Inventory(skips=True)
        self._next = 0.0

    def run(self, generation: int) -> int:
        """Let go what is due, once in EVERY seconds, and return the number of the generation in force.

        While somebody changes the holds nothing goes; the next pass looks again.
        HistoryError where it cannot: then what was not committed stays.
        """
        due = self.steady.elapsed() >= self._next
        limits = self._limits() if due else self.limits
        for _ in range(ACTS if due else 0):
            with hold.locked(self.directory, wait=False) as alone:
                if not alone:
                    break
                holds = hold.load(self.directory)
                snapshot = self.manifest.snapshot()
                cuts = self._plan(snapshot, holds, limits)
                if damaged := self._damaged(snapshot, cuts):
                    aside.put(self.directory, self.manifest, damaged, self.now())
                    continue
                if not cuts:
                    self._next = self.steady.elapsed() + EVERY
                    break
                generation = self._act(snapshot, cuts, holds)
        return generation

    def _limits(self) -> Limits:
        """Those of the settings; without any age while the wall clock is not believed."""
        return self.limits if self.steady.believed() else self.limits.ageless

    def _plan(self, snapshot: Snapshot, holds: tuple[Hold, ...], limits: Limits) -> list[Cut]:
        root = segment.generation(self.directory, snapshot.generation)
        pieces = self._inventory.pieces(root, snapshot.segments, holds)
        return budget.plan(pieces, limits, _micro(self.now()), goal(self.directory, snapshot, limits))

    def _damaged(self, snapshot: Snapshot, cuts: list[Cut]) -> list[tuple[Segment, str]]:
        """What cannot be read, and what is damaged of what is to be written again: that would get a hash that holds."""
        root = segment.generation(self.directory, snapshot.generation)
        again = [one for one, mine in _chosen(snapshot, cuts) if not _whole(one, mine)]
        told = [(one, what) for one in again if (what := segment.damage(root / one.path, one))]
        return self._inventory.damaged + told

    def _act(self, snapshot: Snapshot, cuts: list[Cut], holds: tuple[Hold, ...]) -> int:
        """One generation further, without what was cut of at most MOST segments that stay in part."""
        generation = snapshot.generation
        old = segment.generation(self.directory, generation)
        new = generations.begin(self.directory, generation + 1)
        taken = _chosen(snapshot, cuts)
        generations.link(old, new, {one.path for one in snapshot.segments} - {one.path for one, _ in taken})
        gone = RemovedRows()
        written = [made for one, mine in taken if (made := self._cut(old, new, one, mine, holds, gone)) is not None]
        written += self._told(new, generation + 1, gone)
        with self.manifest.together():
            self.manifest.retire(generation + 1, [one.path for one, _ in taken], share.CAUSE, _micro(self.now()))
            self.manifest.merge(generation + 1, (), written)
        generations.done(self.directory, generation, self.now())
        return generation + 1

    def _cut(
        self, old: Path, new: Path, one: Segment, cuts: list[Cut], holds: tuple[Hold, ...], gone: RemovedRows
    ) -> Segment | None:
        """What stays of a segment, under a name of this generation; None where nothing does."""
        if _whole(one, cuts):
            for cut in cuts:
                part = cut.piece.share
                gone.add(one, part.namespace, cut.reason, part.rows, part.first, part.last)
            return None
        span = (Position(one.from_file, one.from_offset), Position(one.to_file, one.to_offset))
        path = re.sub(r"(-cut\d+)?\.parquet$", f"-cut{self.manifest.act()}.parquet", one.path)
        schema = _schema(old / one.path, one)
        with segment.Writer(new.parent, path, schema, one.node, span, one.log) as writer:
            for part in _kept(old / one.path, one, cuts, holds, gone):
                writer.add(part)
            return writer.finish(new) if writer.rows else None

    def _told(self, new: Path, generation: int, gone: RemovedRows) -> list[Segment]:
        by_node: dict[str, list[pa.Table]] = {}
        for node, row in gone.rows(_micro(self.now())):
            by_node.setdefault(node, []).append(row)
        at = Position(generation, 0)
        found = [
            segment.write(new, "loss", arrow.together("loss", rows), node, (at, at), LOG)
            for node, rows in by_node.items()
        ]
        return [one for some in found for one in some]


def _micro(seconds: float) -> int:
    return int(seconds * 1_000_000)


def _whole(one: Segment, cuts: list[Cut]) -> bool:
    """Whether nothing of a segment stays."""
    return sum(cut.piece.share.rows for cut in cuts) == one.rows and not any(cut.piece.held for cut in cuts)


def _chosen(snapshot: Snapshot, cuts: list[Cut]) -> list[tuple[Segment, list[Cut]]]:
    """The cuts by segment, oldest first: all segments that go as a whole, and MOST of the others."""
    by_path: dict[str, list[Cut]] = {}
    for cut in cuts:
        by_path.setdefault(cut.piece.path, []).append(cut)
    found = [(one, by_path[one.path]) for one in snapshot.segments if one.path in by_path]
    found.sort(key=lambda pair: (pair[0].date, pair[0].path))
    rewritten = [pair for pair in found if not _whole(*pair)]
    late, rows = set(), 0
    for number, (one, _) in enumerate(rewritten):
        rows += one.rows
        if number >= MOST or (number and rows > MOST_ROWS):
            late.add(one.path)
    return [pair for pair in found if pair[0].path not in late]


def _kept(path: Path, one: Segment, cuts: list[Cut], holds: tuple[Hold, ...], gone: RemovedRows) -> Iterator[pa.Table]:
    """The rows of a segment that stay, batch by batch."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH):
                rows = arrow.conform(one.table, pa.Table.from_batches([batch]))
                kept: pa.Table = rows
                for cut in cuts:
                    kept = _without(kept, one, cut, holds, gone)
                yield kept
    except (OSError, pa.ArrowException) as error:
        raise HistoryError(f"{path}: the segment cannot be read ({error})") from error


def _schema(path: Path, one: Segment) -> pa.Schema:
    """The columns of a segment as `_kept` has them."""
    try:
        return arrow.conform(one.table, pq.read_schema(path).empty_table()).schema
    except (OSError, pa.ArrowException) as error:
        raise HistoryError(f"{path}: the segment cannot be read ({error})") from error


def _without(rows: pa.Table, one: Segment, cut: Cut, holds: tuple[Hold, ...], gone: RemovedRows) -> pa.Table:
    """The rows without those of a cut that no hold has."""
    part = cut.piece.share
    mask = share.mask(one.table, rows, [(part.namespace, part.kind)])
    mask = pc.and_not(mask, hold.mask(rows, holds))
    lost = share.keys(one.table, rows.filter(mask))["time"]
    if not len(lost):
        return rows
    ends = pc.min_max(lost).as_py()
    gone.add(one, part.namespace, cut.reason, len(lost), ends["min"], ends["max"])
    return rows.filter(pc.invert(mask))


def goal(directory: Path, snapshot: Snapshot, limits: Limits) -> int:
    """The bytes that segments may have now: those of the settings, less where their file system lacks room.

    A quarter stays whatever others fill the disk with: nobody can make the history forget by that.
    """
    found = os.statvfs(directory)
    lack = limits.free - found.f_bavail * found.f_frsize
    if lack <= 0:
        return limits.bytes
    lack -= leaving(directory, snapshot.generation)
    total = sum(one.bytes for one in snapshot.segments)
    return limits.bytes if lack <= 0 else min(limits.bytes, max(total - lack, limits.bytes // PART))


def leaving(directory: Path, generation: int) -> int:
    """Bytes of generations out of use that are in no other: they come free when their readers' time is over."""
    root = directory / place.GENERATIONS
    numbers = [int(path.name) for path in root.glob("*") if path.name.isdigit()]
    in_force = _sizes(root / str(generation))
    left = {
        inode: size for number in numbers if number < generation for inode, size in _sizes(root / str(number)).items()
    }
    merged = sum(manifest.gone(directory).values())
    return merged + sum(size for inode, size in left.items() if inode not in in_force)


def _sizes(root: Path) -> dict[int, int]:
    """The files below a folder by inode; one that goes meanwhile is left out."""
    found = {}
    for path in root.rglob("*.parquet"):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            found[status.st_ino] = status.st_size
    return found
