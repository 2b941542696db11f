"""The supervisor of `firsthand run`."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from firsthand.host.ending import RESTS
from firsthand.observe.options import ObserverOptions
from firsthand.run import child as of_children
from firsthand.run import session
from firsthand.run.child import Child, Keeping, Lines
from firsthand.run.progress import Progress

#: What the other roles need, or what shows lines.
_HEAVY = ("numpy", "pyarrow", "duckdb", "grpc", "rich")


def test_it_begins_without_what_only_others_need() -> None:
    """`firsthand run --quiet` imports no library of columns, queries or screens: they cost half a second of each start."""
    told = f"import sys, firsthand.cli.run, firsthand.run.session; print(*({set(_HEAVY)} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout.split() == []


def _waiting(observer: str, monkeypatch: pytest.MonkeyPatch, **limits: float) -> str:
    """What `wait_ready` says of an observer that does this, told the pipe's descriptor; with other limits than its own."""
    monkeypatch.setattr(session, "Progress", partial(Progress, **limits))
    monkeypatch.setattr(session, "LOOK", 0.0)
    made = session.Session(session.Plan(ObserverOptions(history="/nowhere")))
    made._lines.begin()
    command = [sys.executable, "-c", observer, str(made._lines.writer)]
    begin = partial(subprocess.Popen, command, stdin=subprocess.PIPE, pass_fds=[made._lines.writer], bufsize=0)
    child = Child("observer", begin)
    made._children["observer"] = child
    made._lines.writer_gone()
    try:
        return made.wait_ready()
    finally:
        child.process.kill()
        child.process.wait()


_READY = '{"event": "ready", "recorded": 0, "lost": 0, "missing": {}, "notes": []}'
_SLOW = f"""import os, sys, time
while time.process_time() < 1.0: pass
os.write(int(sys.argv[1]), b'{_READY}\\n')
while True: pass"""


def test_an_observer_that_gets_on_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However short the time in which nothing may move: it does."""
    assert _waiting(_SLOW, monkeypatch, still=0.5) == ""


def test_one_that_does_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reason; and so is one that ends."""
    assert _waiting("import signal; signal.pause()", monkeypatch, still=0.5) == "nothing has moved for 0.5 s"
    assert _waiting("while True: pass", monkeypatch, most_used=0.5).startswith("it has used ")
    assert _waiting("pass", monkeypatch) == "the observer ended"


class SessionClock:
    """The monotonic clock of a session, set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SessionClock:
    """In the place of the real one."""
    found = SessionClock()
    monkeypatch.setattr(of_children, "time", found)
    return found


def _cat() -> subprocess.Popen[bytes]:
    """A role that goes on until its input ends."""
    return subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)


def _killed(child: Child) -> None:
    child.process.kill()
    child.process.wait()


def test_what_died_is_started_at_once_and_then_ever_later(
    clock: SessionClock, capsys: pytest.CaptureFixture[str]
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


def test_a_living_role_is_left_alone(clock: SessionClock, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_an_exit_code_is_said(clock: SessionClock, capsys: pytest.CaptureFixture[str]) -> None:
    """A role that ends by itself."""
    child = Child("follower", partial(subprocess.Popen, ["/bin/sh", "-c", "exit 3"], stdin=subprocess.PIPE))
    child.process.wait()
    assert child.watch()
    assert capsys.readouterr().err == "firsthand: the follower ended by itself (exit code 3); started again now\n"
    child.process.wait()


def test_a_keeper_that_rests_is_no_death(
    tmp_path: Path, clock: SessionClock, capsys: pytest.CaptureFixture[str]
) -> None:
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
