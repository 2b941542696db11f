"""The reader of a run: none until somebody asks, then another answerer of the same, and none after it."""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from firsthand.history.store.connection import History
from firsthand.reader import asker, place
from firsthand.reader.look import look
from tests import require
from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel import roles
from tests.kernel.observed import Observed

_COUNT = "SELECT count(*) FROM process WHERE event = 'exec'"
_MOST = 120.0


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that soon ends when nobody asks, and askers who wait until it has begun."""
    require.bpf()
    configured(tmp_path, monkeypatch, "[reader]\nidle_seconds = 2\n")
    monkeypatch.setattr(asker, "GREETS", _MOST)


def _reader(observed: Observed) -> int | None:
    return roles.pids(observed.process.pid).get("reader")


def _ended(pid: int) -> bool:
    descriptor = os.pidfd_open(pid)
    try:
        return bool(select.select([descriptor], [], [], _MOST)[0])
    finally:
        os.close(descriptor)


def test_a_run_has_a_reader_while_somebody_asks(cgroup: TestCgroup, tmp_path: Path) -> None:
    """Started by a question, again by one after its death, ended after the last; what is recorded is answered at once."""
    history = tmp_path / "history"
    with Observed(history, [cgroup.path], "--reader") as observed:
        socket = place.own(history)
        assert stat.S_IMODE(socket.stat().st_mode) == 0o660
        assert _reader(observed) is None
        assert _status(history) == "rests"
        cgroup.run(["/bin/true"]).wait()
        observed.wait("SELECT event FROM process WHERE event = 'exec'", 1)
        assert asker.sql(history, _COUNT, "json").rows == [(1,)]
        first = _reader(observed)
        assert first is not None
        told = look(history)
        assert told and (told["state"], told["pid"]) == ("answers", first)
        os.kill(first, signal.SIGKILL)
        assert asker.sql(history, _COUNT, "json").rows == [(1,)]
        second = _reader(observed)
        assert second is not None and second != first
        with History(history).sql(_COUNT) as result:
            assert list(result.rows()) == [(1,)]
        assert _ended(second)
        assert _status(history) == "rests"
    assert not socket.exists()
    assert "the reader was killed by SIGKILL; started again now" in "".join(observed.errors)


def _status(history: Path) -> object:
    """The state of the reader, which nobody starts by asking for it."""
    command = [sys.executable, "-m", "firsthand", "status", "--json", "--history", str(history)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: object = (json.loads(done.stdout)["reader"] or {}).get("state")
    return found
