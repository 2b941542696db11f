"""A question about the present: the observer writes what the rings hold, and reports up to when the record is whole.

A reader opens the file `asked` beside the log; the observer watches it (inotify(7), IN_OPEN), so the right to read is enough. The
observer answers in its sign of life (alive.py) with `through` and `flows`, moments by two clocks: the kernel's nanoseconds since boot
and microseconds since 1970. Each event before `through` has its row in the log, or is counted in a row of `loss`; each flow of datagrams
and attempt to connect that began before `flows` has a row.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from firsthand.history import place
from firsthand.history.log import alive, growth
from firsthand.host import boottime

#: Seconds within which the observer answers, but for one that waits for a disk, for the dissector, or to know whether numbers were lost.
WITHIN = 3.0
#: Seconds between two looks at the observer's answer, at first and at most; and after which it is asked once more.
LOOK, SLOWEST, AGAIN = 0.001, 0.02, 0.25
_OPENED = 0x20  # IN_OPEN (uapi/linux/inotify.h)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def path(directory: Path) -> Path:
    """The file that readers open."""
    return directory / place.LOG / "asked"


class Bell:
    """The observer's side. `fileno` is readable after a reader asked; it is -1 if the kernel gives no watch."""

    def __init__(self, directory: Path) -> None:
        with contextlib.suppress(OSError):  # a disk that is full or read-only has the file from before, or none
            os.close(os.open(path(directory), os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o640))
            place.give(path(directory))
        self._descriptor = growth.watched(path(directory), _OPENED)

    def fileno(self) -> int:
        """The descriptor of inotify."""
        return self._descriptor

    def heard(self) -> None:
        """Read all events of inotify: the next reader makes `fileno` readable again."""
        growth.drain(self._descriptor)

    def close(self) -> None:
        """Let go of the watch. May be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


@dataclass(frozen=True)
class Through:
    """Moments before which the record is whole. `record`: every event before it has its row, or is counted in `loss`. `flows`: every flow
    of datagrams and each attempt to connect that began before it has a row: the first row of a flow is written at its end, or after one
    second; that of an attempt when it has an outcome, or when its first segment is sent again. `rows`: those rows have times before it; it is
    later than `record` if they were waited for."""

    record: datetime
    flows: datetime
    rows: datetime


def through(directory: Path, *, flows: bool = False, within: float = WITHIN) -> Through | None:
    """Ask the observer to write everything until now, and return what it reports. If it does not answer within `within` seconds, the moments
    are earlier than this call. `flows`: wait for flows of datagrams and attempts to connect too. None if the history has no heartbeat of an
    observer: a copy, or a history of an earlier version.

    Read the log after this call, not before it.
    """
    now, until = _Now(), time.monotonic() + within
    found = _reported(directory, now, until)
    if found is None or not flows or found.flows >= now.wall:
        return found
    waited, later = _reported(directory, now, until, flows=True), _reported(directory, _Now(), until)
    return waited and later and replace(waited, rows=max(waited.rows, later.record))


class _Now:
    """This moment by two clocks."""

    def __init__(self) -> None:
        self.wall, self.boot = datetime.now(UTC), boottime.now_ns()


def _reported(directory: Path, now: _Now, until: float, *, flows: bool = False) -> Through | None:
    """What the observer reports when its record is whole until `now`, `flows` too; what it reported last at `until`, monotonic seconds."""
    lock, again, pause = directory / place.LOG / "lock", 0.0, LOOK
    while True:
        told = alive.read(lock)
        if told is None and not alive.beside(lock).exists():
            return None
        lives = told is not None and alive.living(told) is not None  # one of a boot before this has another clock
        reached = [lives and _boot(told or {}, name) >= now.boot for name in ("through", "flows")]
        late = time.monotonic() >= until or (told is not None and not _answers(told))
        if all(reached) or (reached[0] and not flows) or late:
            names = zip(reached, ("through", "flows"), strict=True)
            record, begun = (now.wall if there else _wall(told or {}, name) for there, name in names)
            return Through(record, begun, record)
        if time.monotonic() >= again:
            _ask(directory)
            again = time.monotonic() + AGAIN
        time.sleep(pause)
        pause = min(2 * pause, SLOWEST)


def _ask(directory: Path) -> None:
    with contextlib.suppress(OSError):
        os.close(os.open(path(directory), os.O_RDONLY | os.O_CLOEXEC))


def _answers(told: dict[str, Any]) -> bool:
    """Whether the observer that gave this sign can be expected to answer: not to itself."""
    return "through" in told and told.get("pid") != os.getpid() and alive.living(told) not in (None, "T")


def _boot(told: dict[str, Any], name: str) -> int:
    with contextlib.suppress(KeyError, TypeError, ValueError, IndexError, OverflowError):
        return int(told[name][0])
    return -1


def _wall(told: dict[str, Any], name: str) -> datetime:
    with contextlib.suppress(KeyError, TypeError, ValueError, IndexError, OverflowError):
        return _EPOCH + timedelta(microseconds=int(told[name][1]))
    return _EPOCH
