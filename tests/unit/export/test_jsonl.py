"""export/jsonl.py: rows as lines that every reader of JSON takes exactly."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthand.export import jsonl

_MOMENT = datetime(2026, 5, 1, 12, 0, 0, 5)


def _lines(table: pa.Table) -> list[dict[str, Any]]:
    lines = [line.decode() for line in jsonl.lines("process", table)]
    assert all(line.endswith("\n") and line.count("\n") == 1 for line in lines)
    return [json.loads(line) for line in lines]


def test_nulls_are_left_out_and_the_table_stands_first() -> None:
    """A column that no row fills is in none."""
    rows = pa.table({"a": [1, None], "b": pa.nulls(2, pa.string()), "c": ["x", ""]})
    assert _lines(rows) == [{"table": "process", "a": 1, "c": "x"}, {"table": "process", "c": ""}]
    assert next(jsonl.lines("process", rows)).startswith(b'{"table":"process"')
    assert _lines(rows.slice(0, 0)) == []


def test_times_are_utc_with_microseconds() -> None:
    """Of both kinds of moments: a column's, and one that a record of our own has, in any zone."""
    rows = pa.table({"time": pa.array([_MOMENT, None], pa.timestamp("us"))})
    assert _lines(rows)[0]["time"] == "2026-05-01T12:00:00.000005Z"
    aware = _MOMENT.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=2)))
    told = json.loads(jsonl.line({"event": "gap", "time": aware, "since": _MOMENT, "n": 1 << 60}))
    assert told["time"] == told["since"] and told["time"].startswith("2026-05-01T12:00:00.000005")
    assert told["n"] == str(1 << 60)


@given(numbers=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8))
def test_a_number_is_exact_or_a_text(numbers: list[int | None]) -> None:
    """Beyond 2^53 it is text; no reader loses a digit."""
    found = _lines(pa.table({"n": pa.array(numbers, pa.int64())}))
    for number, row in zip(numbers, found, strict=True):
        if number is None:
            assert "n" not in row
        else:
            assert row["n"] == (number if abs(number) <= 1 << 53 else str(number))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [(b"plain", "plain"), (b"a\\b", "a\\\\b"), (b"\xff\n", "\\xff\n"), ("grün".encode(), "grün"), (b"", "")],
)
def test_bytes_are_text_that_can_be_turned_back(raw: bytes, shown: str) -> None:
    """What is no UTF-8 as its number; a backslash is doubled."""
    assert _lines(pa.table({"args_bytes": [raw]}))[0]["args_bytes"] == shown


def test_text_of_strangers_stays_within_its_line() -> None:
    """Newlines, quotes, control characters, separators of lines that JavaScript has."""
    hostile = '"}\n{"table":"x"\r\u2028\x1b[2J\0'
    (row,) = _lines(pa.table({"exe": [hostile], "args": [[hostile, ""]]}))
    assert row["exe"] == hostile and row["args"] == [hostile, ""]
