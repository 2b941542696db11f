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
from firsthand.history.chunk import Chunk, Position
from firsthand.history.log import LogReader, files, path_of

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


def torn(directory: Path, log: str, end: Position) -> str | None:
    """What is to be said of a log's end, where the last whole chunk ends at `end` and nobody writes it now; None: nothing."""
    numbers = files(directory, log)
    if not numbers or any(one.role == FILES[f"{log}/lock"] for one in holders(directory)):
        return None  # the end may be on its way
    rest = path_of(directory, numbers[-1], log).stat().st_size - (end.offset if end.file == numbers[-1] else 0)
    if rest <= 0 or any(isinstance(one, Chunk) for one in LogReader(directory, log).walk(end)):
        return None  # or written, and its writer gone, since it was read
    return f"{log}: its last {rest:,} bytes are no whole chunk: torn by a crash, or changed"


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
