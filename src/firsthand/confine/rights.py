"""Giving up capabilities, by the process itself, for good (capabilities(7), prctl(2)), and its share of the processors before that."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import struct
from collections.abc import Iterable
from pathlib import Path

from firsthand.errors import FirsthandError
from firsthand.schema import capability

_SET_DUMPABLE = 4
_KEEP_CAPABILITIES = 8
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


def survive() -> None:
    """Let the permitted set outlive the next change of user (PR_SET_KEEPCAPS, capabilities(7)): `keep` then takes what is wanted of it."""
    _check(ctypes.CDLL(None, use_errno=True).prctl(_KEEP_CAPABILITIES, 1, 0, 0, 0), "keep its capabilities")


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


def prefer(nice: int) -> None:
    """Take more (below 0) or less of the processors than others: what asks for less than its share is run sooner, too.

    By the process's nice value, which counts within its cgroup; and where the scheduler groups by session (autogroup, sched(7)), by
    that of a session of its own, for there the nice value alone counts against nobody. Less than before takes no right, more takes
    CAP_SYS_NICE: without it all stays as it is, and the cgroup's weight decides (the unit's CPUWeight, the pod's requests).
    """
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    if nice < 0 and os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # no such kernel setting, no right, or procfs cannot be written
            Path("/proc/self/autogroup").write_text(str(nice))


def first_to_go() -> None:
    """Be what the kernel ends first where memory is short (oom_score_adj, proc(5)), with all that is forked later. It takes no right."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


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
