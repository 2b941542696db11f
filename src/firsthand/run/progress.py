"""Whether processes get on, by the processor time that they have used: a clock on the wall goes on while they wait for a processor.

On a saturated machine a start takes long, and is needed most. So whoever waits for one gives up where nothing moves, or where more was
used than any start needs, and never for the time that passed. Times from /proc/PID/stat (proc(5)).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

#: Seconds in which nothing moves, and seconds of processor time, after which nobody waits any longer.
STILL, MOST_USED = 60.0, 300.0
#: Columns of /proc/PID/stat behind the name: its state, user and system time in ticks.
_STATE, _USER, _SYSTEM = 0, 11, 12
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Progress:
    """Of some processes, since this was made: `look` at them now and then, `stuck` says why they are waited for no longer."""

    still: float = STILL
    most_used: float = MOST_USED
    stuck: str = ""
    _used: dict[int, float] = field(default_factory=dict)
    _began: dict[int, float] = field(default_factory=dict)
    _moved: float = field(default_factory=time.monotonic)

    def look(self, pids: Iterable[int], *, heard: bool = False) -> None:
        """At these processes; `heard`: one of them has said something."""
        moved = heard
        for pid in pids:
            used, before = _used(pid), self._used.get(pid, -1.0)
            moved |= used > before or _waits_for_a_processor(pid)
            self._used[pid] = max(used, before)
            self._began.setdefault(pid, used)  # what one that has run for days used before is not of what is waited for
        now, total = time.monotonic(), sum(self._used.values()) - sum(self._began.values())
        self._moved = now if moved else self._moved
        if now - self._moved > self.still:
            self.stuck = f"nothing has moved for {self.still:g} s"
        elif total > self.most_used:
            self.stuck = f"it has used {total:.0f} s of processor time"


def _used(pid: int) -> float:
    """Seconds of processor time of a process with all its threads; 0 where it has ended."""
    words = _stat(Path(f"/proc/{pid}/stat"))
    return (int(words[_USER]) + int(words[_SYSTEM])) / _TICKS if words else 0.0


def _waits_for_a_processor(pid: int) -> bool:
    """Whether a thread could go on, if it had one."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return False
    return any(words[_STATE] == "R" for task in tasks if (words := _stat(task / "stat")))


def _stat(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
