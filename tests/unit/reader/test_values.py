"""Values of every type come through unchanged."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthand.reader import values

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 127), 1 << 127),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.datetimes().map(lambda one: one.replace(fold=0)),
    st.datetimes(timezones=st.just(UTC)).map(lambda one: one.replace(fold=0)),
    st.dates(),
    st.times().map(lambda one: one.replace(fold=0)),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers() | st.dates(), inner)
    ),
    max_leaves=12,
)


def _through(value: Any) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(values.packed(value)), ext_hook=values.unpacked)


@given(_VALUES)
def test_a_value_comes_through(value: Any) -> None:
    """With its type."""
    assert repr(_through(value)) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 3, 1, 12, 0, 0, 1, timezone(timedelta(hours=5, minutes=30))),
        datetime.min,
        datetime.max,
        date.max,
        time(1, 2, 3, 4, UTC),
        timedelta.min,
        Decimal("0.10"),
        uuid.UUID(int=7),
        -(1 << 63),
        (1 << 64) - 1,
        1 << 64,
        {(1, "a"): [b"\xff"]},
    ],
    ids=repr,
)
def test_at_the_limits(value: Any) -> None:
    """Each type's first and last value."""
    assert repr(_through(value)) == repr(value)


def test_another_type_is_refused() -> None:
    """And named: the reader then leaves the question to whoever asks."""
    with pytest.raises(TypeError, match=r"pathlib\.PosixPath"):
        import pathlib

        values.packed(pathlib.PosixPath("/"))


@pytest.mark.parametrize(("code", "data"), [(99, b"\xc0"), (8, b"\xa1x"), (1, b"\xa1x"), (3, b"\xc0"), (2, b"\x01")])
def test_what_is_no_value_is_refused(code: int, data: bytes) -> None:
    """An extension that there is not, or that holds something else."""
    with pytest.raises(ValueError, match=r"value|text|literal"):
        values.unpacked(code, memoryview(data))
