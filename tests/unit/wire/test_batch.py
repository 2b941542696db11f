"""wire/batch.py: columns in memory, in and out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthand.errors import SchemaError
from firsthand.subjects.column import Column
from firsthand.wire import batch
from firsthand.wire.batch import Batch, Fixed, Lists, Text

_TEXTS = st.lists(st.binary(max_size=12), max_size=30)


def _values(column: batch.Vector) -> list[Any]:
    """Python values of a column, None where it has none."""
    found = column.values.tolist() if isinstance(column, Fixed) else [column.row(row) for row in range(len(column))]
    return (
        found
        if column.valid is None
        else [value if there else None for value, there in zip(found, column.valid, strict=True)]
    )


def test_rows_become_columns() -> None:
    """Numbers, texts, lists, times, and nulls, which a column has a mask for only where there are any."""
    moment = datetime(2026, 5, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    rows = [{"time": moment, "exe": "/bin/grün", "args": ["a", ""], "exec_tgid": 7},
            {"time": moment.astimezone(UTC).replace(tzinfo=None), "exe": None, "args": None, "exec_tgid": 0}]  # fmt: skip
    made = Batch.from_rows("process", rows)
    assert made.length == 2 and set(made.columns) == {"time", "exe", "args", "exec_tgid"}
    assert _values(made.columns["time"]) == [1777636800000000] * 2, "a time without a zone is UTC"
    assert _values(made.columns["exe"]) == ["/bin/grün".encode(), None]
    assert _values(made.columns["args"]) == [[b"a", b""], None]
    assert made.columns["exec_tgid"].valid is None and made.columns["exe"].valid is not None


def test_a_column_that_a_table_has_not() -> None:
    """It is refused by its name; no rows have no columns."""
    with pytest.raises(SchemaError, match="table loss has no column argz, exx"):
        Batch.from_rows("loss", [{"cause": "x"}, {"exx": 1, "argz": 2}])
    assert Batch.from_rows("loss", []).columns == {} and Batch.from_rows("loss", []).length == 0


@given(texts=_TEXTS, data=st.data())
def test_chosen_rows_keep_their_own_values(texts: list[bytes], data: st.DataObject) -> None:
    """In any order, several times, none at all; lists and masks go with them."""
    rows = np.array(
        data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=20) if texts else st.just([])), dtype=np.intp
    )
    valid = np.array([len(text) % 2 == 0 for text in texts], dtype=bool)
    lists = [[text] * (len(text) % 3) for text in texts]
    flat = [item for one in lists for item in one]
    offsets = np.cumsum([0, *map(len, lists)], dtype=np.int32)
    columns: dict[str, batch.Vector] = {
        "number": Fixed(np.arange(len(texts))),
        "text": batch.text(texts, valid),
        "list": Lists(offsets, batch.text(flat)),
    }
    found = Batch("x", len(texts), columns).chosen(rows)
    assert found.length == len(rows) and _values(found.columns["number"]) == rows.tolist()
    assert _values(found.columns["text"]) == [texts[row] if valid[row] else None for row in rows]
    assert _values(found.columns["list"]) == [lists[row] for row in rows]


def test_rows_by_a_mask() -> None:
    """Those that are kept, in their order."""
    made = Batch("x", 3, {"a": Fixed(np.array([1, 2, 3])), "b": batch.text([b"x", b"", b"z"])})
    kept = made.kept(np.array([True, False, True]))
    assert (_values(kept.columns["a"]), _values(kept.columns["b"])) == ([1, 3], [b"x", b"z"])
    assert made.kept(np.zeros(3, dtype=bool)).length == 0


@given(words=st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=20, unique=True), data=st.data())
def test_words_by_codes(words: list[bytes], data: st.DataObject) -> None:
    """Also words that end in NULs, which a NumPy byte string would lose."""
    codes = data.draw(st.lists(st.integers(0, len(words) - 1), max_size=30))
    found = batch.spread(np.array(codes, dtype=np.int64), *batch.worded(words))
    assert [found.row(row) for row in range(len(found))] == [words[code] for code in codes]


@given(texts=_TEXTS, data=st.data())
def test_distinct_texts_are_told_apart(texts: list[bytes], data: st.DataObject) -> None:
    """By every byte and by their length: "a" is not "a" with a NUL; null is as empty."""
    valid = np.array(data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts))), dtype=bool)
    codes, found = batch.distinct_texts(batch.text(texts, valid))
    expected = [text if there else b"" for text, there in zip(texts, valid, strict=True)]
    assert [found[code] for code in codes] == expected and len(set(found)) == len(found) == len(set(expected))


@given(values=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=300))
def test_distinct_numbers(values: list[int]) -> None:
    """Few and many of them, in any order."""
    codes, found = batch.distinct(np.array(values, dtype=np.int64))
    assert [found[code] for code in codes] == values and len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("bool", [True, False, None], [1, 0, None]),
        ("int16", [-5, None], [-5, None]),
        ("bytes", [b"\xff\0", "text"], [b"\xff\0", b"text"]),
        ("text", [5, ""], [b"5", b""]),
        ("list", [["a"], [], None], [[b"a"], [], None]),
    ],
)
def test_values_of_each_type(kind: str, values: list[Any], expected: list[Any]) -> None:
    """As Arrow takes them."""
    assert _values(batch.vector(Column("x", kind, "of a test"), values)) == expected


def test_a_number_that_does_not_fit_is_an_error() -> None:
    """And never another number."""
    with pytest.raises(OverflowError):
        batch.vector(Column("x", "int16", "of a test"), [1 << 15])
    assert isinstance(batch.text([b"a"]), Text)
