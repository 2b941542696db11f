"""run/child.py: a role's process as the supervisor sees it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from firsthand.host.ending import RESTS
from firsthand.run import child as of_children
from firsthand.run.child import Child, Keeping, Lines, OnDemand


class ChildClock:
    """The monotonic clock of the supervisor, set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ChildClock:
    """In the place of the real one."""
    found = ChildClock()
    monkeypatch.setattr(of_children, "time", found)
    return found


def _cat() -> subprocess.Popen[bytes]:
    """A role that goes on until its input ends."""
    return subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)


def _killed(child: Child) -> None:
    child.process.kill()
    child.process.wait()


def test_what_died_is_started_at_once_and_then_ever_later(
    clock: ChildClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """0.1 s, doubled with each death, no more than the bound; after a while of health at once again."""
    child = Child("keeper", _cat, most=0.3)
    waited = []
    for _ in range(5):
        _killed(child)
        began = clock.now
        while not child.watch():
            clock.now += 0.01
        waited.append(clock.now - began)
    assert waited == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.3], abs=0.015)
    clock.now += of_children.WELL + 1
    _killed(child)
    assert child.watch() and not child.dead()
    said = capsys.readouterr().err.splitlines()
    assert said[0] == said[-1] == "firsthand: the keeper was killed by SIGKILL; started again now"
    assert said[1] == "firsthand: the keeper was killed by SIGKILL; started again in 0.1 s" and len(said) == 5
    child.end()


def test_a_living_role_is_left_alone(clock: ChildClock, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is started and nothing said; the end of its input ends it, and its end is waited for."""
    child = Child("keeper", _cat)
    first = child.process
    clock.now += 3600
    assert not child.watch() and child.process is first
    child.end()
    assert first.returncode == 0 and capsys.readouterr().err == ""


def test_a_word_reaches_a_role_and_not_one_that_is_dead() -> None:
    """By its standard input; that nobody reads it there is no error."""
    child = Child("observer", _cat)
    child.end(b"stop\n")
    assert child.process.stdout is not None and child.process.stdout.read(5) == b"stop\n"
    _killed(child)
    child.end(b"stop\n")


def test_an_exit_code_is_said(clock: ChildClock, capsys: pytest.CaptureFixture[str]) -> None:
    """A role that ends by itself."""
    child = Child("follower", partial(subprocess.Popen, ["/bin/sh", "-c", "exit 3"], stdin=subprocess.PIPE))
    child.process.wait()
    assert child.watch()
    assert capsys.readouterr().err == "firsthand: the follower ended by itself (exit code 3); started again now\n"
    child.process.wait()


def test_a_keeper_that_rests_is_no_death(tmp_path: Path, clock: ChildClock, capsys: pytest.CaptureFixture[str]) -> None:
    """It ended because little happens: nothing is said, and it is started again when the logs have grown, or after a while, or for the
    last pass."""
    (tmp_path / "log").mkdir()
    begin = partial(subprocess.Popen, ["/bin/sh", "-c", f"exit {RESTS}"], stdin=subprocess.PIPE)
    keeper = Keeping(tmp_path, begin)

    def ended() -> None:
        keeper.process.wait()
        assert not keeper.watch() and keeper.rests

    ended()
    (tmp_path / "log" / "1.log").write_bytes(bytes(1000))
    assert not keeper.watch()
    os.truncate(tmp_path / "log" / "1.log", of_children.ENOUGH)
    assert keeper.watch()
    ended()
    clock.now += of_children.LONGEST - 1
    assert not keeper.watch()
    clock.now += 1
    assert keeper.watch()
    ended()
    before = keeper.process
    keeper.end()
    assert keeper.process is not before and not capsys.readouterr().err


def test_lines_are_whole_however_they_come() -> None:
    """A line in two writes, two in one: each once, when its end is there."""
    lines = Lines()
    lines.begin()
    writer = lines.writer
    os.write(writer, b'{"event": "rea')
    assert lines.read(0) == []
    os.write(writer, b'dy"}\n{"event": "stopped"}\n{"ev')
    assert [line["event"] for line in lines.read(0)] == ["ready", "stopped"]
    assert lines.read(0) == []
    lines.writer_gone()
    assert lines.read(0) == [] and not lines.waiting


def test_what_a_process_before_left_unread_is_dropped() -> None:
    """Half a line and a whole one of the observer that died are not the next one's."""
    lines = Lines()
    lines.begin()
    os.write(lines.writer, b'{"event": "ready"}\n{"ev')
    assert lines.waiting
    lines.writer_gone()
    lines.begin()
    os.write(lines.writer, b'{"event": "reading"}\n')
    lines.writer_gone()
    assert [line["event"] for line in lines.read(0)] == ["reading"]


def test_one_that_does_not_end_is_killed() -> None:
    """After its patience: a stopped one, or one that hangs; one that has work to finish has no limit."""
    child = Child("dissector", partial(subprocess.Popen, ["/bin/sleep", "1000"], stdin=subprocess.PIPE), patience=0.05)
    child.end()
    assert child.process.returncode == -9


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A socket to which somebody may connect."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.bind("")  # an abstract name that the kernel chooses
        made.listen()
        yield made


def test_a_role_that_nobody_asks_is_not_started(listening: socket.socket) -> None:
    """It is, when somebody connects; while it runs nothing more is waited for."""
    demand = OnDemand(listening, lambda: Child("reader", _cat))
    demand.watch()
    assert demand.wakes == [listening.fileno()] and demand.due == 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.connect(listening.getsockname())
        demand.watch()
        assert demand.wakes == []
        demand.end()
        assert demand.wakes == [listening.fileno()]
    demand.end()


def test_one_that_rests_waits_for_the_next_who_asks(
    listening: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its end is no death; another code is, and then it is started again without anybody asking."""
    codes = iter((RESTS, 1))
    began: list[Child] = []

    def begin() -> Child:
        code = next(codes)
        began.append(
            Child("reader", lambda: subprocess.Popen(["/bin/sh", "-c", f"exit {code}"], stdin=subprocess.PIPE))
        )
        return began[-1]

    demand = OnDemand(listening, begin)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.connect(listening.getsockname())
        demand.watch()
        began[0].process.wait()
        demand.watch()
        assert len(began) == 2 and demand.wakes == [], "somebody still waits: it is started again at once"
        began[1].process.wait()
        demand.watch()
    said = capsys.readouterr().err
    assert said.startswith("firsthand: the reader ended by itself (exit code 1)") and said.count("reader") == 1
    demand.end()


def test_an_end_of_the_lines_is_not_asked_again_at_once() -> None:
    """It is said that they are over, and a wait at their end takes its time: a supervisor would spin."""
    lines = Lines()
    lines.begin()
    lines.writer_gone()
    began = time.monotonic()
    assert lines.read(0.02) == [] and lines.over and time.monotonic() - began >= 0.02
