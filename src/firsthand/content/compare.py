"""One file: what the page cache holds of it against what the disk holds, byte for byte.

The disk is read by O_DIRECT, which passes the page cache by, and counts only where STATX_DIOALIGN says that it is real: on other files
it falls back to the cache, and would say "the same" of anything. Only pages that are cached are read through the cache, so that reading
brings in (almost) nothing.

A page that waits to be written back differs from the disk by right. It is no finding: a file whose change time is younger than QUIET, or
with dirty pages, is left for later; and of what differs, stamp and dirty pages are looked at again, and it is compared again. A write
sets the change time (mtime alone can be set at will, and is not believed); pages changed below the file system do not.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from firsthand.content import pages
from firsthand.content.pages import PAGE, Stamp

#: Seconds for which a file must not have changed. A clock tick (10 ms) would do for the stamps; the rest spares what is being written.
QUIET = 2.0
#: Bytes of a file beyond which it is not compared, and of one read.
MOST, CHUNK = 64 << 20, 1 << 18
#: Why a file is not compared now and may be soon.
CHANGING = "it is being written"
#: File systems whose STATX_DIOALIGN is 0 wherever a direct read would fall back to the cache (ext4_dio_alignment of fs/ext4/inode.c,
#: xfs_report_dioalign of fs/xfs/xfs_iops.c); by their magic numbers (include/uapi/linux/magic.h).
_TRUE = {0xEF53: "ext4", 0x58465342: "xfs"}
#: Others by name.
_OTHERS = {
    0x9123683E: "btrfs",
    0xF2F52010: "f2fs",
    0xCA451A4E: "bcachefs",
    0x794C7630: "overlay",
    0x01021994: "tmpfs",
    0x858458F6: "ramfs",
    0x65735546: "fuse",
    0x6969: "nfs",
    0xFE534D42: "smb",
    0xFF534D42: "cifs",
    0x01021997: "9p",
    0x00C36400: "ceph",
    0x73717368: "squashfs",
    0xE0F5E1E2: "erofs",
    0x2FC12FC1: "zfs",
}


class Unchecked(Exception):
    """A file was not compared; its text is the reason. `passing`: it may be soon."""

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


@dataclass(frozen=True)
class Difference:
    """What differs: hashes of the whole file as it is read and as it is on the disk (SHA-256, hexadecimal), the first byte that differs, and
    how many of the cached ones do."""

    cached: str
    disk: str
    first: int
    count: int


@dataclass(frozen=True)
class Compared:
    """A file that was compared: its stamp, its file system, how many bytes of it were cached, and what differs."""

    stamp: Stamp
    filesystem: str
    resident: int
    difference: Difference | None = None


@dataclass
class Comparer:
    """Compares files, with two buffers of CHUNK bytes that are used again and again. `owner_of_all`: it has CAP_FOWNER."""

    owner_of_all: bool = False
    quiet: float = QUIET
    _cached: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, CHUNK))
    _disk: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, CHUNK))

    def compare(self, path: str) -> Compared:
        """The file at a path that has no symbolic links. Unchecked with the reason; FileNotFoundError where there is none."""
        with _opened(path) as (place, found):
            before, filesystem = self._checkable(place, found)
            with _reading(place) as (file, direct):
                self._still(file, before)
                runs = pages.resident(file, before.size)
                held = sum(min(end, before.size) - begin for begin, end in runs)
                difference = None
                # All of them, though one differs: a read past the cache writes back what is dirty in its range, so that from then on
                # each write sets the change time, also one through a mapping (page_mkwrite).
                differing = [self._differing(file, direct, run, before.size) for run in runs]
                if any(differing):
                    self._still(file, before)
                    difference = self._told(file, direct, before.size)
                self._still(file, before)
                return Compared(before, filesystem, held, difference)

    def _checkable(self, place: int, found: os.stat_result) -> tuple[Stamp, str]:
        if not stat.S_ISREG(found.st_mode):
            raise Unchecked("it is no regular file")
        magic = pages.filesystem(place)
        if magic not in _TRUE:
            raise Unchecked(f"its file system is {_OTHERS.get(magic, f'another one ({magic:#x})')}")
        before, direct = pages.stamp(place)
        if direct is None:
            raise Unchecked("the kernel does not report whether O_DIRECT is real (STATX_DIOALIGN)")
        if not direct.real:
            raise Unchecked("it cannot be read past the page cache (O_DIRECT)")
        if before.size > MOST:
            raise Unchecked(f"it is larger than {MOST >> 20} MiB")
        if not pages.known(before.uid, owner_of_all=self.owner_of_all):
            raise Unchecked("which of its pages are cached is not known: CAP_FOWNER is missing")
        return before, _TRUE[magic]

    def _still(self, file: int, before: Stamp) -> None:
        """Unchecked where the file changed, or waits to be written."""
        now = pages.stamp(file)[0]
        age = time.time() - now.changed / 1e9
        if now != before or 0 <= age < self.quiet or pages.unwritten(file):
            raise Unchecked(CHANGING, passing=True)

    def _differing(self, file: int, direct: int, run: tuple[int, int], size: int) -> bool:
        pieces = self._read(file, direct, run, size)
        same = [pages.equal(self._cached, self._disk, length) for _, length in pieces]
        return not all(same)

    def _read(self, file: int, direct: int, run: tuple[int, int], size: int) -> Iterator[tuple[int, int]]:
        """Offset and length of each piece of a run that both buffers hold then."""
        for begin in range(run[0], run[1], CHUNK):
            wanted = min(run[1] - begin, CHUNK)
            length = min(wanted, size - begin)
            got = _read(file, self._cached, begin, wanted), _read(direct, self._disk, begin, wanted)
            if min(got) < length:
                raise Unchecked(CHANGING, passing=True)
            yield begin, length

    def _told(self, file: int, direct: int, size: int) -> Difference | None:
        """Compare once more, all of the file, what is not cached being what the disk holds; None where nothing differs now."""
        cached, disk, first, count = hashlib.sha256(), hashlib.sha256(), -1, 0
        at = 0
        for begin, end in [*pages.resident(file, size), (size, size)]:
            for _, length in self._from_disk(direct, at, min(begin, size), size):
                piece = self._disk[:length]
                cached.update(piece)
                disk.update(piece)
            for offset, length in self._read(file, direct, (begin, end), size):
                read, held = self._cached[:length], self._disk[:length]
                cached.update(read)
                disk.update(held)
                if read != held:
                    places = [i for i, (a, b) in enumerate(zip(read, held, strict=True)) if a != b]
                    first, count = offset + places[0] if first < 0 else first, count + len(places)
            at = end
        return Difference(cached.hexdigest(), disk.hexdigest(), first, count) if count else None

    def _from_disk(self, direct: int, begin: int, end: int, size: int) -> Iterator[tuple[int, int]]:
        for at in range(begin, end, CHUNK):
            length = min(end - at, CHUNK)
            if _read(direct, self._disk, at, -(-length // PAGE) * PAGE) < min(length, size - at):
                raise Unchecked(CHANGING, passing=True)
            yield at, length


def _read(file: int, buffer: mmap.mmap, at: int, length: int) -> int:
    """Bytes read from an offset into a buffer's begin; fewer at the file's end."""
    try:
        with memoryview(buffer) as whole, whole[:length] as part:
            return os.preadv(file, [part], at)
    except OSError as error:
        raise Unchecked(f"it cannot be read ({error.strerror})") from error


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[int, os.stat_result]]:
    """A file by its name alone: nothing is read and no device, FIFO or socket notices."""
    try:
        place = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unchecked(f"it cannot be opened ({error.strerror})") from error
    try:
        yield place, os.fstat(place)
    finally:
        os.close(place)


@contextlib.contextmanager
def _reading(place: int) -> Iterator[tuple[int, int]]:
    """The same file twice: through the page cache, and past it. Its access time stays as it is, where that is allowed."""
    name = f"/proc/self/fd/{place}"
    with contextlib.ExitStack() as opened:
        found = []
        for flags in (0, os.O_DIRECT):
            try:
                found.append(_open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags))
            except OSError as error:
                raise Unchecked(f"it cannot be opened ({error.strerror})") from error
            opened.callback(os.close, found[-1])
        os.posix_fadvise(found[0], 0, 0, os.POSIX_FADV_RANDOM)  # no reading ahead
        yield found[0], found[1]


def _open(name: str, flags: int) -> int:
    try:
        return os.open(name, flags | os.O_NOATIME)
    except PermissionError:
        return os.open(name, flags)
