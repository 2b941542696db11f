"""A wall clock that is set while the keeper keeps: nothing waits for it, and nothing goes for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogWriter, files
from firsthand.history.store import manifest
from firsthand.history.store.connection import History
from firsthand.settings.sections.retention import Limit, Limits
from tests import histories, samples

_DAY = 86_400.0
#: The keeper's limits: ten days, whatever the bytes.
LIMITS = Limits(days=10, bytes=1 << 40, free=0, protected_days=20, namespaces={"shop": Limit(days=5)})


class Clocks:
    """The wall clock and the time that passes, in seconds; the first can be set."""

    def __init__(self) -> None:
        self.wall = samples.START / 1e6
        self.passed = 1000.0

    def go(self, seconds: float) -> None:
        """Time passes."""
        self.wall += seconds
        self.passed += seconds


class KeptDays:
    """A history of one chunk in segments, and its keeper by these clocks."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.clocks = directory, Clocks()
        histories.write(directory, samples.process_lives(20))
        self.keeper = self.begin()
        self.keep()

    def begin(self) -> Keeper:
        """A keeper that begins now."""
        return Keeper(
            self.directory,
            linger=0,
            limits=LIMITS,
            now=lambda: self.clocks.wall,
            elapsed=lambda: self.clocks.passed,
        )

    def again(self) -> None:
        """The keeper dies and is started again."""
        self.keeper.close()
        self.keeper = self.begin()

    def keep(self) -> int:
        """A minute later, what the keeper does each few seconds; the rows that are held then."""
        self.clocks.go(61)
        self.keeper.pass_once()
        self.keeper.tidy()
        return self.rows()

    def rows(self) -> int:
        """Rows of processes."""
        with History(self.directory).connection() as connection:
            return int(connection.execute("SELECT count(*) FROM process").fetchall()[0][0])


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[KeptDays]:
    made = KeptDays(tmp_path)
    yield made
    made.keeper.close()


def test_a_clock_set_ahead_lets_nothing_go(kept: KeptDays, capsys: pytest.CaptureFixture[str]) -> None:
    """Years ahead for a moment, as a wrong time server does: every row is there when it is set right, and it is said once."""
    kept.clocks.wall += 1000 * _DAY
    for _ in range(3):
        assert kept.keep() == 60
        kept.clocks.go(3600)
    assert capsys.readouterr().err.count("the wall clock went on by 86,400,000 s") == 1
    kept.clocks.wall -= 1000 * _DAY
    assert kept.keep() == 60


def test_a_keeper_that_is_started_meanwhile_knows(kept: KeptDays) -> None:
    """What it saw outlives it: a restart does not make a wrong clock right."""
    kept.clocks.wall += 1000 * _DAY
    assert kept.keep() == 60
    for _ in range(2):
        kept.again()
        kept.clocks.go(7200)
        assert kept.keep() == 60


def test_a_time_that_nobody_saw_is_waited_for(kept: KeptDays) -> None:
    """A machine that was off: a day later rows go for their age."""
    kept.clocks.go(30 * _DAY)
    kept.again()
    assert kept.keep() == 60
    kept.clocks.go(0.9 * _DAY)
    assert kept.keep() == 60
    kept.clocks.go(0.2 * _DAY)
    assert kept.keep() < 60


def test_a_clock_that_stays_ahead_is_believed_after_a_day(kept: KeptDays) -> None:
    """Then it is the clock's time that counts: nothing is held for ever."""
    kept.clocks.wall += 30 * _DAY
    assert kept.keep() == 60
    kept.clocks.go(1.1 * _DAY)
    assert kept.keep() < 60


def test_days_that_pass_are_seen(kept: KeptDays) -> None:
    """Without a step nothing waits."""
    held = []
    for _ in range(22):
        kept.clocks.go(_DAY)
        held.append(kept.keep())
    assert held[3] == 60 > held[6] > held[11] > held[-1] == 0


@pytest.mark.parametrize("grace", [0.0, 4.0])
def test_a_clock_set_back_holds_up_no_hand_over(tmp_path: Path, grace: float) -> None:
    """Rows that were written "later" than now are handed over, their log goes, and so do rows written after the step."""
    histories.write(tmp_path, samples.process_lives(10))
    month_ago = time.time() - 30 * _DAY
    keeper = Keeper(tmp_path, grace=grace, now=lambda: month_ago)
    assert keeper.pass_once() == 30
    histories.write(tmp_path, samples.process_lives(10, first=10))
    assert keeper.pass_once() == 30
    assert keeper.pass_once() == 0
    keeper.close()
    assert len(files(tmp_path)) <= 2
    assert {one.table for one in manifest.load(tmp_path).segments} == {"process"}


def test_generations_go_after_a_clock_was_set_back(tmp_path: Path) -> None:
    """A mark of the future counts from now on: no generation stays for as long as the step was."""
    with LogWriter(tmp_path, "n", "b") as writer:
        keeper = Keeper(tmp_path, linger=0, many=2)
        for number in range(2):
            writer.append([samples.process_lives(5, first=5 * number)], [])
            keeper.pass_once()
    keeper.tidy()
    keeper.close()
    assert (tmp_path / "generations/1").exists()
    now = time.time() - 30 * _DAY
    keeper = Keeper(tmp_path, linger=0, now=lambda: now)
    keeper.tidy()
    now += 601
    keeper.tidy()
    keeper.close()
    assert not (tmp_path / "generations/1").exists()
