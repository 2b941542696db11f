"""Waiting until a log grows, by inotify(7): whoever waits costs nothing meanwhile, and wakes with the write.

Where the kernel gives no watch (fs.inotify.max_user_instances, a folder that is not there yet, a file system that another machine
writes to) the caller is sent to look again after LOOK seconds, or at the latest when its own time has passed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
from collections.abc import Sequence
from pathlib import Path

#: Seconds between two looks where the kernel does not say when.
LOOK = 0.05
#: A chunk was written, or a file was begun (uapi/linux/inotify.h): the one that is open is complete then.
_MODIFY, _CREATE, _MOVED_TO = 0x2, 0x100, 0x80
_BYTES = 1 << 16


def watched(path: Path, events: int) -> int:
    """A descriptor that is readable after such events (bits of uapi/linux/inotify.h); -1 if the kernel gives no watch."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    if descriptor >= 0 and libc.inotify_add_watch(descriptor, os.fsencode(path), events) < 0:
        os.close(descriptor)
        return -1
    return descriptor


def drain(descriptor: int) -> None:
    """Read all events of such a descriptor."""
    with contextlib.suppress(BlockingIOError):
        while len(os.read(descriptor, _BYTES)) > _BYTES // 2:
            pass


class Growth:
    """One log's folder, watched from the first `wait` on. `fileno` is for who waits for more than this: -1 while it is not watched."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor = -1

    def fileno(self) -> int:
        """Readable when the log has grown; `seen` makes it wait again."""
        return self._descriptor

    def watch(self) -> bool:
        """Begin where that has not been; True where it begins now, and what came before is to be looked for."""
        if self._descriptor >= 0:
            return False
        self._descriptor = watched(self._folder, _MODIFY | _CREATE | _MOVED_TO)
        return self._descriptor >= 0

    def wait(self, timeout: float, others: Sequence[int] = ()) -> list[int]:
        """Until the log grows or one of the other descriptors is readable, `timeout` seconds at most: those that are."""
        if self.watch():
            timeout = 0.0
        if self._descriptor < 0:
            return select.select(others, [], [], min(timeout, LOOK))[0]
        ready = select.select([*others, self._descriptor], [], [], timeout)[0]
        if self._descriptor in ready:
            self.seen()
        return [one for one in ready if one != self._descriptor]

    def seen(self) -> None:
        """Read the events of inotify. Call it before the log is read."""
        drain(self._descriptor)

    def close(self) -> None:
        """Let go of the watch. May be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
