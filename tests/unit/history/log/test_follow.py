"""history/log/follow.py: rows as they become durable, over everything that happens to the log."""

from __future__ import annotations

from pathlib import Path

from firsthand.history.log.follow import LogFollower
from firsthand.history.log.log import LogWriter, path_of
from tests import histories, samples


def seen(follower: LogFollower) -> list[int]:
    found = follower.poll(0)
    return [tgid for _, rows in found for tgid in dict.fromkeys(rows.column("exec_tgid").to_pylist())]


def test_from_before_the_history_exists(tmp_path: Path) -> None:
    """Law: a follower may be there first, and then sees the first row."""
    with LogFollower(tmp_path / "later", ["process"]) as follower:
        assert follower.poll(0) == []
        with LogWriter(tmp_path / "later", "n", "b") as writer:
            writer.append([samples.process_lives(1), samples.loss()], [])
            assert [(name, rows.num_rows) for name, rows in follower.poll(1)] == [("process", 3)]
            assert follower.poll(0) == []


def test_from_now_and_from_the_beginning(tmp_path: Path) -> None:
    """Law: what was there before is left out from now on, and is there from the beginning."""
    with LogWriter(tmp_path, "n", "b") as writer:
        writer.append([samples.process_lives(1)], [])
        now, beginning = LogFollower(tmp_path), LogFollower(tmp_path, from_now=False)
        writer.append([samples.process_lives(1, first=1)], [])
        assert seen(now) == [1001]
        assert seen(beginning) == [1000, 1001]
    now.close()
    beginning.close()


def test_over_rotation_hand_over_and_deletion(tmp_path: Path) -> None:
    """Law: a follower loses no row when the file it reads is handed over and deleted behind it."""
    writer = LogWriter(tmp_path, "n", "b")
    writer.append([samples.process_lives(1)], [])
    follower = LogFollower(tmp_path, from_now=False)
    assert seen(follower) == [1000]
    writer.append([samples.process_lives(1, first=1)], [])
    writer.close()
    with LogWriter(tmp_path, "n", "b") as writer:
        writer.append([samples.process_lives(1, first=2)], [])
        histories.keep(tmp_path, linger=0, last=False)
        assert not path_of(tmp_path, 1).exists()
        assert seen(follower) == [1001, 1002]
        writer.append([samples.process_lives(1, first=3)], [])
        assert seen(follower) == [1003]
    follower.close()


def test_files_that_went_unread_are_counted(tmp_path: Path) -> None:
    """Law: a follower that lags so far that files are deleted before it comes to them says how many."""
    histories.write(tmp_path, samples.process_lives(1))
    follower = LogFollower(tmp_path, from_now=False)
    assert seen(follower) == [1000]
    for number in range(1, 4):
        histories.write(tmp_path, samples.process_lives(1, first=number))
    histories.keep(tmp_path, linger=0, last=False)
    assert (seen(follower), follower.missed) == ([1003], 2)
    follower.close()


def test_damage_is_collected_and_passed(tmp_path: Path) -> None:
    """Law: a follower goes on behind damage and can say where it was."""
    with LogWriter(tmp_path, "n", "b") as writer:
        for i in range(3):
            at = writer.append([samples.process_lives(1, first=i)], [])
    data = bytearray(path_of(tmp_path, 1).read_bytes())
    data[at.offset // 2] ^= 1
    path_of(tmp_path, 1).write_bytes(data)
    with LogFollower(tmp_path, from_now=False) as follower:
        assert seen(follower) == [1000, 1002]
        assert len(follower.damage) == 1
