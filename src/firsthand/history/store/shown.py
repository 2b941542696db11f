"""The segments in force for other engines: `current` -> generations/current, a folder of hard links to just these.

The folder of a generation also has what was merged a short time ago, for readers that have begun. A merge links the files of its
table and day alone, and exchanges that one folder: at every moment another engine finds each row once. Our own readers go by the manifest.

While no keeper runs `current` names the generation itself, which then has no other files: so a version before reads and goes on with it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from firsthand.history import fault, place
from firsthand.history.store import generations, segment
from firsthand.history.store.manifest import Segment, Snapshot

#: AT_FDCWD and RENAME_EXCHANGE of renameat2(2), Linux 3.15.
_HERE, _EXCHANGE = -100, 2
#: What a file system says that cannot exchange (NFS and others), or a folder of another layer (overlayfs).
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EXDEV, errno.EPERM)


class Shown:
    """The folder behind `current` while a keeper runs. Where the file system cannot exchange folders it is not `usable`."""

    def __init__(self, directory: Path, now: Snapshot) -> None:
        self.directory = directory
        self.root = shown(directory)
        self.usable = _exchanges(place.folder(self._beside()))
        self.renew(now)

    def renew(self, now: Snapshot) -> None:
        """Show what the manifest lists, whatever was shown: all at once."""
        if not self.usable:
            self.end(now.generation)
            return
        source = segment.generation(self.directory, now.generation)
        listed = {one.path for one in now.segments if (source / one.path).exists()}
        if not self.root.is_dir():
            self._build(source, self.root, listed)
        elif not _same(source, self.root, listed):
            built = self._build(source, self._beside(), listed)
            _exchange(built, self.root)
            shutil.rmtree(built)
        place.point_to(self.directory, self.root)

    def add(self, source: Path, made: Iterable[Segment]) -> None:
        """Show segments more, of what the log handed over."""
        if self.usable:
            generations.link(source, self.root, {one.path for one in made if not (self.root / one.path).exists()})

    def change(self, source: Path, folder: str, listed: Iterable[Segment]) -> None:
        """Show one folder (TABLE/date=DAY) as the manifest lists it now, at once."""
        built = self._beside()
        wanted = {one.path for one in listed if one.path.rpartition("/")[0] == folder}
        place.folder(built / folder)
        generations.link(source, built, wanted)
        fault.reached("merge.before_swap")
        _exchange(built / folder, self.root / folder)
        place.sync((self.root / folder).parent)
        fault.reached("merge.after_swap")
        shutil.rmtree(built)

    def end(self, generation: int) -> None:
        """Let `current` name the generation in force again."""
        place.point_current(self.directory, generation)
        if self.root.is_dir():
            shutil.rmtree(self.root)

    def _beside(self) -> Path:
        path = self.root.with_name(".current")
        if path.exists():
            shutil.rmtree(path)
        return path

    def _build(self, source: Path, target: Path, listed: set[str]) -> Path:
        place.folder(target)
        generations.link(source, target, listed)
        return target


def shown(directory: Path) -> Path:
    """Where other engines read while a keeper runs."""
    return directory / place.GENERATIONS / place.CURRENT


def _same(source: Path, root: Path, listed: set[str]) -> bool:
    """Whether a folder has these segments, the same files, and nothing else."""
    found = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
    return found == listed and all((root / path).samefile(source / path) for path in listed)


def _exchanges(folder: Path) -> bool:
    """Whether two folders can be exchanged there; the one that is given goes."""
    one, other = folder / "one", folder / "other"
    one.mkdir()
    other.mkdir()
    try:
        _exchange(one, other)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        return False
    finally:
        shutil.rmtree(folder)
    return True


def _exchange(one: Path, other: Path) -> None:
    """Exchange two folders in one step."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))
