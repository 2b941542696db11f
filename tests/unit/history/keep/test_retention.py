"""history/keep/retention.py: forty days in a minute; what is held, what is told to be gone, and nothing between the two."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from msgspec import structs

from firsthand.errors import HistoryError
from firsthand.history import place
from firsthand.history.keep import retention
from firsthand.history.keep.budget import PART
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogWriter
from firsthand.history.store import hold, manifest, segment, share
from firsthand.history.store.connection import History
from firsthand.settings.sections.retention import Limits
from firsthand.wire.batch import Batch, Fixed
from tests import disks, histories, samples

DAY = 86_400_000_000
#: Later than the clock of any machine that runs this, so that files look old and not new.
START = 2_208_988_800_000_000
LIMITS = Limits(days=30, bytes=1 << 40, free=0, protected_days=365)
SETUID = 1


class SteppedClock:
    """The time as the keeper is told it, in seconds."""

    def __init__(self) -> None:
        self.day = 0.0

    def __call__(self) -> float:
        return START / 1e6 + self.day * 86_400


class KeeperLife:
    """A history that is written a day at a time, with what was appended for each namespace."""

    def __init__(self, directory: Path, limits: Limits, many: int = 4) -> None:
        self.directory = directory
        self.clock = SteppedClock()
        self.begun: Counter[str] = Counter()
        self.appended: Counter[str] = Counter()
        self.writer = LogWriter(directory, "n", "b")
        self.keeper = Keeper(directory, linger=0, many=many, limits=limits, now=self.clock)
        self._first = 0

    def add(self, lives: int, namespace: str | None, flags: int = 0) -> None:
        """`lives` of one namespace at the clock's day."""
        batch = samples.process_lives(lives, first=self._first, start=START + int(self.clock.day * DAY))
        self._first += lives
        rows = batch.length
        batch.columns["flags"] = Fixed(np.full(rows, flags, dtype=np.int64))
        for name, word in (("namespace", namespace), ("pod", "web-1"), ("container", samples.container_id(1))):
            batch.columns[name] = samples.constant(word or "", rows)
            if namespace is None:
                batch.columns[name] = samples.coded(np.zeros(rows, np.int64), [""], np.zeros(rows, np.bool_))
        if namespace is None:
            batch.columns.pop("pod_uid")
        self.begun[namespace or share.HOST] += rows
        self.append(batch)
        self.appended[namespace or share.HOST] += rows

    def append(self, batch: Batch) -> None:
        """Any batch, durably."""
        self.writer.append([batch], [])

    def keep(self) -> None:
        """What the keeper does each few seconds."""
        self.keeper.pass_once()
        self.keeper.tidy()

    def days(self, number: int, lives: int = 20, namespace: str = "shop") -> None:
        """Days of a quiet namespace."""
        for _ in range(number):
            self.clock.day += 1
            self.add(lives, namespace)
            self.keep()

    @property
    def bytes(self) -> int:
        """Of all segments."""
        return sum(one.bytes for one in manifest.load(self.directory).segments)

    def ask(self, sql: str) -> list[tuple[object, ...]]:
        """A question to segments and log."""
        with History(self.directory).connection() as connection:
            return connection.execute(sql).fetchall()

    def close(self) -> None:
        """Let go of the history."""
        self.keeper.close()
        self.writer.close()


@pytest.fixture
def life(tmp_path: Path) -> Iterator[KeeperLife]:
    """A history with thirty days of limit and no lack of bytes."""
    made = KeeperLife(tmp_path, LIMITS)
    yield made
    made.close()


HELD = "SELECT coalesce(namespace, '(host)'), count(*), count(DISTINCT (exec_tgid, event)) FROM process GROUP BY ALL"
GONE = (
    "SELECT namespace, sum(events)::BIGINT FROM loss WHERE cause = 'retention' AND table_name = 'process' GROUP BY ALL"
)
DAYS = "SELECT count(DISTINCT time::DATE) FROM process WHERE namespace = '{}' AND (flags & 1) = 0"


def conserved(life: KeeperLife, before: Counter[str], after: Counter[str], found: list[tuple[object, ...]]) -> None:
    """Each row is held once, or told to be gone."""
    held, gone = Counter[str](), Counter[str]()
    for kind, name, rows, different in found:
        (held if kind == "held" else gone)[str(name)] += int(str(rows))
        assert rows == different, f"{name}: {rows} rows, {different} different ones"
    for name in after:
        assert before[name] <= held[name] + gone[name] <= after[name], (name, held[name], gone[name], before[name])


def look(life: KeeperLife, clock: threading.Lock) -> None:
    """One look of a reader. The clock stands meanwhile: a generation stays ten minutes for those who read it."""
    with clock:
        before = Counter(life.appended)
        union = f"SELECT 'held', * FROM ({HELD}) UNION ALL SELECT 'gone', *, sum FROM ({GONE.replace('GROUP', ' GROUP')}) t(n, sum)"
        found = life.ask(union)
    conserved(life, before, Counter(life.begun), found)


@pytest.mark.budget(60, "forty days, and readers beside them")
def test_forty_days_with_a_flood(tmp_path: Path) -> None:
    """Law: budgets hold at each step; a flood shortens its own history; no reader ever sees a row twice, or misses one that is
    not told to be gone."""
    limits = structs.replace(LIMITS, bytes=2_500_000)
    life = KeeperLife(tmp_path, limits)
    lock, stop, failures = threading.Lock(), threading.Event(), list[BaseException]()
    looks = 0

    def read() -> None:
        nonlocal looks
        while not stop.is_set():
            try:
                look(life, lock)
                looks += 1
            except BaseException as error:  # told by the test's own thread
                failures.append(error)
                return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for day in range(1, 42):
            with lock:
                life.clock.day = day
            _a_day(life, flood=day > 25)
            assert life.bytes <= limits.bytes and not failures, (day, life.bytes, failures)
    finally:
        stop.set()
        reader.join()
    assert looks >= 3 and not failures
    held = {name: int(str(life.ask(DAYS.format(name))[0][0])) for name in ("shop", "jobs", "noisy")}
    assert held["shop"] >= 30 and held["jobs"] >= 30 and 1 <= held["noisy"] < 16, held
    assert life.ask("SELECT count(*) FROM process WHERE flags = 1") == [(41 * 3,)]
    assert life.ask("SELECT count(*) FROM loss WHERE cause = 'sequence_gap'") == [(41,)]
    life.close()


def _a_day(life: KeeperLife, *, flood: bool) -> None:
    """Four times: rows of two namespaces and the host; once a day a set-uid program and a loss."""
    life.add(1, "shop", SETUID)
    life.append(samples.loss(at=START + int(life.clock.day * DAY)))
    for _ in range(2):
        for namespace in ("shop", "jobs", None):
            life.add(10, namespace)
        if flood:
            life.add(4_000, "noisy")
        life.clock.day += retention.EVERY / 86_400
        life.keep()


def test_age_lets_go_and_says_so(life: KeeperLife) -> None:
    """Law: bulk rows go after their days and protected ones stay, from merged segments too; what went is told once, with its ends;
    no file of an earlier generation is touched."""
    life.days(1)
    life.add(2, "shop", SETUID)
    life.days(8)
    before = {path: path.read_bytes() for path in (life.directory / "generations").rglob("*.parquet")}
    life.clock.day = 34.5
    life.keep()
    assert all(path.read_bytes() == text for path, text in before.items() if path.exists())
    assert life.ask(DAYS.format("shop")) == [(5,)]
    assert life.ask("SELECT count(*) FROM process WHERE flags = 1") == [(6,)]
    told = life.ask("SELECT node, namespace, table_name, detail, events, since, until, time FROM loss")
    assert [row[:5] for row in told] == [("n", "shop", "process", "older than 30 days", 240)]
    ends = f"SELECT make_timestamp({START + DAY}), make_timestamp({START + 34 * DAY + DAY // 2})"
    ((first, now),) = life.ask(ends)
    assert (told[0][5], told[0][7]) == (first, now)
    life.keep()
    assert len(life.ask("FROM loss")) == 1


def test_holds_are_respected(life: KeeperLife) -> None:
    """Law: what a hold names is left, row by row, as long as it is there; then it goes."""
    life.add(20, "shop")
    life.add(20, "jobs")
    life.keep()
    middle = START + 30 * samples.STEP
    one = hold.add(life.directory, "case 7", START, until=middle, namespace="shop", pod="web-1")
    life.clock.day = 40
    life.keep()
    assert life.ask("SELECT namespace, count(*), max(epoch_us(time)) FROM process GROUP BY ALL") == [
        ("shop", 31, middle)
    ]
    assert life.ask(GONE + " ORDER BY 1") == [("jobs", 60), ("shop", 29)]
    generation = manifest.load(life.directory).generation
    life.clock.day += 1
    life.keep()
    assert manifest.load(life.directory).generation == generation
    hold.remove(life.directory, one.id)
    life.clock.day += 1
    life.keep()
    assert life.ask("SELECT count(*) FROM process") == [(0,)]
    assert life.ask(GONE + " ORDER BY 1") == [("jobs", 60), ("shop", 60)]


def test_holds_that_cannot_be_read_stop_it(life: KeeperLife) -> None:
    """Law: then nothing goes, the keeper says why, and it goes on keeping."""
    life.add(20, "shop")
    life.keep()
    (life.directory / hold.FILE).write_text("{")
    life.clock.day = 40
    life.add(20, "shop")
    with pytest.raises(HistoryError, match="lets nothing go"):
        life.keep()
    assert life.ask("SELECT count(*) FROM process") == [(120,)]
    (life.directory / hold.FILE).unlink()
    life.keep()
    assert life.ask("SELECT count(*) FROM process") == [(60,)]


def test_nothing_goes_while_holds_are_changed(life: KeeperLife) -> None:
    """Law: the keeper neither waits for who changes the holds nor acts meanwhile; it does when they are done."""
    life.add(20, "shop")
    life.keep()
    life.clock.day = 40
    with hold.locked(life.directory):
        life.keep()
        assert life.ask("SELECT count(*) FROM process") == [(60,)]
    life.keep()
    assert life.ask("SELECT count(*) FROM process") == [(0,)]


@pytest.mark.parametrize(
    ("where", "name"),
    [(segment, "write_one"), (manifest.Manifest, "retire"), (manifest.Manifest, "merge"), (place, "point_current")],
)
def test_an_act_that_died(life: KeeperLife, monkeypatch: pytest.MonkeyPatch, where: object, name: str) -> None:
    """Law: an act that dies before its commit let nothing go, one after it everything, and the next keeper goes on from either."""
    life.add(20, "shop")
    life.add(2, "shop", SETUID)
    life.keep()
    life.keeper.close()
    life.clock.day = 40
    keeper = Keeper(life.directory, linger=0, limits=LIMITS, now=life.clock)
    keeper.tidy()
    keeper.close()
    life.clock.day = 41  # forty days that no keeper saw are not believed for one

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        keeper = Keeper(life.directory, linger=0, limits=LIMITS, now=life.clock)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(where, name, fail)
            keeper.tidy()
            raise KeyboardInterrupt  # the second time there may be nothing left to do
        keeper.close()
        held, gone = (
            life.ask(sql)[0] for sql in ("SELECT count(*) FROM process", f"SELECT sum(sum) FROM ({GONE}) t(n, sum)")
        )
        assert (held[0], gone[0]) == ((6, 60) if name == "point_current" else (66, None))
    life.keeper = Keeper(life.directory, linger=0, limits=LIMITS, now=life.clock)
    life.keep()
    assert life.ask("SELECT count(*) FROM process") == [(6,)] and life.ask(GONE) == [("shop", 60)]
    shown = life.directory / place.CURRENT
    assert {str(path.relative_to(shown)) for path in shown.glob("*/*/*")} == {
        one.path for one in manifest.load(life.directory).segments
    }


def test_the_keeper_goes_on_where_an_act_failed_after_its_commit(
    life: KeeperLife, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: the keeper writes into the generation that is in force, whatever failed behind a commit."""
    life.add(20, "shop")
    life.keep()
    life.clock.day = 40

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(HistoryError, match="free space"):
        patch.setattr(place, "point_current", fail)
        life.keep()
    life.add(7, "shop")
    life.keep()
    assert life.ask("SELECT count(*) FROM process") == [(21,)]


def test_names_and_the_record_go_last(life: KeeperLife) -> None:
    """Law: rows of `observer` and `pod` go with the last rows of their day, all at once, and files go that hold nothing else."""
    life.append(samples.observed(START, START + 60_000_000))
    pod = {"time": START, "node": "n", "event": "named", "pod": "web-1", "namespace": "shop"}
    life.append(Batch.from_rows("pod", [pod]))
    life.add(2, "shop", SETUID)
    life.keep()
    life.clock.day = 200
    life.keep()
    assert life.ask("SELECT (SELECT count(*) FROM observer), (SELECT count(*) FROM pod)") == [(8, 1)]
    life.clock.day = 400
    life.keep()
    counts = "SELECT (SELECT count(*) FROM observer), (SELECT count(*) FROM pod), (SELECT count(*) FROM process)"
    assert life.ask(counts) == [(0, 0, 0)]
    assert {one.table for one in manifest.load(life.directory).segments} == {"loss"}


def test_an_act_is_bounded(life: KeeperLife, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: one act writes no more than MOST segments again; the next looks go on until all is done."""
    monkeypatch.setattr(retention, "MOST", 1)
    life.clock.day = 1
    for _ in range(6):
        life.add(5, "shop")
        life.add(1, "shop", SETUID)
        life.keeper.pass_once()
    life.clock.day = 40
    life.keeper.look_after()
    assert life.ask("SELECT count(*) FILTER (flags = 0) FROM process") == [(15 * (6 - retention.ACTS),)]
    life.keeper.look_after()
    assert life.ask("SELECT count(*) FILTER (flags = 0), count(*) FILTER (flags = 1) FROM process") == [(0, 18)]


def test_segments_from_before_there_were_shares(life: KeeperLife) -> None:
    """Law: a segment whose footer tells no shares is counted from its rows."""
    life.add(20, "shop")
    life.add(2, "shop", SETUID)
    life.keep()
    for one in manifest.load(life.directory).segments:
        path = life.directory / "current" / one.path
        pq.write_table(pq.read_table(path, partitioning=None).replace_schema_metadata(None), path)
        sha = hashlib.sha256(path.read_bytes()).hexdigest()
        life.keeper.manifest._put([replace(one, bytes=path.stat().st_size, sha256=sha, written=None)])
    life.clock.day = 40
    life.keep()
    assert life.ask("SELECT count(*) FROM process") == [(6,)] and life.ask(GONE) == [("shop", 60)]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 MiB, of which a log file takes 16 at most."""
    with disks.small(tmp_path, "96m") as made:
        yield made


@pytest.mark.parametrize("place_of", ["values", "foot"])
def test_what_is_damaged_is_set_aside_and_not_written_again(life: KeeperLife, place_of: str) -> None:
    """Law: a damaged segment neither gets a hash that holds, as what stays of it is written again, nor holds retention up: all its rows
    are told as lost."""
    life.add(20, "shop")
    life.add(20, "shop", SETUID)
    life.keep()
    (one,) = (one for one in manifest.load(life.directory).segments if one.table == "process")
    path = (life.directory / place.CURRENT).resolve() / one.path
    data = bytearray(path.read_bytes())
    data[100 if place_of == "values" else -8] ^= 1
    path.write_bytes(data)
    life.days(33)
    told = life.ask("SELECT table_name, events FROM loss WHERE cause = 'segment_damaged'")
    assert told == [("process", one.rows)]
    held = life.ask(f"SELECT count(*) FROM process WHERE time <= make_timestamp({one.time_max})")
    assert held == [(0,)]
    assert life.ask("SELECT count(*) > 0 FROM loss WHERE cause = 'retention'") == [(True,)], "retention is held up"


def test_a_disk_that_others_fill(small: Path) -> None:
    """Law: where the file system lacks room the budget is less, what leaves counts as left, and a quarter of it stays."""
    limits = structs.replace(LIMITS, bytes=4_000_000, free=4 << 20)
    with contextlib.closing(KeeperLife(small / "history", limits, many=1000)) as life:
        life.days(20, 2_000)
        held = life.bytes
        (small / "others").write_bytes(bytes(_free(small) - limits.free + 100_000))
        life.clock.day += 1
        life.keep()
        now = life.bytes
        assert held - 600_000 < now < held - 50_000
        life.clock.day += retention.EVERY / 86_400
        life.keep()
        assert life.bytes == now  # what went is on the disk until its readers' time is over
        with (small / "others").open("ab") as file:
            file.write(bytes(_free(small) - (1 << 20)))
        life.clock.day += 1
        life.keep()
        assert 0.5 * limits.bytes / PART < life.bytes <= limits.bytes / PART


def _free(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def test_the_keeper_obeys_the_settings(tmp_path: Path) -> None:
    """Law: the process takes its limits from the settings file, and refuses a wrong one with its key."""
    histories.write(tmp_path, samples.process_lives(10))
    histories.keep(tmp_path, linger=0, last=False)
    assert _keep(tmp_path, "[retention]\ndays = 0\n").wait(20) == 2
    process = _keep(tmp_path, "[retention]\ndays = 1\nprotected_days = 100000\n")
    while not manifest.load(tmp_path).generation > 1:
        assert process.poll() is None
    process.communicate(timeout=20)
    assert process.returncode == 0
    with History(tmp_path).connection() as connection:
        left = connection.execute("SELECT count(*), bool_and(flags & 1 = 1) FROM process").fetchall()
    assert left == [(2, True)]


def _keep(history: Path, text: str) -> subprocess.Popen[bytes]:
    settings = history / "config.toml"
    settings.write_text(text)
    command = [sys.executable, "-m", "firsthand.roles.keeper", "--history", str(history), "--every", "0.01"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=os.environ | {"FIRSTHAND_CONFIG": str(settings)})
