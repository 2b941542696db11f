"""history/retention.py: forty days in a minute; what is held, what is told to be gone, and nothing between the two."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from firsthand.history import manifest, retention, share
from firsthand.history.connection import History
from firsthand.history.keeper import Keeper
from firsthand.history.log import LogWriter
from firsthand.settings import Limits
from firsthand.wire.batch import Batch, Fixed
from tests import samples

DAY = 86_400_000_000
#: Later than the clock of any machine that runs this, so that files look old and not new.
START = 2_208_988_800_000_000
LIMITS = Limits(days=30, bytes=1 << 40, free=0, protected_days=365)
SETUID = 1


class Clock:
    """The time as the keeper is told it, in seconds."""

    def __init__(self) -> None:
        self.day = 0.0

    def __call__(self) -> float:
        return START / 1e6 + self.day * 86_400


class Life:
    """A history that is written a day at a time, with what was appended for each namespace."""

    def __init__(self, directory: Path, limits: Limits, many: int = 4) -> None:
        self.directory = directory
        self.clock = Clock()
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
def life(tmp_path: Path) -> Iterator[Life]:
    """A history with thirty days of limit and no lack of bytes."""
    made = Life(tmp_path, LIMITS)
    yield made
    made.close()


HELD = "SELECT coalesce(namespace, '(host)'), count(*), count(DISTINCT (exec_tgid, event)) FROM process GROUP BY ALL"
GONE = (
    "SELECT namespace, sum(events)::BIGINT FROM loss WHERE cause = 'retention' AND table_name = 'process' GROUP BY ALL"
)
DAYS = "SELECT count(DISTINCT time::DATE) FROM process WHERE namespace = '{}' AND (flags & 1) = 0"


def conserved(life: Life, before: Counter[str], after: Counter[str], found: list[tuple[object, ...]]) -> None:
    """Each row is held once, or told to be gone."""
    held, gone = Counter[str](), Counter[str]()
    for kind, name, rows, different in found:
        (held if kind == "held" else gone)[str(name)] += int(str(rows))
        assert rows == different, f"{name}: {rows} rows, {different} different ones"
    for name in after:
        assert before[name] <= held[name] + gone[name] <= after[name], (name, held[name], gone[name], before[name])


def look(life: Life, clock: threading.Lock) -> None:
    """One look of a reader. The clock stands meanwhile: a generation stays ten minutes for those who read it."""
    with clock:
        before = Counter(life.appended)
        union = f"SELECT 'held', * FROM ({HELD}) UNION ALL SELECT 'gone', *, sum FROM ({GONE.replace('GROUP', ' GROUP')}) t(n, sum)"
        found = life.ask(union)
    conserved(life, before, Counter(life.begun), found)


def test_forty_days_with_a_flood(tmp_path: Path) -> None:
    """Law: budgets hold at each step; a flood shortens its own history; no reader ever sees a row twice, or misses one that is
    not told to be gone."""
    limits = replace(LIMITS, bytes=2_500_000)
    life = Life(tmp_path, limits)
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


def _a_day(life: Life, *, flood: bool) -> None:
    """Four times: rows of two namespaces and the host; once a day a set-uid program and a loss."""
    life.add(1, "shop", SETUID)
    life.append(samples.loss(at=START + int(life.clock.day * DAY)))
    for _ in range(2):
        for namespace in ("shop", "jobs", None):
            life.add(10, namespace)
        if flood:
            life.add(6_000, "noisy")
        life.clock.day += retention.EVERY / 86_400
        life.keep()
