"""Who holds a history's locks now: the processes of ours that write it.

A lock's file says in one JSON line who took it; whether that process still lives, the lock itself tells.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path

from firsthand.history import place

#: Lock files, and the role that each is for.
FILES = {
    "run.lock": "supervisor",
    f"{place.LOG}/lock": "observer",
    "keeper.lock": "keeper",
    f"{place.NAMES}/lock": "follower",
}


@dataclass(frozen=True)
class Holder:
    """One process: `since` in microseconds since 1970."""

    pid: int
    role: str
    since: int


def holders(directory: Path) -> list[Holder]:
    """Every process that holds a lock of this history now. A file that cannot be read tells nothing."""
    found = [_holder(directory / name, role) for name, role in FILES.items()]
    return [holder for holder in found if holder is not None]


def _holder(path: Path, role: str) -> Holder | None:
    with contextlib.suppress(OSError, ValueError, KeyError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            told = json.loads(os.read(descriptor, 4096))
            return Holder(told["pid"], role, told["since"]) if _held(descriptor) else None
        finally:
            os.close(descriptor)
    return None


def _held(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
