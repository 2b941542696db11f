"""A process is judged by what it does, and not by how long it takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from firsthand.run.progress import Progress, _used

_BUSY = "print('.', flush=True)\nwhile True: pass"
_STILL = "import signal\nprint('.', flush=True)\nsignal.pause()"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that end with the test."""
    found: list[subprocess.Popen[str]] = []
    yield found
    for one in found:
        one.kill()
        one.wait()


def _start(found: list[subprocess.Popen[str]], source: str) -> int:
    one = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    found.append(one)
    assert one.stdout is not None and one.stdout.readline()
    return one.pid


def test_what_computes_is_waited_for(started: list[subprocess.Popen[str]]) -> None:
    """Or would, if it had a processor: not even no time at all is too long."""
    progress, pid = Progress(still=0), _start(started, _BUSY)
    for _ in range(1000):
        progress.look([pid])
    assert not progress.stuck


def test_what_does_nothing_is_not(started: list[subprocess.Popen[str]]) -> None:
    """Asleep, stopped, or gone; where it says something it moves."""
    asleep, stopped = _start(started, _STILL), _start(started, _BUSY)
    os.kill(stopped, signal.SIGSTOP)
    os.waitid(os.P_PID, stopped, os.WSTOPPED | os.WNOWAIT)
    for pids in ([asleep], [stopped], [asleep, stopped], []):
        progress = Progress(still=0)
        progress.look(pids)  # what they used before is something, too
        progress.look(pids, heard=True)
        assert not progress.stuck or not pids
        progress.look(pids)
        assert progress.stuck == "nothing has moved for 0 s"


def test_what_goes_round_for_ever_is_not(started: list[subprocess.Popen[str]]) -> None:
    """More processor time than any start needs is no progress; that of a process which has ended counts, what was used before does not."""
    old = _start(started, _BUSY)
    while _used(old) < 0.5:
        pass
    progress = Progress(still=0, most_used=0.3)
    progress.look([old])
    assert not progress.stuck
    for one in (old, _start(started, _BUSY)):
        began = _used(one)
        while _used(one) < began + 0.2:
            progress.look([one])
        started[0].kill()
        started[0].wait()
    assert progress.stuck.startswith("it has used 0 s of processor time")
