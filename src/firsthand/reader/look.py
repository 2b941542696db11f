"""The state of a history's reader. A look does not start a reader that rests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from firsthand.history.log import alive
from firsthand.reader import asker, place

#: Sockets of this network namespace, by path (proc_net(5)).
_SOCKETS = Path("/proc/net/unix")


def look(directory: Path) -> dict[str, Any] | None:
    """`socket`, `state`, `pid` and `why`; None where there is no socket for this history.

    States: `rests` (the next question starts it), `answers`, `stopped` (SIGSTOP), `silent` (it does not answer in time, or is of another
    version or history: `why`).
    """
    for path in place.sockets(directory):
        if _listens(path):
            return _state(path, directory)
    return None


def _listens(path: Path) -> bool:
    """Whether a process has the socket open."""
    try:
        return any(line.split()[-1] == str(path) for line in _SOCKETS.read_text().splitlines())
    except OSError:
        return path.is_socket()


def _state(path: Path, directory: Path) -> dict[str, Any]:
    told = alive.read(path)
    living = None if told is None else alive.living(told)
    found = {"socket": str(path), "state": "rests", "pid": None, "why": None}
    if told is None or living is None:
        return found
    found |= {"pid": told.get("pid"), "state": "stopped" if living == "T" else "answers"}
    if living != "T":
        try:
            asker.probe(path, directory)
        except asker.NoReader as none:
            found |= {"state": "silent", "why": str(none)}
    return found
