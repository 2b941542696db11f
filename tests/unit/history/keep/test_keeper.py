"""history/keep/keeper.py: from the log to segments, nothing lost or doubled, whatever dies and when."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from firsthand.errors import HistoryError
from firsthand.history.keep import keeper as keeping
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogWriter, Position, RingSpan, files, path_of
from firsthand.history.store import manifest, segment
from firsthand.history.store.connection import History
from firsthand.history.store.holders import holders
from firsthand.host.ending import RESTS
from tests import histories, profile, samples

ROOT = Path(__file__).parents[4]
WRITER = """
import sys
from pathlib import Path
from firsthand.history.log.log import LogWriter, RingSpan
from tests import samples
number = int(sys.argv[2])
with LogWriter(Path(sys.argv[1]), "n", "b") as writer:
    print("open", flush=True)
    while True:
        writer.append([samples.process_lives(5, first=number * 5), samples.loss()], [RingSpan(0, 1, number, number + 1)])
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
        histories.write(tmp_path, samples.process_lives(100, first=first), samples.loss(), node="node 1/x")
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
        histories.write(tmp_path, samples.process_lives(1, first=first))
    histories.keep(tmp_path, last=False)
    assert files(tmp_path) == [1, 2]


def test_each_day_has_its_folder(tmp_path: Path) -> None:
    """Law: rows go to the partition of their own UTC day, to the microsecond."""
    midnight = samples.START - samples.START % 86_400_000_000 + 86_400_000_000
    histories.write(tmp_path, samples.process_lives(1, start=midnight - samples.STEP))
    histories.keep(tmp_path, last=False)
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
    histories.keep(tmp_path, last=False)
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
    command = [sys.executable, "-m", "firsthand.roles.keeper", "--history", str(tmp_path), "--every", "10"]
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


@pytest.mark.counts_losses
def test_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path) -> None:
    """Law: with writer and keeper killed at random moments, each acknowledged chunk's rows are there exactly once."""
    chance = random.Random(20_260_301)
    acknowledged = -1
    for _ in profile.some(range(20), ci=6, quick=2):
        acknowledged = one_round(tmp_path, acknowledged + 1, chance)
        found = numbers(tmp_path)
        assert found[: acknowledged + 1] == list(range(acknowledged + 1))
        assert len(found) in (acknowledged + 1, acknowledged + 2), "at most the one chunk that was being acknowledged"
        acknowledged = found[-1]
    histories.keep(tmp_path, linger=0, last=False)
    assert len(files(tmp_path)) == 1
    assert alone(tmp_path, "SELECT count(*), count(DISTINCT (exec_tgid, event)) FROM {process}") == [
        (15 * (acknowledged + 1),) * 2
    ]


def one_round(directory: Path, first: int, chance: random.Random) -> int:
    """A writer and a keeper at work, then SIGKILL for both; the last chunk's number that the writer acknowledged."""
    settings = directory / "config.toml"
    settings.write_text("[retention]\ndays = 100000\n")  # the rows are of one day for ever
    environment = os.environ | {"PYTHONPATH": str(ROOT), "FIRSTHAND_CONFIG": str(settings)}
    keep = [sys.executable, "-m", "firsthand.roles.keeper", "--history", str(directory), "--every", "0.01"]
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
    assert RingSpan(0, 1, 2, 3).end == 3


def test_what_waits_is_counted_by_bytes(tmp_path: Path) -> None:
    """Every byte of the log that no segment has, over files and across a keeper's restart; none after a pass."""
    with LogWriter(tmp_path, "node", "boot") as writer, closing(Keeper(tmp_path)) as keeper:
        assert keeper.waiting == 0
        writer.append([samples.process_lives(300)], [])
        writer.append([samples.process_lives(300)], [])
        assert keeper.waiting == writer.held > 0
        keeper.pass_once()
        assert keeper.waiting == 0
        before = writer.held
        writer.append([samples.process_lives(300)], [])
        assert keeper.waiting == writer.held - before
    with LogWriter(tmp_path, "node", "boot") as writer, closing(Keeper(tmp_path)) as keeper:
        writer.append([samples.process_lives(300)], [])
        assert keeper.waiting == writer.held - before


def test_a_pass_comes_with_enough_bytes_or_with_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Little waits for the last of LOOKS looks, much goes with the next one: small segments cost more than they hold."""
    reading, writing = os.pipe()
    told = iter([0, 0, keeping.ENOUGH, *[0] * (keeping.LOOKS - 1)])
    looks = 0
    passes: list[int] = []

    def looked(_: Keeper) -> int:
        nonlocal looks
        looks += 1
        return next(told)

    def passed(_: Keeper, *, last: bool = False) -> int:
        passes.append(looks)
        if len(passes) == 2:
            os.write(writing, b".")
        return 0

    monkeypatch.setattr(Keeper, "waiting", property(looked))
    monkeypatch.setattr(Keeper, "pass_once", passed)
    with closing(Keeper(tmp_path)) as keeper:
        keeping.run(keeper, 0.0, [reading])
    assert passes[:2] == [3, 3 + keeping.LOOKS - 1]


def test_it_rests_where_little_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After FEW passes that time alone brought, and not before; not where much came meanwhile, nor where segments wait for names, nor
    where nobody starts it again."""
    reading, writing = os.pipe()
    passes: list[int] = []
    monkeypatch.setattr(Keeper, "pass_once", lambda _, last=False: passes.append(1))
    much = iter([*[0] * (keeping.LOOKS * 3), keeping.ENOUGH])
    monkeypatch.setattr(Keeper, "waiting", property(lambda _: next(much, 0)))
    with closing(Keeper(tmp_path)) as keeper:
        assert keeping.run(keeper, 0.0, [reading], rests=True)
        assert len(passes) == 3 + 1 + keeping.FEW
        passes.clear()
        monkeypatch.setattr(Keeper, "settled", property(lambda _: len(passes) > 10))
        assert keeping.run(keeper, 0.0, [reading], rests=True) and len(passes) == 11
        monkeypatch.setattr(Keeper, "look_after", lambda _: os.write(writing, b".") if len(passes) > 20 else None)
        assert not keeping.run(keeper, 0.0, [reading])


def test_a_process_that_rests_says_so_by_its_exit_code(tmp_path: Path) -> None:
    """And hands over what there was; its sign of life says that it has ended."""
    histories.write(tmp_path, samples.loss())
    command = [sys.executable, "-m", "firsthand.roles.keeper", "--history", str(tmp_path), "--every", "0.01"]
    options = ["--grace", "0", "--rests"]
    assert subprocess.run([*command, *options], check=False, stdin=subprocess.DEVNULL).returncode == RESTS
    assert manifest.load(tmp_path).segments and not holders(tmp_path)


def test_what_a_pass_took_is_given_back() -> None:
    """Memory that was used and freed, Arrow's as well as others', is not this process's any more."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    keeping._give_back()
    before = resident()
    held = [pa.array(range(4096)) for _ in range(2000)]
    text = [b"x" * 4096 + bytes(str(number), "ascii") for number in range(8000)]
    taken = resident() - before
    assert taken > 64 << 20
    del held, text
    keeping._give_back()
    assert resident() - before < taken / 4
