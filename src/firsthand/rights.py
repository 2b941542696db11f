"""Giving up capabilities, by the process itself, for good (capabilities(7), prctl(2))."""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from collections.abc import Iterable

from firsthand.errors import FirsthandError
from firsthand.schema import capability

_SET_DUMPABLE = 4
_SET_NO_NEW_PRIVS, _BOUNDING_DROP, _AMBIENT, _AMBIENT_CLEAR = 38, 24, 47, 4
#: _LINUX_CAPABILITY_VERSION_3 of linux/capability.h: two words for each set.
_VERSION = 0x20080522


def bound(names: Iterable[str] = ()) -> int:
    """Take all but these out of the bounding set: while the process still may, before it changes its user. What stayed, as bits."""
    libc = ctypes.CDLL(None, use_errno=True)
    wanted = capability.bits(names)
    for number in range(64):
        if not wanted >> number & 1 and libc.prctl(_BOUNDING_DROP, number, 0, 0, 0):
            break  # EINVAL: no such capability in this kernel; EPERM: none to drop with
    return _set("CapBnd") & ~wanted


def keep(names: Iterable[str] = ()) -> None:
    """Keep these capabilities alone, in every set, and gain none by any exec. FirsthandError where the kernel refuses.

    For the calling thread and those that it starts later: call it before any thread is started. A process that has none
    keeps none.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    wanted = capability.bits(names) & held()
    bound(names)
    _check(libc.prctl(_AMBIENT, _AMBIENT_CLEAR, 0, 0, 0), "clear the ambient set")
    _check(libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "set no_new_privs")
    low, high = wanted & 0xFFFFFFFF, wanted >> 32
    header = struct.pack("<Ii", _VERSION, 0)
    _check(libc.capset(header, struct.pack("<6I", low, low, 0, high, high, 0)), "set its capabilities")


def leave_no_core() -> None:
    """What this process holds in memory must not come to a disk when it dies: neither as a file nor through a handler."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _check(ctypes.CDLL(None, use_errno=True).prctl(_SET_DUMPABLE, 0, 0, 0, 0), "be left out of core dumps")


def held() -> int:
    """The permitted set of this thread, from /proc/thread-self/status."""
    return _set("CapPrm")


def _set(name: str) -> int:
    with open("/proc/thread-self/status") as status:  # noqa: PTH123 - procfs
        line = next(line for line in status if line.startswith(name))
    return int(line.split()[1], 16)


def _check(result: int, what: str) -> None:
    if result:
        raise FirsthandError(f"the process could not {what}: {os.strerror(ctypes.get_errno())}")
