"""history/store/rounds.py: what is kept of canaries' rounds says the same as the rows."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from firsthand.ask import proven
from firsthand.ask.answer import Window
from firsthand.history import place
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log import arrow, ipc
from firsthand.history.log.log import LogWriter
from firsthand.history.store import rounds
from firsthand.history.store.connection import History
from firsthand.history.store.manifest import Manifest
from firsthand.history.store.verify import verify
from firsthand.wire.batch import Batch
from tests import samples

_STEP = 10_000_000


def _row(number: int, proof: float | None, event: str = "alive", **more: Any) -> dict[str, Any]:
    """A row at `number` times ten seconds whose observer's last round began at `proof` seconds."""
    told = {"monotonic": number * 10.0, "proven_monotonic": proof, "canary_seconds": 60}
    measures = json.dumps(told if proof is not None else {"monotonic": number * 10.0})
    given = {"ktime": samples.KTIME + number * _STEP * 1000, "recorded": number, "measures": measures}
    return samples.observer(event, samples.START + number * _STEP, **(given | more))


def _day() -> Iterator[dict[str, Any]]:
    """Eight hours of rounds, each minute; but for half an hour in which none came."""
    for number in range(2880):
        minute = number // 6
        yield _row(number, 60.0 * (minute if not 240 < minute < 270 else 240))


def _tuple(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in rounds.COLUMNS)


def test_rounds_in_time_are_one_stretch() -> None:
    """Law: whatever their number and order; a round that came too late begins another stretch."""
    rows = list(_day())
    found = rounds.of_rows(map(_tuple, random.Random(2).sample(rows, len(rows))))
    assert [(one.first, one.last) for one in found] == [(0.0, 240 * 60.0), (270 * 60.0, 479 * 60.0)]
    assert [one.last_began for one in found] == [samples.START + minute * 60_000_000 for minute in (240, 479)]
    assert rounds.decode(rounds.encode(found)) == found


@pytest.mark.parametrize("seed", range(4))
def test_sql_and_parts_say_the_same(seed: int) -> None:
    """Law: by SQL, by Python, or by parts that are joined, for several observers: the same."""
    chance = random.Random(seed)
    rows = []
    for number in range(300):
        proof = chance.choices([None, number // 6 * 60.0, number // 40 * 400.0], [1, 8, 2])[0]
        event = chance.choices(["alive", "ready", "stop", "start", "runtime"], [40, 1, 1, 1, 2])[0]
        rows.append(_row(number, proof, event, node=chance.choice(["n", "m"])))
    expected = rounds.of_rows(map(_tuple, rows))
    parts = [rounds.of_rows(map(_tuple, rows[at : at + 7])) for at in range(0, len(rows), 7)]
    assert rounds.joined(one for part in parts for one in part) == expected
    with duckdb.connect() as connection:
        connection.register(
            "observer", arrow.conform("observer", arrow.read(ipc.to_bytes(Batch.from_rows("observer", rows))))
        )
        assert rounds.of_source(connection, "observer") == expected


def _filled(directory: Path) -> None:
    """The rows in segments, merged and not, and an hour in the log."""
    rows = list(_day())
    keeper = Keeper(directory, linger=0, many=4)
    with LogWriter(directory, samples.NODE, samples.BOOT) as log:
        for hour in range(8):
            log.append([Batch.from_rows("observer", rows[360 * hour : 360 * hour + 360])], [])
            if hour < 7:
                keeper.pass_once(last=True)
            if hour == 4:
                keeper.tidy()
    keeper.close()


def _reasons(directory: Path) -> list[str]:
    begin = datetime.fromtimestamp(samples.START / 1e6, UTC)
    with History(directory).connection() as connection:
        return proven.reasons(connection, Window(begin, begin + timedelta(hours=7)))


def test_segments_are_not_read_for_it(tmp_path: Path) -> None:
    """Law: what canaries proved is read from the manifest and the log alone."""
    _filled(tmp_path)
    (expected,) = _reasons(tmp_path)
    assert "from 2026-03-01T16:00:00.000Z to 2026-03-01T16:30:00.000Z" in expected
    for path in (tmp_path / place.GENERATIONS).rglob("observer/**/*.parquet"):
        path.unlink()
    assert _reasons(tmp_path) == [expected]


def test_a_history_of_before_is_read_by_its_rows(tmp_path: Path) -> None:
    """Law: a segment that was written before there were rounds tells the same by its rows; so does one whose rounds are none."""
    _filled(tmp_path)
    expected = _reasons(tmp_path)
    book = Manifest(tmp_path)
    held = book.snapshot().segments
    for text in (None, "no JSON", "[1]", '[["n"]]', '[["n","b","i","x",0,0,0,0,0,false]]'):
        book._put([replace(one, rounds=text) for one in held])
        assert _reasons(tmp_path) == expected, text
    book.close()


def test_rounds_that_are_not_those_of_the_rows_are_found(tmp_path: Path) -> None:
    """Law: answers are complete by what the manifest says of rounds, so `verify` compares it with the rows."""
    _filled(tmp_path)
    assert verify(tmp_path).whole
    book = Manifest(tmp_path)
    one = next(one for one in book.snapshot().segments if one.table == "observer")
    book._put([replace(one, rounds="[]")])
    book.close()
    assert any("says otherwise than its rows" in line for line in verify(tmp_path).damage)
