"""Signs of life beside locks that no reader gets at."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from firsthand.history import place
from firsthand.history.log import alive
from firsthand.history.log.log import LogWriter
from firsthand.history.store import holders
from firsthand.history.store.hold import LOCK, locked

_HOLDS = """import os, sys
from pathlib import Path
from firsthand.history.log.log import LogWriter
log = LogWriter(Path(sys.argv[1]), "n", "b")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Another process that writes a history's log."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()


def test_a_living_process_is_told_with_its_state(other: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Who writes, and whether it was stopped; nobody once it was killed, though its file is still there."""

    def only() -> holders.Holder:
        (found,) = holders.holders(tmp_path)
        return found

    assert (only().pid, only().role, only().stopped) == (other.pid, "observer", False)
    other.send_signal(signal.SIGSTOP)
    os.waitpid(other.pid, os.WUNTRACED)
    assert only().stopped
    other.kill()
    other.wait()
    assert holders.holders(tmp_path) == [] and alive.read(tmp_path / "log" / "lock") is not None


def test_a_pid_that_another_process_got_is_not_taken_for_it(tmp_path: Path) -> None:
    """The beginning of the process counts beside its pid."""
    lock = tmp_path / "lock"
    alive.Sign(lock, "keeper").give()
    told = alive.read(lock)
    assert told is not None and alive.living(told) in ("R", "S")
    assert alive.living(told | {"started": told["started"] - 1}) is None


def test_where_proc_shows_nothing_the_signs_age_tells(tmp_path: Path) -> None:
    """A reader in another pid namespace: a young sign is life, an old one is not."""
    lock = tmp_path / "lock"
    alive.Sign(lock, "keeper").give()
    told = alive.read(lock)
    assert told is not None
    elsewhere = told | {"pids": "pid:[1]"}
    assert alive.living(elsewhere) == "?"
    assert alive.living(elsewhere | {"beat": told["beat"] - (alive.OVERDUE + 1) * 1e6}) is None


def test_no_lock_can_be_opened_by_a_reader(tmp_path: Path) -> None:
    """flock needs an open file: each lock is its owner's alone, also one that an earlier version made readable; the sign is readable."""
    (tmp_path / "run.lock").touch(mode=0o644)
    (tmp_path / LOCK).touch(mode=0o644)
    os.close(place.lock(tmp_path / "run.lock", "supervisor"))
    with locked(tmp_path), LogWriter(tmp_path, "n", "b"):
        pass
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("run.lock", LOCK, "log/lock")}
    assert modes == {"run.lock": 0o600, LOCK: 0o600, "log/lock": 0o600}
    assert stat.S_IMODE((tmp_path / "log/lock.json").stat().st_mode) & 0o040


def test_a_sign_is_written_over_in_place_once_in_a_while(tmp_path: Path) -> None:
    """One inode, one size, and no write within EVERY seconds."""
    sign = alive.Sign(tmp_path / "lock", "keeper")
    sign.give(dissector=[1, 2])
    first = alive.beside(tmp_path / "lock").stat()
    sign.give()
    assert alive.beside(tmp_path / "lock").stat().st_mtime_ns == first.st_mtime_ns and first.st_size == alive.SIZE
    sign._due = 0.0
    sign.give()
    told = alive.read(tmp_path / "lock")
    assert (
        told is not None and "dissector" not in told and alive.beside(tmp_path / "lock").stat().st_ino == first.st_ino
    )


def test_who_closed_a_log_writes_it_no_more(tmp_path: Path) -> None:
    """Though its process goes on: a torn end of that log is damage, not on its way."""
    with LogWriter(tmp_path, "n", "b"):
        assert [one.role for one in holders.holders(tmp_path)] == ["observer"]
    assert holders.holders(tmp_path) == []
