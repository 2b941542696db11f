"""history/log/log.py on a disk that is full or read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from firsthand.errors import HistoryError, UnwritableError
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogReader, LogWriter
from firsthand.history.store.connection import History
from tests import disks, histories, samples


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    with disks.small(tmp_path, "1m") as made:
        yield made


def test_a_full_disk(small: Path) -> None:
    """Law: an append that does not fit fails with what to do, leaves nothing behind, and works once there is room."""
    history = small / "history"
    filler = small / "filler"
    filler.write_bytes(bytes(400_000))
    acknowledged = 0
    with LogWriter(history, "n", "b") as writer:
        with pytest.raises(HistoryError, match=r"disk is full.*free space"):
            for i in range(1000):
                writer.append([samples.process_lives(20, first=i * 20)], [])
                acknowledged += 1
        assert 1 <= acknowledged < 1000
        assert len(list(LogReader(history))) == acknowledged
        filler.unlink()
        writer.append([samples.process_lives(20, first=acknowledged * 20)], [])
    assert len(list(LogReader(history))) == acknowledged + 1


def test_a_keeper_on_a_full_disk(small: Path) -> None:
    """Law: a pass that fails for want of room hands nothing over, and the next one hands over everything."""
    history = small / "history"
    histories.write(history, samples.process_lives(100))
    keeper = Keeper(history, linger=0)
    filler = small / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(4096))
    with pytest.raises(HistoryError, match="free space"):
        keeper.pass_once()
    filler.unlink()
    assert keeper.pass_once() == 300
    keeper.close()
    assert History(history).connection().execute("SELECT count(*) FROM process").fetchall() == [(300,)]


def test_a_read_only_disk(small: Path) -> None:
    """Law: a history on a read-only file system cannot be written, and the message says so; nothing of it stays open, try after try."""
    LogWriter(small / "history", "n", "b").close()
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with pytest.raises(HistoryError, match="read-only") as refused:
            LogWriter(small / "history", "n", "b")
    assert (os.listdir("/proc/self/fd"), refused.type) == (before, UnwritableError)
