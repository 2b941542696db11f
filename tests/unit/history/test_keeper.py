"""history/keeper.py: from the log to segments, nothing lost or doubled, whatever dies and when."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from firsthand.errors import HistoryError
from firsthand.history import manifest, segment
from firsthand.history.connection import History
from firsthand.history.keeper import Keeper
from firsthand.history.log import LogWriter, Position, Span, files, path_of
from tests import samples

ROOT = Path(__file__).parents[3]
WRITER = """
import sys
from pathlib import Path
from firsthand.history.log import LogWriter, Span
from tests import samples
number = int(sys.argv[2])
with LogWriter(Path(sys.argv[1]), "n", "b") as writer:
    print("open", flush=True)
    while True:
        writer.append([samples.process_lives(5, first=number * 5), samples.loss()], [Span(0, 1, number, number + 1)])
        print(number, flush=True)
        number += 1
"""


def alone(directory: Path, sql: str) -> list[tuple[object, ...]]:
    """A question to DuckDB alone, over the Parquet files."""
    read = f"read_parquet('{directory}/current/process/**/*.parquet', union_by_name = true)"
    return duckdb.connect().execute(sql.format(process=read)).fetchall()


def test_rows_become_segments_and_the_log_goes(tmp_path: Path) -> None:
    """Law: after a pass the rows are in segments of their table and day, and logs that are wholly there are deleted."""
    for first in (0, 100):
        with LogWriter(tmp_path, "node 1/x", "b") as writer:
            writer.append([samples.process_lives(100, first=first), samples.loss()], [])
    keeper = Keeper(tmp_path, linger=0)
    assert keeper.pass_once() == 602
    assert keeper.pass_once() == 0
    keeper.close()
    found = manifest.load(tmp_path)
    assert {(s.table, s.date, s.rows) for s in found.segments} == {
        ("process", "2026-03-01", 600),
        ("loss", "2026-03-01", 2),
    }
    for one in found.segments:
        path = tmp_path / "current" / one.path
        assert path.stat().st_size == one.bytes
        assert pq.read_metadata(path).num_rows == one.rows
        assert path.name == "node_1_x-0000000000000000-0.parquet"
    assert files(tmp_path) == [2]
    assert found.handed_over == Position(2, path_of(tmp_path, 2).stat().st_size)


def test_log_files_linger_for_followers(tmp_path: Path) -> None:
    """Law: a log file that was handed over stays a while, so that a follower that lags can still open it."""
    for first in (0, 1):
        with LogWriter(tmp_path, "n", "b") as writer:
            writer.append([samples.process_lives(1, first=first)], [])
    keeper = Keeper(tmp_path)
    keeper.pass_once()
    keeper.close()
    assert files(tmp_path) == [1, 2]


def test_each_day_has_its_folder(tmp_path: Path) -> None:
    """Law: rows go to the partition of their own UTC day, to the microsecond."""
    midnight = samples.START - samples.START % 86_400_000_000 + 86_400_000_000
    with LogWriter(tmp_path, "n", "b") as writer:
        writer.append([samples.process_lives(1, start=midnight - samples.STEP)], [])
    keeper = Keeper(tmp_path)
    keeper.pass_once()
    keeper.close()
    assert {s.date: (s.rows, s.time_min) for s in manifest.load(tmp_path).segments} == {
        "2026-03-01": (1, midnight - samples.STEP),
        "2026-03-02": (2, midnight),
    }


def test_groups_are_bounded(tmp_path: Path) -> None:
    """Law: a pass over much log writes several segments, each within its limit of rows."""
    with LogWriter(tmp_path, "n", "b") as writer:
        for i in range(10):
            writer.append([samples.process_lives(10, first=i * 10)], [])
    keeper = Keeper(tmp_path, max_rows=100)
    assert keeper.pass_once() == 300
    keeper.close()
    assert sorted(s.rows for s in manifest.load(tmp_path).segments) == [30, 90, 90, 90]


def test_a_pass_that_died_before_its_commit_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: segments written without the manifest's commit are replaced by the redo, never doubled."""

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    writer = LogWriter(tmp_path, "n", "b")
    writer.append([samples.process_lives(10)], [])
    keeper = Keeper(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(keeper.manifest, "hand_over", fail)
        keeper.pass_once()
    keeper.close()
    assert alone(tmp_path, "SELECT count(*) FROM {process}") == [(30,)]
    writer.append([samples.process_lives(10, first=10)], [])
    keeper = Keeper(tmp_path)
    keeper.pass_once()
    keeper.close()
    assert alone(tmp_path, "SELECT count(*), count(DISTINCT exec_tgid) FROM {process}") == [(60, 20)]
    assert History(tmp_path).connection().execute("SELECT count(*) FROM process").fetchall() == [(60,)]


def test_damage_becomes_a_loss_row_and_is_kept(tmp_path: Path) -> None:
    """Law: a chunk that fails its checksum is a row of `loss`; the file is set aside; all others are handed over."""
    with LogWriter(tmp_path, "n", "b") as writer:
        at = writer.append([samples.process_lives(10)], [])
        for i in (1, 2):
            writer.append([samples.process_lives(10, first=i * 10)], [])
    data = bytearray(path_of(tmp_path, 1).read_bytes())
    data[at.offset + 500] ^= 1
    path_of(tmp_path, 1).write_bytes(data)
    keeper = Keeper(tmp_path)
    assert keeper.pass_once() == 61
    keeper.close()
    connection = History(tmp_path).connection()
    assert connection.execute("SELECT cause, events FROM loss").fetchall() == [("log_damaged", None)]
    assert connection.execute("SELECT count(*) FROM process").fetchall() == [(60,)]
    assert (tmp_path / "damaged" / "0000000000000001.log").read_bytes() == bytes(data)


def test_a_second_keeper_is_refused(tmp_path: Path) -> None:
    """Law: a history has one keeper."""
    keeper = Keeper(tmp_path)
    with pytest.raises(HistoryError, match="another keeper"):
        Keeper(tmp_path)
    keeper.close()


@pytest.mark.parametrize("how", ["pipe", "signal"])
def test_the_process_hands_everything_over_before_it_ends(tmp_path: Path, how: str) -> None:
    """Law: SIGTERM, or the end of its parent's pipe, ends the keeper with 0 after a pass over all that is durable."""
    command = [sys.executable, "-m", "firsthand.history.keeper", "--history", str(tmp_path), "--every", "10"]
    with LogWriter(tmp_path, "n", "b") as writer:
        keeper = subprocess.Popen(command, stdin=subprocess.PIPE)
        wait_for(lambda: (tmp_path / "current").is_symlink(), keeper)
        writer.append([samples.process_lives(10)], [])
    if how == "signal":
        keeper.send_signal(signal.SIGTERM)
        assert keeper.wait(20) == 0
    keeper.communicate(timeout=20)
    assert keeper.returncode == 0
    assert alone(tmp_path, "SELECT count(*) FROM {process}") == [(30,)]


def wait_for(condition: object, process: subprocess.Popen[bytes]) -> None:
    assert callable(condition)
    while not condition():
        assert process.poll() is None


def test_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path) -> None:
    """Law: with writer and keeper killed at random moments, each acknowledged chunk's rows are there exactly once."""
    chance = random.Random(20_260_301)
    acknowledged = -1
    for _ in range(20):
        acknowledged = one_round(tmp_path, acknowledged + 1, chance)
        found = numbers(tmp_path)
        assert found[: acknowledged + 1] == list(range(acknowledged + 1))
        assert len(found) in (acknowledged + 1, acknowledged + 2), "at most the one chunk that was being acknowledged"
        acknowledged = found[-1]
    keeper = Keeper(tmp_path, linger=0)
    keeper.pass_once()
    keeper.close()
    assert len(files(tmp_path)) == 1
    assert alone(tmp_path, "SELECT count(*), count(DISTINCT (exec_tgid, event)) FROM {process}") == [
        (15 * (acknowledged + 1),) * 2
    ]


def one_round(directory: Path, first: int, chance: random.Random) -> int:
    """A writer and a keeper at work, then SIGKILL for both; the last chunk's number that the writer acknowledged."""
    settings = directory / "config.toml"
    settings.write_text("[retention]\ndays = 100000\n")  # the rows are of one day for ever
    environment = os.environ | {"PYTHONPATH": str(ROOT), "FIRSTHAND_CONFIG": str(settings)}
    keep = [sys.executable, "-m", "firsthand.history.keeper", "--history", str(directory), "--every", "0.01"]
    keeper = subprocess.Popen([*keep, "--linger", "0"], env=environment)
    write = [sys.executable, "-c", WRITER, str(directory), str(first)]
    writer = subprocess.Popen(write, stdout=subprocess.PIPE, text=True, env=environment)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "open\n"
    for _ in range(chance.randrange(1, 40)):
        assert writer.stdout.readline()
    killed = [writer, keeper]
    chance.shuffle(killed)
    for process in killed:
        process.kill()
    for process in killed:
        process.wait()
    rest = writer.stdout.read().splitlines(keepends=True)
    writer.stdout.close()
    done = [int(line) for line in rest if line.endswith("\n")]
    return done[-1] if done else last_known(directory)


def last_known(directory: Path) -> int:
    return numbers(directory)[-1]


def numbers(directory: Path) -> list[int]:
    """The numbers of the chunks whose rows are all in the history, each row once."""
    sql = """SELECT (exec_tgid - 1000) // 5 AS number, count(*), count(DISTINCT (exec_tgid, event)) FROM process
             GROUP BY number ORDER BY number"""
    rows = History(directory).connection().execute(sql).fetchall()
    assert {counts for _, *counts in [(r[0], r[1], r[2]) for r in rows] for counts in [tuple(counts)]} <= {(15, 15)}
    return [row[0] for row in rows]


def test_segment_names_are_the_position_s(tmp_path: Path) -> None:
    """Law: a segment's name follows from node and log position alone, whatever the node is called."""
    assert segment.name_of("a b/../c", Position(3, 77)) == "a_b_.._c-0000000000000003-77.parquet"
    assert segment.name_of("", Position(3, 77)) == "_-0000000000000003-77.parquet"
    assert Span(0, 1, 2, 3).end == 3
