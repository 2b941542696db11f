"""Compaction: many small segments of a table, day and node become one, in a new generation of hard links.

No file is edited. The next generation is built beside the one in force, committed in the manifest, and then `current`
is pointed to it. A crash before the commit leaves a folder that the next run builds anew; one after it is put right by
the keeper's start. Readers of the old generation have ten minutes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from firsthand.history import arrow, fault, place, segment
from firsthand.history.chunk import Position
from firsthand.history.manifest import Manifest, Segment
from firsthand.history.names import Names

#: A table's day is merged when it has this many segments below SMALL bytes.
MANY = 60
SMALL = 4 << 20
#: Rows of one merged segment; it bounds the memory of a merge.
MAX_ROWS = 300_000
#: Seconds for which a generation that is no longer in force stays.
KEEP = 600.0
#: Neighbours are alike, which makes the file small, and questions about one pod read little of it.
ORDER = ("namespace", "pod", "time")


def run(
    directory: Path,
    manifest: Manifest,
    generation: int,
    *,
    many: int = MANY,
    keep: float = KEEP,
    names: Names | None = None,
    late: Collection[str] = (),
    now: Callable[[], float] = time.time,
) -> int:
    """Merge what is due, remove generations out of use, and return the number of the generation in force.

    Rows get the `names` that are known by now; segments whose path is in `late` are written again for these alone.
    """
    segments = manifest.snapshot().segments
    due = groups(segments, many)
    taken = {one.path for group in due for one in group}
    due += [[one] for one in segments if one.path in late and one.path not in taken]
    due = [whole for group in due if (whole := _whole(segment.generation(directory, generation), group))]
    if due:
        generation = _next(directory, manifest, generation, due, names or Names(), now())
    _remove_old(directory, generation, keep, now())
    return generation


def _whole(root: Path, group: list[Segment]) -> list[Segment]:
    """The group without what is damaged: merged, it would get a hash that holds. It stays as it is, and is said."""
    damage = {one.path: segment.damage(root / one.path, one) for one in group}
    for found in filter(None, damage.values()):
        print(f"keeper: not merged: {found}", file=sys.stderr, flush=True)
    return [one for one in group if not damage[one.path]]


def groups(segments: Sequence[Segment], many: int) -> list[list[Segment]]:
    """The segments to be merged, by table, day, node and log, in log order."""
    found: dict[tuple[str, str, str, str], list[Segment]] = {}
    for one in sorted(segments, key=lambda s: (s.from_file, s.from_offset)):
        if one.bytes < SMALL:
            found.setdefault((one.table, one.date, one.node, one.log), []).append(one)
    return [taken for group in found.values() if len(group) >= many and len(taken := _bounded(group)) > 1]


def _bounded(group: list[Segment]) -> list[Segment]:
    taken, rows = [], 0
    for one in group:
        rows += one.rows
        if rows > MAX_ROWS:
            break
        taken.append(one)
    return taken


def _next(
    directory: Path, manifest: Manifest, generation: int, due: list[list[Segment]], names: Names, now: float
) -> int:
    old, new = segment.generation(directory, generation), begin(directory, generation + 1)
    fault.reached("merge.before_link")
    gone = [one.path for group in due for one in group]
    link(old, new, {one.path for one in manifest.snapshot().segments} - set(gone))
    fault.reached("merge.before_merge")
    merged = [_merge(old, new, group, names) for group in due]
    manifest.merge(generation + 1, gone, merged)
    done(directory, generation, now)
    return generation + 1


def begin(directory: Path, number: int) -> Path:
    """An empty folder for the next generation; one of a run that died before its commit goes."""
    new = segment.generation(directory, number)
    if new.exists():
        shutil.rmtree(new)
    return place.folder(new)


def link(old: Path, new: Path, paths: set[str]) -> None:
    """Take segments over into the next generation, durably."""
    for path in sorted(paths):
        place.folder((new / path).parent)
        with contextlib.suppress(FileNotFoundError):  # a segment that was removed: readers and `verify` tell it
            (new / path).hardlink_to(old / path)
    for folder in {(new / path).parent for path in paths}:
        place.sync(folder)


def done(directory: Path, generation: int, now: float) -> None:
    """After the commit of the next generation: point `current` to it, and begin the time of the one before."""
    fault.reached("merge.before_swap")
    place.point_current(directory, generation + 1)
    fault.reached("merge.before_mark")
    _retire(directory, generation, now)


def _merge(old: Path, new: Path, group: list[Segment], names: Names) -> Segment:
    """One segment of several, under the first one's name."""
    first, last = group[0], group[-1]
    parts = [pq.read_table(old / one.path, partitioning=None) for one in group]
    rows = names.freeze(arrow.together(first.table, [arrow.conform(first.table, part) for part in parts]))
    span = (Position(first.from_file, first.from_offset), Position(last.to_file, last.to_offset))
    return segment.write_one(new, first.path, _sorted(rows), first.node, span, first.log)


def _sorted(rows: pa.Table) -> pa.Table:
    keys = [(name, "ascending") for name in ORDER if name in rows.column_names]
    return rows.sort_by(keys) if keys else rows


def _mark(directory: Path, generation: int) -> Path:
    """The file whose age says for how long a generation has been out of use."""
    return directory / place.GENERATIONS / f".retired-{generation}"


def _retire(directory: Path, generation: int, now: float) -> None:
    mark = _mark(directory, generation)
    mark.touch()
    os.utime(mark, (now, now))


def _remove_old(directory: Path, generation: int, keep: float, now: float) -> None:
    for path in segment.generation(directory, generation).parent.iterdir():
        if not path.name.isdigit() or int(path.name) >= generation:
            continue
        mark = _mark(directory, int(path.name))
        if not mark.exists() or mark.stat().st_mtime > now + KEEP:
            _retire(
                directory, int(path.name), now
            )  # a crash came between the commit and the mark, or a clock was set back
        if now - mark.stat().st_mtime >= keep:
            shutil.rmtree(path)
            mark.unlink()
