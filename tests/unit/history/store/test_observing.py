"""history/store/observing.py: what is kept of `observer` rows says the same as the rows."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from firsthand.history import place
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log import arrow, ipc
from firsthand.history.log.log import LogWriter
from firsthand.history.store import observing
from firsthand.history.store.connection import History
from firsthand.history.store.manifest import Manifest
from firsthand.wire.batch import Batch
from tests import samples

_STEP = 10_000_000


def _row(number: int, event: str = "alive", **more: Any) -> dict[str, Any]:
    given = {"scope": None, "hooks": "{}", "recorded": number, "ktime": samples.KTIME + number * _STEP * 1000}
    return samples.observer(event, samples.START + number * _STEP, **(given | more))


def _tuple(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in observing.COLUMNS)


def test_rows_that_say_the_same_are_one_run() -> None:
    """Law: from the first to the last, whatever their number; another word, another event or a clock set back begins another."""
    rows = [_row(0, "start"), _row(1, "ready"), *(_row(number) for number in range(2, 500))]
    rows += [_row(500, settings='{"names": false}'), _row(501, time=samples.START), _row(502, "stop")]
    found = observing.of_rows(map(_tuple, random.Random(1).sample(rows, len(rows))))
    assert [(run.event, run.recorded) for run in found] == [
        ("start", 0), ("ready", 1), ("alive", 499), ("alive", 500), ("alive", 501), ("stop", 502)
    ]  # fmt: skip
    assert found[2].begin == samples.START + 2 * _STEP and found[2].end == samples.START + 499 * _STEP
    assert observing.decode(observing.encode(found)) == found


@pytest.mark.parametrize("seed", range(8))
def test_sql_says_the_same(seed: int) -> None:
    """Law: runs by SQL, for rows that no run is kept of, are those of the rows, for several observers and any words."""
    chance = random.Random(seed)
    rows = []
    for number in range(300):
        event = chance.choices(["alive", "ready", "stop", "start", "resume", "runtime"], [40, 1, 1, 1, 1, 2])[0]
        more = {"instance": chance.choice(["a", None]), "node": chance.choice(["n", "m"])}
        more |= {"settings": chance.choices(["{}", None, '{"names": false}'], [20, 1, 1])[0]}
        more |= {"time": samples.START + (number if chance.random() < 0.95 else 0) * _STEP}
        rows.append(_row(number, event, **more))
    ((_, table),) = [
        ("observer", arrow.conform("observer", arrow.read(ipc.to_bytes(Batch.from_rows("observer", rows)))))
    ]
    with duckdb.connect() as connection:
        connection.register("observer", table)
        found = observing.of_source(connection, "observer")
        few = observing.of_few(connection, "observer")
    assert observing.ordered(found) == few == observing.of_rows(map(_tuple, rows))


def _filled(directory: Path) -> None:
    """A day of rows in segments, merged and not, and an hour in the log."""
    keeper = Keeper(directory, linger=0, many=4)
    with LogWriter(directory, samples.NODE, samples.BOOT) as log:
        log.append([Batch.from_rows("observer", [_row(0, "start"), _row(1, "ready")])], [])
        for hour in range(7):
            rows = [_row(number) for number in range(2 + 360 * hour, 362 + 360 * hour)]
            log.append([Batch.from_rows("observer", rows)], [])
            if hour < 6:
                keeper.pass_once(last=True)
            if hour == 4:
                keeper.tidy()
    keeper.close()


def test_segments_are_not_read_for_it(tmp_path: Path) -> None:
    """Law: what was observed is read from the manifest and the log alone, a few runs for each segment, however many rows these have."""
    _filled(tmp_path)
    with History(tmp_path).connection() as connection:
        expected = connection.runs()
        rows = observing.of_source(connection, "observer")
    assert len(rows) == 3 and sum(run.event == "alive" for run in expected) <= 4
    for path in (tmp_path / place.GENERATIONS).rglob("observer/**/*.parquet"):
        path.unlink()
    history = History(tmp_path)
    with history.connection() as connection:
        assert connection.runs() == expected
    assert history.damage == []
    alive = [run for run in observing.ordered(expected) if run.event == "alive"]
    assert (alive[0].begin, alive[-1].end) == (samples.START + 2 * _STEP, samples.START + (2 + 360 * 7 - 1) * _STEP)


def test_a_history_of_before_is_read_by_its_rows(tmp_path: Path) -> None:
    """Law: a segment that was written before there were runs tells the same by its rows; so does one whose runs are none."""
    _filled(tmp_path)
    with History(tmp_path).connection() as connection:
        expected = observing.ordered(observing.of_source(connection, "observer"))
    book = Manifest(tmp_path)
    held = book.snapshot().segments
    for runs in (None, "no JSON", "[1]", '[[], [["n"]]]'):
        book._put([replace(one, runs=runs) for one in held])
        with History(tmp_path).connection() as connection:
            assert observing.ordered(connection.runs()) == expected, runs
    book.close()
