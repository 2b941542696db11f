"""Runs in the guest: the real loader and observer, while the machine's wall clock is set ahead and back by clock_settime(2).

Prints one line `FIRSTHAND {json}`: what the durable log holds of it afterwards.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from firsthand.history.log.ipc import columns_of
from firsthand.history.log.log import LogReader
from firsthand.observe.options import ObserverOptions, encode
from firsthand.probe import hierarchy
from firsthand.settings import Settings
from firsthand.settings.sections.top import Top

HISTORY = Path("/tmp/history")
#: Words of the programs that are run, and by how much the wall clock is set before each, in seconds.
STEPS = {"before": 0, "ahead": 7200, "back": -10_800}
_TABLES = {
    "process": ("event", "args", "time", "ktime"),
    "clock": ("realtime", "boottime", "ktime"),
    "observer": ("event", "time", "ktime"),
    "loss": ("cause", "events"),
}


def run() -> dict[str, Any]:
    """The whole; the tables' rows."""
    scope = hierarchy.here()[0].mount / "clocked"
    scope.mkdir()
    options = ObserverOptions(
        history=str(HISTORY), scopes=(str(scope),), settings=Settings(Top(instance="clock", canary_seconds=0))
    )
    observer = _observe(options)
    _until(lambda: '"ready"' in Path("/tmp/said").read_text(), observer)
    for word, seconds in STEPS.items():
        time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)
        _until(_sampled, observer)
        _spawn(scope, word)
        _until(lambda: word in _words(_durable()["process"]), observer)  # noqa: B023
    assert observer.stdin is not None
    observer.stdin.write(b"stop\n")
    assert observer.wait() == 0
    return _durable()


def _sampled() -> bool:
    """Whether the newest sample in the log is of the clock as it is set now."""
    now = time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    samples = _durable()["clock"]
    return bool(samples) and abs(samples[-1]["realtime"] - samples[-1]["boottime"] - now) < 1_000_000_000


def _observe(options: ObserverOptions) -> "subprocess.Popen[bytes]":
    """Loader and observer, joined by a socket, as the supervisor starts them."""
    told = encode(options)
    mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with mine, its, open("/tmp/said", "wb") as said:
        command = [sys.executable, "-m", "firsthand.roles.observer", told, str(its.fileno())]
        observer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, pass_fds=[its.fileno()], bufsize=0)
        command = [sys.executable, "-m", "firsthand.roles.loader", told, str(mine.fileno())]
        subprocess.run(command, stdout=said, pass_fds=[mine.fileno()], check=True)
    return observer


def _until(condition: Any, observer: "subprocess.Popen[bytes]") -> None:
    while not condition():
        assert observer.poll() is None, Path("/tmp/said").read_text()
        os.sched_yield()


def _spawn(scope: Path, word: str) -> None:
    child = os.fork()
    if not child:
        (scope / "cgroup.procs").write_text(str(os.getpid()))
        os.execv("/bin/true", ["/bin/true", word])
    os.waitpid(child, 0)


def _durable() -> dict[str, list[dict[str, Any]]]:
    """What is durable now, by table; times in microseconds."""
    found: dict[str, list[dict[str, Any]]] = {table: [] for table in _TABLES}
    for chunk in LogReader(HISTORY):
        for table, stream in chunk.streams():
            if table in _TABLES:
                columns = columns_of(stream, _TABLES[table])
                rows = zip(*columns.values(), strict=True)
                found[table] += [dict(zip(columns, map(_plain, row), strict=True)) for row in rows]
    return found


def _plain(value: Any) -> Any:
    return round(value.timestamp() * 1e6) if hasattr(value, "timestamp") else value


def _words(rows: list[dict[str, Any]]) -> list[str]:
    return [row["args"][1] for row in rows if row["event"] == "exec"]
