"""What the kernel says of an open file: its stamp, which of its pages are cached, and how many of them wait for the disk.

System calls by their C signatures, for Python has none of them: statx(2), mincore(2), cachestat (mm/filemap.c, 6.5), fstatfs(2).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from dataclasses import dataclass

PAGE = mmap.PAGESIZE
_AT_EMPTY_PATH = 0x1000
#: STATX_BASIC_STATS, and STATX_DIOALIGN (6.1): without it in the answer's mask nothing is known of O_DIRECT.
_BASIC, _DIOALIGN = 0x7FF, 0x2000
#: struct statx of include/uapi/linux/stat.h: mask, nlink, uid, mode, ino, size; ctime, mtime; device; alignments.
_HEAD = struct.Struct("<I12xIII H2x QQ")
_CTIME, _MTIME, _DEVICE, _ALIGN = 96, 112, 136, 152
#: The same number on every architecture but alpha (include/uapi/asm-generic/unistd.h).
_CACHESTAT = 451
#: Pages that one call of mincore is asked about.
_ASKED = 1 << 16

_libc = ctypes.CDLL(None, use_errno=True)
_libc.statx.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
_libc.fstatfs.argtypes = [ctypes.c_int, ctypes.c_void_p]
_MAP_FAILED = ctypes.c_void_p(-1).value


@dataclass(frozen=True)
class Stamp:
    """What tells one state of a file's content from another: it changes with each write, truncation, rename over it and change of mode.

    device: major:minor. inode. size in bytes. changed, modified: ctime and mtime in ns since 1970. uid: the owner's.
    """

    device: str
    inode: int
    size: int
    changed: int
    modified: int
    uid: int


@dataclass(frozen=True)
class Direct:
    """What O_DIRECT asks of a read of this file, in bytes; both 0: it is not possible, or falls back to the page cache."""

    memory: int = 0
    offset: int = 0

    @property
    def real(self) -> bool:
        """Whether reads by whole pages into whole pages go to the disk."""
        return 0 < self.offset <= PAGE and self.memory <= PAGE


def stamp(file: int) -> tuple[Stamp, Direct | None]:
    """Of an open file, O_PATH too; None for a kernel or file system that does not say (STATX_DIOALIGN). OSError as statx(2)."""
    found = ctypes.create_string_buffer(256)
    if _libc.statx(file, b"", _AT_EMPTY_PATH, _BASIC | _DIOALIGN, found):
        raise _error()
    mask, _, uid, _, _, inode, size = _HEAD.unpack_from(found)
    major, minor = struct.unpack_from("<II", found, _DEVICE)
    direct = Direct(*struct.unpack_from("<II", found, _ALIGN)) if mask & _DIOALIGN else None
    times = (_time(found, _CTIME), _time(found, _MTIME))
    return Stamp(f"{major}:{minor}", inode, size, *times, uid), direct


def _time(found: ctypes.Array[ctypes.c_char], at: int) -> int:
    seconds, nanoseconds = struct.unpack_from("<qI", found, at)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def filesystem(file: int) -> int:
    """The magic number of an open file's file system (statfs(2)). OSError as fstatfs(2)."""
    found = ctypes.create_string_buffer(256)
    if _libc.fstatfs(file, found):
        raise _error()
    return int.from_bytes(found.raw[: struct.calcsize("l")], "little")


def resident(file: int, size: int) -> list[tuple[int, int]]:
    """Begin and end, in bytes and by whole pages, of what the page cache holds of the first `size` bytes. It brings in nothing.

    For an open readable file. The kernel tells it to who owns the file, may write it, or has CAP_FOWNER; to all others it says that every
    page is there (can_do_mincore of mm/mincore.c, 5.2): ask `known` first. OSError as mmap(2) and mincore(2).
    """
    runs: list[tuple[int, int]] = []
    for begin in range(0, size, _ASKED * PAGE):
        for first, last in _runs(_cached(file, begin, min(size - begin, _ASKED * PAGE))):
            one = (begin + first * PAGE, begin + last * PAGE)
            if runs and runs[-1][1] == one[0]:
                runs[-1] = (runs[-1][0], one[1])
            else:
                runs.append(one)
    return runs


def _cached(file: int, begin: int, length: int) -> bytes:
    """One byte for each page: its lowest bit says whether it is there."""
    pages = -(-length // PAGE)
    place = _libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, file, begin)
    if place == _MAP_FAILED:
        raise _error()
    try:
        found = ctypes.create_string_buffer(pages)
        if _libc.mincore(place, length, found):
            raise _error()
        return found.raw
    finally:
        _libc.munmap(place, length)


def _runs(flags: bytes) -> list[tuple[int, int]]:
    """First page and the page behind the last one of each run of pages that are there."""
    told = bytes(flag & 1 for flag in flags)
    runs, at = [], told.find(1)
    while at >= 0:
        end = told.find(0, at)
        end = len(told) if end < 0 else end
        runs.append((at, end))
        at = told.find(1, end)
    return runs


def unwritten(file: int) -> int | None:
    """Pages of an open file that are dirty or on their way to the disk; None where the kernel has no cachestat or does not say."""
    whole, found = (ctypes.c_uint64 * 2)(), (ctypes.c_uint64 * 5)()
    if _libc.syscall(_CACHESTAT, file, whole, found, 0):
        return None
    return int(found[1] + found[2])


def known(owner: int, *, owner_of_all: bool) -> bool:
    """Whether the kernel tells this process which pages of a file of this user are cached. `owner_of_all`: it has CAP_FOWNER."""
    return owner_of_all or owner == os.geteuid()


def equal(left: mmap.mmap, right: mmap.mmap, length: int) -> bool:
    """Whether the first `length` bytes of two buffers are the same: memcmp, which copies nothing."""
    return not _libc.memcmp(_address(left), _address(right), ctypes.c_size_t(length))


def _address(buffer: mmap.mmap) -> ctypes.c_void_p:
    return ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(buffer)))


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
