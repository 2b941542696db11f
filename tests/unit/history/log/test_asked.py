"""A question about this moment, and what the observer's side makes of it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from firsthand.history.log import alive, asked
from firsthand.history.log.alive import Sign
from firsthand.history.log.asked import Bell
from firsthand.host import boottime

NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """With the folder of its log."""
    (tmp_path / "log").mkdir()
    return tmp_path


def _moment() -> list[int]:
    return [boottime.now_ns(), time.time_ns() // 1000]


def _sign(history: Path, pid: int = 0) -> Sign:
    """Of another process that lives: this one's parent where none is named."""
    sign, pid = Sign(history / "log/lock", "observer"), pid or os.getppid()
    sign._told |= {"pid": pid, "started": alive.state(pid)[1]}
    return sign


class _Answering:
    """As the observer: for each one that asks it says that the record is whole until then, `late` nanoseconds ago."""

    def __init__(self, history: Path, late: int = 0, flows_late: int = 0) -> None:
        self.bell, self.sign, self.late, self.heard = Bell(history), _sign(history), (late, flows_late or late), 0
        self.sign.give(through=[0, 0], flows=[0, 0])
        self._end, self._ends = os.pipe()
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    def _answer(self) -> None:
        while self._end not in select.select([self.bell, self._end], [], [])[0]:
            self.bell.heard()
            self.heard += 1
            self.sign.due()
            boot, wall = _moment()
            told = [[boot - late, wall - late // 1000] for late in self.late]
            self.sign.give(through=told[0], flows=told[1])

    def __enter__(self) -> _Answering:
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._ends, b".")
        self._thread.join()
        self.bell.close()


def test_one_who_asks_hears_of_the_moment_of_asking(history: Path) -> None:
    """Not of one before it, each time anew."""
    with _Answering(history) as observer:
        for flows in (False, True, False):
            before = datetime.now(UTC)
            found = asked.through(history, flows=flows)
            assert found is not None and before <= found.record == found.flows <= datetime.now(UTC)
        assert observer.heard >= 3


def test_flows_are_waited_for_where_they_matter(history: Path) -> None:
    """They have their rows later than all else."""
    with _Answering(history, flows_late=10**9):
        before = datetime.now(UTC)
        found = asked.through(history, within=60)
        assert found is not None and before <= found.record
        assert timedelta(seconds=0.9) < found.record - found.flows < timedelta(seconds=1.5)
        found = asked.through(history, flows=True, within=0.3)
        assert found is not None and found.flows < found.record
        found = asked.through(history, flows=True, within=60)
        assert found is not None and found.flows == found.record < found.rows - timedelta(seconds=0.9)


def test_an_answer_that_reaches_less_far_is_an_earlier_moment(history: Path) -> None:
    """It was asked, and says that numbers are still awaited: what it said last counts."""
    with _Answering(history, late=10**9) as observer:
        before = datetime.now(UTC)
        found = asked.through(history, within=0.5)
        assert found is not None and timedelta(seconds=0.4) < before - found.record < timedelta(seconds=1.1)
        assert observer.heard >= 2, "it was asked once more"


def test_one_that_cannot_answer_is_not_waited_for(history: Path) -> None:
    """A process that is stopped, and one that has ended: the last moment that they said, at once."""
    child = subprocess.Popen(["/bin/sleep", "600"])
    try:
        sign = _sign(history, child.pid)
        boot, wall = _moment()
        sign.give(through=[boot, wall])
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        began = time.monotonic()
        stopped = asked.through(history, within=60)
        child.kill()
        child.wait()
        ended = asked.through(history, within=60)
        assert time.monotonic() - began < 30
        assert stopped is not None and stopped.record == datetime.fromtimestamp(wall / 1e6, UTC)
        assert stopped == ended and stopped.flows == NEVER
    finally:
        child.kill()
        child.wait()


def test_a_sign_that_says_nothing_of_it_proves_nothing(history: Path) -> None:
    """An observer of an earlier version, or one that has only begun."""
    _sign(history).give()
    assert asked.through(history, within=60) == asked.Through(NEVER, NEVER, NEVER)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"through": "x"}', '{"through": [1]}', '{"through": [1e400, null]}'])
def test_a_sign_that_cannot_be_read_proves_nothing(history: Path, text: str) -> None:
    """It may be half written: it is read again, and at the end nothing is proven."""
    (history / "log/lock.json").write_text(text)
    assert asked.through(history, within=0.05) == asked.Through(NEVER, NEVER, NEVER)


def test_without_a_sign_nothing_is_known(history: Path) -> None:
    """A copy of a history, a bundle."""
    assert asked.through(history, within=60) is None
    assert not (history / "log/asked").exists(), "a reader makes nothing"


def test_the_bell_rings_for_each_that_opens_it(history: Path) -> None:
    """A reader has the right to read alone."""
    bell = Bell(history)
    assert (history / "log/asked").stat().st_mode & 0o777 == 0o640
    assert not select.select([bell], [], [], 0)[0]
    for _ in range(1000):
        asked._ask(history)
    assert select.select([bell], [], [], 0)[0]
    bell.heard()
    assert not select.select([bell], [], [], 0)[0]
    bell.close()
    bell.close()


def test_the_clock_of_a_boot_before_proves_nothing(history: Path) -> None:
    """It counted further than this boot's has come; its observer has ended."""
    sign = _sign(history)
    sign._told |= {"started": 1}
    _, wall = _moment()
    sign.give(through=[1 << 62, wall], flows=[1 << 62, wall])
    found = asked.through(history, within=60)
    assert found is not None and found.record == found.flows == datetime.fromtimestamp(wall / 1e6, UTC)
