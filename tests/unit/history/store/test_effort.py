"""What a large question does beside answering: a folder that goes with it, and a line on a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pytest

from firsthand.history.store.connection import History
from firsthand.history.store.effort import Effort, Spill
from tests import histories, samples

#: More than 24 MB of numbers that must be together to be sorted.
LARGE = "SELECT sum(place + n) FROM (SELECT n, row_number() OVER (ORDER BY h, n) AS place FROM (SELECT range AS n, hash(range) AS h FROM range({})))"


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small history, and a folder for what is spilled."""
    (tmp_path / "spill").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "spill"))
    histories.write(tmp_path / "history", samples.process_lives(10))
    return tmp_path / "history"


def test_what_does_not_fit_is_spilled_and_gone_afterwards(history: Path) -> None:
    """Law: a statement that needs more than the memory is answered; its folder is the caller's alone, and goes with the connection."""
    spill = history.parent / "spill"
    with History(history, memory="24MB", threads=1).connection() as connection:
        (folder,) = spill.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        query = LARGE.format(4_000_000)
        assert connection.execute(query).fetchone() == (4_000_000**2,)
    assert not list(spill.iterdir())


def test_without_room_there_is_memory_alone(history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: where no folder can be made, questions are answered in memory, and a large one fails with what to do."""
    monkeypatch.setenv("TMPDIR", str(history / "none"))
    with History(history, memory="24MB", threads=1).connection() as connection:
        assert connection.execute("SELECT count(*) FROM process").fetchone() == (30,)
        with pytest.raises(duckdb.OutOfMemoryException):
            connection.execute(LARGE.format(4_000_000)).fetchone()


def test_what_a_killed_command_left_goes(tmp_path: Path) -> None:
    """Law: the folder of a process that is no more is removed by the next command; that of one that runs stays."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left, lives = tmp_path / f"firsthand-spill-{gone.pid}-x", tmp_path / f"firsthand-spill-{os.getppid()}-x"
    for folder in (left, lives):
        folder.mkdir()
        (folder / "block").write_bytes(b"x")
    spill = Spill(tmp_path)
    assert not left.exists() and lives.exists()
    spill.remove()
    assert list(tmp_path.iterdir()) == [lives]


def test_a_terminal_is_told_how_far_it_is(history: Path) -> None:
    """Law: on a terminal a line says what goes on and is gone afterwards; elsewhere nothing is written."""
    master, slave = os.openpty()
    with (
        os.fdopen(slave, "w") as out,
        Effort(out) as effort,
        History(history, effort=effort).connection() as connection,
    ):
        connection.execute("SELECT count(*) FROM process").fetchall()
        while not os.read(master, 1000).startswith(b"\rfirsthand: "):  # after a second
            pass
    assert os.read(master, 1000).endswith(b"\r\x1b[K")
    os.close(master)


def test_ctrl_c_ends_a_statement(history: Path) -> None:
    """Law: a statement that runs is stopped by Ctrl-C, as everything else in Python is."""
    ended = threading.Event()
    with History(history, threads=1).connection() as connection:

        def interrupt() -> None:
            while connection.duckdb.query_progress() <= 0:  # type: ignore[attr-defined]
                ended.wait(0.01)
            os.kill(os.getpid(), signal.SIGINT)

        other = threading.Thread(target=interrupt)
        other.start()
        with pytest.raises(KeyboardInterrupt):
            connection.execute("SELECT count(*) FROM range(100_000_000_000)").fetchone()
        other.join()
