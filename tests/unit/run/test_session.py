"""The supervisor of `firsthand run`."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import pytest

from firsthand.observe.options import ObserverOptions
from firsthand.run import session
from firsthand.run.child import Child
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
