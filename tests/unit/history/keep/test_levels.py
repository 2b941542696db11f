"""history/keep/levels.py: how often a row is written, and how many files there are, at any rate."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest

from firsthand.history.keep import levels
from firsthand.history.keep.levels import FULL, MOST, Merge
from firsthand.history.store.manifest import Segment

DAY = 86_400
#: The day on which the life of a history begins, and what it records of each row: most is of two tables, little of five others.
TODAY = "2026-03-01"
TABLES = {"process": 0.6, "connection": 0.3, "name": 0.07, "file": 0.02, "request": 0.01}
#: Rows a second whatever happens.
STEADY = {"observer": 0.1, "clock": 1 / 60}
#: Bytes that a row takes in the log; the keeper's passes come with so many that wait.
LOGGED, ENOUGH = 600, 4 << 20


def segment(rows: int, at: int, table: str = "process", date: str = TODAY, unnamed: int = 0) -> Segment:
    """One of so many rows, the `at`th of the log."""
    return Segment(
        f"{table}/date={date}/n-{at:016d}-0.parquet",
        table,
        date,
        "n",
        rows,
        0,
        0,
        0,
        at,
        0,
        at + 1,
        0,
        "",
        unnamed=unnamed,
    )


def pause(rate: float) -> int:
    """Seconds between two passes: looks are each 5 s, and after six a pass comes anyway."""
    return next((looks * 5 for looks in range(1, 6) if looks * 5 * rate * LOGGED >= ENOUGH), 30)


@dataclass
class Day:
    """A table's day in a history, as the keeper and the planner make it. `late`: names come after each first writing."""

    table: str
    rate: float
    late: bool = False
    held: list[Segment] = field(default_factory=list)
    came: float = 0
    written: int = 0
    most: int = 0

    def live(self, every: int) -> None:
        """From the first pass to the close."""
        for moment in range(every, DAY + every, every):
            rows = int(self.rate * moment) - int(self.came)
            self.came += rows
            if rows:
                self.held.append(segment(rows, moment, self.table))
                again = self.late and rows < levels.HEAVY
                self.written += rows * (1 + again)
            self._merge(TODAY)
            self.most = max(self.most, len(self.held))
        self._merge("2026-03-02")

    def _merge(self, today: str) -> None:
        while found := levels.due(self.held, today):
            self._apply(found[0])

    def _apply(self, merge: Merge) -> None:
        gone = {one.path for one in merge.parts}
        first = merge.parts[0]
        rows = sum(one.rows for one in merge.parts)
        assert len(merge.parts) <= MOST and rows < 2 * FULL
        self.held = [one for one in self.held if one.path not in gone]
        self.held.append(segment(rows, first.from_file, self.table))
        self.written += rows


RATES = [1, 10, 100, 1_000, 5_000, 20_000]


@pytest.mark.parametrize("late", [False, True], ids=["named", "late names"])
@pytest.mark.parametrize("rate", RATES)
def test_a_row_is_written_six_times_at_most(rate: int, late: bool) -> None:
    """Law: at any rate, in each table, rows are written no more than six times as often as they come, first writing and late names included;
    a closed day has one segment of a table and one for each FULL rows; 30 days have about 7 segments a day and those."""
    rates = {table: part * rate for table, part in TABLES.items()} | STEADY
    days = {table: Day(table, each, late) for table, each in rates.items()}
    for one in days.values():
        one.live(pause(rate))
    for one in days.values():
        assert one.came > 0
        assert sum(segment.rows for segment in one.held) == one.came, "no row is lost or doubled"
        assert one.written / one.came <= 6, one.table
        assert len(one.held) <= 1 + one.came / FULL, one.table
        assert one.most <= 3 * levels.FAN + MOST + one.came / FULL, "while the day is open"
    full = sum(one.came for one in days.values()) / FULL
    assert 30 * sum(len(one.held) for one in days.values()) <= 30 * (len(days) + full)
    if rate <= 10:
        assert 30 * sum(len(one.held) for one in days.values()) == 210
    _print(rate, late, days)


def _print(rate: int, late: bool, days: dict[str, Day]) -> None:
    each = [one.written / one.came for one in days.values()]
    total = sum(one.written for one in days.values()) / sum(one.came for one in days.values())
    held, most = 30 * sum(len(one.held) for one in days.values()), sum(one.most for one in days.values())
    print(
        f"\n{rate:>6} rows/s{', late names' if late else ''}: written {total:.2f} times, {max(each):.2f} in one table;",
        end=" ",
    )
    print(f"{held:,} segments of 30 days, {most} of an open day at most")


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 255, 4_095, 16_383, 16_384, 200_000, FULL - 1])
def test_no_size_stays(rows: int) -> None:
    """Law: segments of any size below FULL are merged when enough of them are there, at the latest when the day closes."""
    assert levels.due([segment(rows, at) for at in range(MOST)], TODAY)
    (close,) = levels.due([segment(rows, at) for at in range(2)], "2026-03-02")
    assert close.closes or rows == FULL - 1
    assert not levels.due([segment(FULL, 1), segment(rows, 2)], "2026-03-02")


def test_a_day_is_closed_once() -> None:
    """Law: what comes to a closed day later waits for the next one's close, or for enough of its level."""
    held = [segment(100_000, 1), segment(20, 2)]
    (close,) = levels.due(held, "2026-03-02")
    assert not levels.due(held, "2026-03-02", {close.group})
    assert levels.due([*held, *(segment(20, 3 + at) for at in range(15))], "2026-03-02", {close.group})


def test_what_is_urgent_comes_first() -> None:
    """Law: merges by which readers open fewer files of today come before closed days, of these the oldest first."""
    old = [segment(9, at, date=date) for date in ("2026-02-02", "2026-02-01") for at in range(2)]
    found = levels.due([*old, *(segment(9, at) for at in range(16))], TODAY)
    assert [(one.urgent, one.group[1]) for one in found] == [
        (True, TODAY),
        (False, "2026-02-01"),
        (False, "2026-02-02"),
    ]


def test_many_files_of_a_closed_day() -> None:
    """Law: an old history's day of any number of small files becomes one in few merges, and no row is written more than twice."""
    day = Day("process", 0)
    day.held = [segment(300 + at, at) for at in range(500)]
    before, counts = sum(one.rows for one in day.held), Counter[str]()
    while found := levels.due(day.held, "2026-03-02"):
        counts[found[0].group[0]] += 1
        day._apply(found[0])
    assert len(day.held) == 1 and day.held[0].rows == before
    assert day.written <= 2.2 * before, counts
