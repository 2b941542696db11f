"""Readers wake by the log's growth, and look by the clock only where the kernel gives no watch."""

from __future__ import annotations

import select
import threading
from pathlib import Path

from firsthand.history import place
from firsthand.history.log.follow import LogFollower
from firsthand.history.log.growth import Growth
from firsthand.history.log.log import LogWriter
from tests import samples


def _readable(growth: Growth) -> bool:
    return bool(select.select([growth], [], [], 0)[0])


def test_an_append_is_told_once(tmp_path: Path) -> None:
    """Nothing is readable before the append; it is after it; and after that was seen it is quiet until the next one."""
    with LogWriter(tmp_path, "node", "boot") as writer:
        growth = Growth(tmp_path / place.LOG)
        assert growth.watch() and not _readable(growth)
        for _ in range(2):
            writer.append([samples.loss()], [])
            assert _readable(growth)
            assert growth.wait(60) == []
            assert not _readable(growth)
        growth.close()


def test_a_new_file_is_growth(tmp_path: Path) -> None:
    """The file before it is complete then."""
    LogWriter(tmp_path, "node", "boot").close()
    growth = Growth(tmp_path / place.LOG)
    growth.watch()
    LogWriter(tmp_path, "node", "boot").close()
    assert _readable(growth)
    growth.close()


def test_another_descriptor_ends_the_wait(tmp_path: Path) -> None:
    """What else is readable is returned; the log is not."""
    (tmp_path / place.LOG).mkdir()
    growth, other = Growth(tmp_path / place.LOG), Growth(tmp_path)
    growth.watch()
    other.watch()
    (tmp_path / "file").touch()
    assert growth.wait(60, [other.fileno()]) == [other.fileno()]
    for one in (growth, other):
        one.close()


def test_a_folder_that_is_not_there_is_looked_for(tmp_path: Path) -> None:
    """Without a watch the wait is short, and the first one with it returns at once: something may have come before."""
    growth = Growth(tmp_path / place.LOG)
    assert growth.wait(60) == [] and growth.fileno() < 0
    (tmp_path / place.LOG).mkdir()
    assert growth.wait(60) == [] and growth.fileno() >= 0
    growth.close()


def test_a_follower_wakes_with_the_append(tmp_path: Path) -> None:
    """A poll of ten minutes returns with the row, also where the history does not exist when it begins."""
    found: list[str] = []
    with LogFollower(tmp_path / "history", ("loss",)) as follower:
        thread = threading.Thread(target=lambda: found.extend(name for name, _ in follower.poll(600)))
        thread.start()
        with LogWriter(tmp_path / "history", "node", "boot") as writer:
            writer.append([samples.loss()], [])
            thread.join()
    assert found == ["loss"]
