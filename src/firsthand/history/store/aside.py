"""Damaged segments: out of the manifest and into damaged/, with a row of `loss` that says how many rows of which time went with them.

Answers and `verify` go by that row. Nothing of such a segment is read any more: which of its values were changed is not known.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from firsthand.errors import HistoryError
from firsthand.history import place
from firsthand.history.log import arrow
from firsthand.history.log.chunk import Position
from firsthand.history.store import manifest, segment
from firsthand.history.store.manifest import Manifest, Segment

#: Segments of these rows are of no log.
LOG = "aside"
#: The length of a manifest's chain from its begin to the first commit.
_BEGUN = 1
#: Tables whose rows are about any table and any earlier time: when such a segment is damaged, both are unknown.
_OF_ALL = ("loss",)


def unlisted(directory: Path) -> str:
    """Move segments that no manifest lists to damaged/, if the manifest was emptied or lost. Call this before a manifest is begun.

    Returns the detail of the `loss` row, until rows are handed over to the next manifest; else "". A manifest that was begun and has
    no hand-over is not an emptied one: the keeper ended within its first pass, and the log still has the rows.
    """
    now = manifest.load(directory)
    if now.handed_over or now.names_handed_over or now.segments:
        return ""
    if manifest.chain_length(directory) != _BEGUN:
        _move_all(directory)
    number = _kept(directory)
    if not number:
        return ""
    kept = f"{place.DAMAGED}/{place.GENERATIONS}-{number}"
    said = f"the manifest was empty: the segments that it had listed are kept in {kept}"
    print(f"keeper: {said}", file=sys.stderr, flush=True)
    return said


def _move_all(directory: Path) -> None:
    segments = directory / place.GENERATIONS
    if any(segments.rglob("*.parquet")):
        folder = place.folder(directory / place.DAMAGED)
        segments.rename(folder / f"{place.GENERATIONS}-{_kept(directory) + 1}")


def _kept(directory: Path) -> int:
    """The number of the newest folder of such segments, 0 for none."""
    names = [path.name.rpartition("-")[2] for path in (directory / place.DAMAGED).glob(f"{place.GENERATIONS}-*")]
    return max((int(name) for name in names if name.isdigit()), default=0)


def put(directory: Path, listing: Manifest, damaged: Sequence[tuple[Segment, str]], now: float) -> None:
    """Set segments aside, each with what is wrong with it; `now` in seconds since 1970. HistoryError where that cannot be.

    A crash before the commit leaves a segment that is missing, which the next look sets aside.
    """
    root = segment.generation(directory, listing.generation())
    told = [_told(root, one, what, int(now * 1_000_000)) for one, what in damaged]
    for one, what in damaged:
        print(f"keeper: set aside: {what}", file=sys.stderr, flush=True)
        _move(directory, root, one)
    listing.set_aside([one.path for one, _ in damaged], told, [what for _, what in damaged])


def _told(root: Path, one: Segment, what: str, now: int) -> Segment:
    """The row of `loss`, as a segment of its own: the same name whenever it is made for this one."""
    of_all = one.table in _OF_ALL
    values = {"time": now, "node": one.node, "cause": "segment_damaged", "table_name": None if of_all else one.table}
    values |= {"events": None if of_all else one.rows, "since": None if of_all else one.time_min, "until": one.time_max}
    row = arrow.row("loss", values | {"detail": what})
    number = int.from_bytes(hashlib.sha256(f"{one.path} {one.sha256}".encode()).digest()[:6], "big")
    at = Position(number, 0)
    ((made),) = segment.write(root, "loss", row, one.node, (at, at), LOG)
    return made


def _move(directory: Path, root: Path, one: Segment) -> None:
    """The file to damaged/, under its path with dashes; a missing one stays so."""
    path, kept = root / one.path, place.folder(directory / place.DAMAGED) / one.path.replace("/", "-")
    try:
        with contextlib.suppress(FileNotFoundError):
            try:
                path.replace(kept)
            except PermissionError:  # another user's file
                shutil.copyfile(path, kept)
                path.unlink()
            place.sync(path.parent)
    except OSError as error:
        raise HistoryError(f"{path}: the damaged segment cannot be set aside ({error})") from error
