"""Signs of life: each process of ours that writes a history says in a file beside its lock who it is and when it last got on.

Locks are their holders' alone, for what may be read may be locked (flock(2) asks for no more). The file beside one, its name with
`.json` behind it, is the readers': a JSON object, padded with blanks to SIZE bytes and written over in place.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

#: Seconds between two signs, and after which one is overdue; bytes of a file.
EVERY, OVERDUE = 5.0, 60.0
#: Seconds for which a dissector may leave the observer without an answer; after them names and requests are not proven.
UNANSWERED = 30.0
SIZE = 512


def beside(lock: Path) -> Path:
    """The file beside a lock."""
    return lock.with_name(f"{lock.name}.json")


class Sign:
    """This process's sign of life, beside `lock`. Call `give` wherever its work gets on; it writes once in EVERY seconds."""

    def __init__(self, lock: Path, role: str) -> None:
        self._path = beside(lock)
        self._told = {"pid": os.getpid(), "role": role, "since": time.time_ns() // 1000, **_process()}
        self._due = 0.0

    def give(self, **more: Any) -> None:
        """It got on. `more`: what else is to be known of it. A full or read-only disk keeps the last sign."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + EVERY
        told = json.dumps(self._told | {"beat": time.time_ns() // 1000} | more).ljust(SIZE - 1) + "\n"
        with contextlib.suppress(OSError):
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                os.write(file, told.encode())
            finally:
                os.close(file)

    def due(self) -> None:
        """What is to be known has changed: the next `give` writes."""
        self._due = 0.0

    def end(self) -> None:
        """It writes this history no more, though its process may go on."""
        self._due = 0.0
        self.give(ended=True)


def _process() -> dict[str, Any]:
    """What makes a pid unique: its pid namespace and when it began, in ticks since the boot (proc_pid_stat(5), field 22)."""
    with contextlib.suppress(OSError):
        return {"started": state(os.getpid())[1], "pids": str(Path("/proc/self/ns/pid").readlink())}
    return {}


def state(pid: int) -> tuple[str, int]:
    """A process's state (R, S, T: stopped, Z: a zombie ...) and when it began. OSError where /proc does not show it."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return words[0], int(words[19])


def read(lock: Path) -> dict[str, Any] | None:
    """What stands beside a lock; None where nothing does that can be read."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(beside(lock).read_text())
        return found if isinstance(found, dict) else None
    return None


def living(told: dict[str, Any]) -> str | None:
    """The state of the process that gave a sign; None where it has ended. Where /proc shows nothing of it to this reader (another
    pid namespace, hidepid) the sign's age tells: "?" for a young one."""
    if told.get("ended"):
        return None
    if told.get("pids") == _process().get("pids") and os.access("/proc/1/stat", os.R_OK):
        with contextlib.suppress(OSError):
            now, began = state(int(told["pid"]))
            return now if began == told.get("started") and now not in "ZX" else None
        return None
    return "?" if age(told) < OVERDUE else None


def age(told: dict[str, Any]) -> float:
    """Seconds since a sign was given."""
    return max(0.0, time.time() - float(told.get("beat", 0)) / 1e6)
