"""Names of a container's users, by its own /etc/passwd: what the container says of itself, and nothing that the machine says.

The follower reads it, which has no capability: beneath the root folder that the runtime names, following no link and crossing no mount
(openat2(2)), only on file systems that the kernel itself serves (never FUSE, never the network), only a regular file of at most
1 MiB, opened only after that was seen. What cannot be read so has no names. A thread of its own: a file system that does not answer costs
names of users alone. Sources: passwd(5), user_namespaces(7), opencontainers/runtime-spec config-linux.md, containerd runtime/v2/bundle.go.
"""

from __future__ import annotations

import contextlib
import ctypes
import heapq
import os
import queue
import stat
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firsthand.identity.runtimes import path_of

#: Bytes of a file, names that are kept of it, and bytes of a name (LOGIN_NAME_MAX).
MOST_BYTES, MOST_NAMES, LONGEST = 1 << 20, 512, 256
#: Containers that wait to be read.
MOST_WAITING = 4096
#: Seconds after which it is tried again: a root is mounted after its container is told.
RETRIES = (0.1, 0.5, 2.0, 10.0)
#: openat2 has this number on every architecture (include/uapi/asm-generic/unistd.h); its flags in include/uapi/linux/openat2.h.
_OPENAT2 = 437
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 1, 2, 4, 8
_RESOLVE = _NO_XDEV | _NO_MAGICLINKS | _NO_SYMLINKS | _BENEATH
#: f_type of statfs(2) of the file systems that are read (include/uapi/linux/magic.h, and those of the file systems themselves).
_SERVED_BY_KERNEL = {
    0x794C7630,  # overlay
    0xEF53,  # ext4
    0x58465342,  # xfs
    0x9123683E,  # btrfs
    0x01021994,  # tmpfs
    0x73717368,  # squashfs
    0xE0F5E1E2,  # erofs
    0xF2F52010,  # f2fs
    0x2FC12FC1,  # zfs
}
_BUNDLES = "io.containerd.runtime.v2.task"

#: First id inside, first id on the machine, how many.
Range = tuple[int, int, int]


@dataclass(frozen=True)
class Rooted:
    """A container whose root its runtime told: relative to its bundle, or absolute. `ranges` of its user namespace; none: the machine's."""

    container: str
    socket: str
    root: str
    ranges: tuple[Range, ...] = ()


@dataclass(frozen=True)
class Users:
    """UID=NAME of a container's users, with ids as the machine has them."""

    container: str
    names: list[str]


class UsersReader(threading.Thread):
    """Reads one after another, and puts Users into `out`."""

    def __init__(self, out: queue.SimpleQueue[Any]) -> None:
        super().__init__(name="users", daemon=True)
        self._out = out
        self._asked: queue.SimpleQueue[Rooted] = queue.SimpleQueue()
        self._waiting: list[tuple[float, int, str, Rooted]] = []

    def ask(self, one: Rooted) -> None:
        """Read a container's names soon."""
        if self._asked.qsize() < MOST_WAITING:
            self._asked.put(one)

    def run(self) -> None:
        """For good."""
        while True:
            pause = max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else None
            with contextlib.suppress(queue.Empty):
                self._read(self._asked.get(timeout=pause), 0)
            while self._waiting and self._waiting[0][0] <= time.monotonic():
                _, attempt, _, one = heapq.heappop(self._waiting)
                self._read(one, attempt)

    def _read(self, one: Rooted, attempt: int) -> None:
        for root in roots(one):
            with contextlib.suppress(OSError):
                self._out.put(Users(one.container, told(read(root), one.ranges)))
                return
        if attempt < len(RETRIES) and len(self._waiting) < MOST_WAITING:
            heapq.heappush(self._waiting, (time.monotonic() + RETRIES[attempt], attempt + 1, one.container, one))


def roots(one: Rooted) -> Iterator[Path]:
    """Where a container's root folder may be: containerd has it in the container's bundle, below its state, beside its socket."""
    if one.root.startswith("/"):
        yield Path(one.root)
        return
    beside = Path(path_of(one.socket)).parent
    for state in (beside / _BUNDLES, beside / "state" / _BUNDLES):
        with contextlib.suppress(OSError):
            yield from (namespace / one.container / one.root for namespace in sorted(state.iterdir()))


def read(root: Path) -> bytes:
    """A root folder's etc/passwd. OSError where there is none, or where it may not be read by the rules above."""
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _served_by_kernel(folder)
        if os.path.samestat(os.fstat(folder), Path("/").stat()):
            raise OSError("the machine's own root: its names are the machine's")
        found = _beneath(folder, b"etc/passwd")
    finally:
        os.close(folder)
    try:
        _served_by_kernel(found)
        about = os.fstat(found)
        if not stat.S_ISREG(about.st_mode) or about.st_size > MOST_BYTES:
            raise OSError(f"{root}/etc/passwd is no regular file of at most {MOST_BYTES} bytes")
        with open(f"/proc/self/fd/{found}", "rb", buffering=0) as file:  # noqa: PTH123 - the very file that was looked at
            text = file.read(MOST_BYTES + 1)
    finally:
        os.close(found)
    if len(text) > MOST_BYTES:
        raise OSError(f"{root}/etc/passwd grew beyond {MOST_BYTES} bytes")
    return text


def _beneath(folder: int, name: bytes) -> int:
    """A descriptor (O_PATH) of what has this name beneath a folder. OSError for any link or mount on the way."""
    how = struct.pack("<3Q", os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW, 0, _RESOLVE)
    libc = ctypes.CDLL(None, use_errno=True)
    found = int(libc.syscall(_OPENAT2, folder, name, how, ctypes.c_size_t(len(how))))
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), name)
    return found


def _served_by_kernel(descriptor: int) -> None:
    kind = ctypes.create_string_buffer(256)  # struct statfs, which begins with f_type
    if ctypes.CDLL(None, use_errno=True).fstatfs(descriptor, kind):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if struct.unpack_from("l", kind.raw)[0] not in _SERVED_BY_KERNEL:
        raise OSError("a file system that is not the kernel's own")


def told(text: bytes, ranges: Sequence[Range]) -> list[str]:
    """UID=NAME for each user, the first name of a number, ids as on the machine; what is no such line is left out."""
    found: dict[int, str] = {}
    for line in text.splitlines():
        fields = line.split(b":")
        if (
            len(fields) != 7
            or not fields[0]
            or len(fields[0]) > LONGEST
            or not fields[2].isdigit()
            or len(fields[2]) > 10
        ):
            continue
        number = outside(int(fields[2]), ranges)
        if number is not None and number not in found and len(found) < MOST_NAMES:
            found[number] = fields[0].decode("utf-8", "backslashreplace")
    return [f"{number}={name}" for number, name in found.items()]


def outside(number: int, ranges: Sequence[Range]) -> int | None:
    """A user's number on the machine; None where the user namespace maps it to none."""
    if not ranges:
        return number
    return next((first + number - inside for inside, first, size in ranges if inside <= number < inside + size), None)
