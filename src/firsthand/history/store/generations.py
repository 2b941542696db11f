"""Generations: folders with the segments in force, of which the manifest names one.

A merge works within the one in force. What retention lets go leaves by a new generation: built beside the one in force of hard links, committed in
the manifest, and then pointed to by `current`. A crash before the commit leaves a folder that the next run builds anew; one after it is
put right by the keeper's start. Readers of the old generation have ten minutes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from firsthand.history import place
from firsthand.history.store import segment
from firsthand.history.store.manifest import Manifest, Snapshot

#: Seconds for which a generation that is no longer in force stays, and a segment that was merged.
KEEP = 600.0


def begin(directory: Path, number: int) -> Path:
    """An empty folder for the next generation; one of a run that died before its commit goes."""
    new = segment.generation(directory, number)
    if new.exists():
        shutil.rmtree(new)
    return place.folder(new)


def link(old: Path, new: Path, paths: set[str]) -> None:
    """Take segments over into another folder, durably."""
    for path in sorted(paths):
        place.folder((new / path).parent)
        with contextlib.suppress(FileNotFoundError):  # a segment that was removed: readers and `verify` tell it
            (new / path).hardlink_to(old / path)
    for folder in {(new / path).parent for path in paths}:
        place.sync(folder)


def done(directory: Path, generation: int, now: float) -> None:
    """After the commit of the next generation: point `current` to it, and begin the time of the one before."""
    place.point_current(directory, generation + 1)
    _retire(directory, generation, now)


def renew(directory: Path, manifest: Manifest, now: Snapshot, moment: float) -> None:
    """Make the next generation of what is in force alone; what was merged stays behind in the one before."""
    new = begin(directory, now.generation + 1)
    link(segment.generation(directory, now.generation), new, {one.path for one in now.segments})
    manifest.renew(now.generation + 1)
    done(directory, now.generation, moment)


def _mark(directory: Path, generation: int) -> Path:
    """The file whose age says for how long a generation has been out of use."""
    return directory / place.GENERATIONS / f".retired-{generation}"


def _retire(directory: Path, generation: int, now: float) -> None:
    mark = _mark(directory, generation)
    mark.touch()
    os.utime(mark, (now, now))


def remove_old(directory: Path, generation: int, keep: float, now: float) -> None:
    """Remove those that have been out of use for `keep` seconds."""
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
