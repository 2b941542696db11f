"""ask/forms.py: an answer as a Parquet file, and who has no graph."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from firsthand.ask import forms
from firsthand.ask.answer import Answer, Completeness, Found, Request, Window
from firsthand.errors import UsageError
from firsthand.history.store.connection import History

_MOMENT = datetime(2026, 5, 1, tzinfo=UTC)


def _answer(rows: list[dict[str, Any]], columns: list[str]) -> Answer:
    found = Found("Yes: 2 of 3", rows, 3, columns)
    whole = Completeness(True, [], None, 3, 0, [], [])
    return Answer("processes", "Yes: 2 of 3", found, whole, Window(_MOMENT, _MOMENT))


def _read(data: bytes) -> Any:
    return pq.read_table(io.BytesIO(data))


def test_rows_come_back_from_the_file() -> None:
    """Values of their types, in the order of the rows' own columns; the answer itself is beside them, without the rows."""
    rows: list[dict[str, Any]] = [
        {"pid": 7, "exe": "/bin/a", "args": ["a", "b"]},
        {"pid": 8, "exe": None, "args": None},
    ]
    table = _read(forms.parquet_of(_answer(rows, ["exe", "where"])))
    assert table.column_names == ["pid", "exe", "args"] and table.to_pylist() == rows
    about = json.loads(table.schema.metadata[b"firsthand"])
    assert about["answer"] == "Yes: 2 of 3" and about["truncated"] is True and "rows" not in about


def test_no_rows_have_the_table_s_columns() -> None:
    """But for the one that only a table shows."""
    assert forms.columns(Found("No", [], 0, ["time", "where", "exe"])) == ["time", "exe"]
    table = _read(forms.parquet_of(_answer([], ["exe", "where"])))
    assert (table.column_names, table.num_rows) == (["exe"], 0)


@pytest.mark.parametrize(
    "values",
    [
        [10**39, None],
        [{"a": 1}, "text"],
        [timedelta(days=1), "x"],
        [object, None],
    ],
)
def test_what_parquet_has_no_type_for_is_text(values: list[Any]) -> None:
    """The file is written all the same, and null stays null."""
    found = _read(forms.parquet(["x"], [[value] for value in values]))["x"].to_pylist()
    assert [one is None for one in found] == [value is None for value in values]
    assert all(one is None or isinstance(one, str) for one in found)


def test_other_types_are_kept() -> None:
    """Times, numbers of many digits, bytes."""
    row = [_MOMENT, Decimal("1.50"), b"\xff", True]
    assert list(_read(forms.parquet(list("abcd"), [row])).to_pylist()[0].values()) == row


@pytest.mark.parametrize("form", forms.DRAWN)
def test_a_question_without_a_graph_is_refused_before_anything_is_read(tmp_path: Path, form: str) -> None:
    """There is no history in that folder at all."""
    with pytest.raises(UsageError, match="`ask map` has"):
        forms.answer(History(tmp_path / "none"), Request("processes"), form)
