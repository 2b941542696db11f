"""Who holds a history's locks now: the processes of ours that write it.

The file beside each lock says who took it and when it last got on (alive.py); readers get at no lock.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from firsthand.confine.roles import LOCKS
from firsthand.history import place
from firsthand.history.log import alive
from firsthand.history.log.chunk import Chunk, Position
from firsthand.history.log.log import LogReader, files, path_of

#: Roles that have no way to the history, and the word by which the observer tells when it last heard of each.
_WITHOUT = {"dissector": "dissected", "checker": "checked"}


@dataclass(frozen=True)
class Holder:
    """One process: `since` in microseconds since 1970; whether it was stopped (SIGSTOP); seconds since its last sign of life."""

    pid: int
    role: str
    since: int
    stopped: bool = False
    silent: float = 0.0


def holders(directory: Path) -> list[Holder]:
    """Every process that writes this history now, and those that have no way to it. A file that cannot be read tells nothing."""
    without = (_told(directory, role, answered) for role, answered in _WITHOUT.items())
    found = [*(_holder(directory / name, role) for name, role in LOCKS.items()), *without]
    return [holder for holder in found if holder is not None]


def torn(directory: Path, log: str, end: Position) -> str | None:
    """What is to be said of a log's end, where the last whole chunk ends at `end` and nobody writes it now; None: nothing."""
    numbers = files(directory, log)
    if not numbers or any(one.role == LOCKS[f"{log}/lock"] for one in holders(directory)):
        return None  # the end may be on its way
    rest = path_of(directory, numbers[-1], log).stat().st_size - (end.offset if end.file == numbers[-1] else 0)
    if rest <= 0 or any(isinstance(one, Chunk) for one in LogReader(directory, log).walk(end)):
        return None  # or written, and its writer gone, since it was read
    return f"{log}: its last {rest:,} bytes are no whole chunk: torn by a crash, or changed"


def _holder(path: Path, role: str) -> Holder | None:
    told = alive.read(path)
    state = None if told is None else alive.living(told)
    if told is None or state is None:
        return None
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return Holder(int(told["pid"]), role, int(told["since"]), state == "T", alive.age(told))
    return None


def rests(directory: Path) -> str | None:
    """The role that has ended because it has nothing to do, and that the supervisor starts again."""
    told = alive.read(directory / "run.lock") or {}
    return str(told["rests"]) if "rests" in told and alive.living(told) is not None else None


def _told(directory: Path, role: str, heard: str) -> Holder | None:
    """A role that has no way to the history: the supervisor tells its pid, and the observer when it last heard of it."""
    told = alive.read(directory / "run.lock") or {}
    last = (alive.read(directory / place.LOG / "lock") or {}).get(heard)
    with contextlib.suppress(OSError, KeyError, TypeError, ValueError):
        pid, started = told[role]
        if alive.living(told) not in (None, "?") and (now := alive.state(pid))[1] == started and now[0] not in "ZX":
            silent = max(0.0, time.time() - int(last) / 1e6) if last else 0.0
            return Holder(pid, role, int(told["since"]), now[0] == "T", silent)
    return None
