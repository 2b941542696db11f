"""dissect/frame.py: what observer and dissector say to each other, packed and unpacked."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthand.dissect import frame
from firsthand.dissect.frame import FrameReader, framed, packed, rows_of

_COLUMNS = (("number", "int64"), ("text", "text"), ("list", "list"))
_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "number": st.none() | st.integers(-(2**63), 2**63 - 1),
            "text": st.none() | st.binary(max_size=20) | st.text(max_size=10),
            "list": st.none() | st.lists(st.text(max_size=5), max_size=4),
        }
    ),
    max_size=12,
)


def _body(rows: list[dict[str, Any]], columns: Any = _COLUMNS) -> memoryview:
    return memoryview(b"".join(packed(columns, rows)))


def _text(value: Any) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return str(value).encode("utf-8", "backslashreplace")


@given(rows=_ROWS)
def test_numbers_and_texts_come_back(rows: list[dict[str, Any]]) -> None:
    """In their order, with their nulls; a null number is 0, as packets have it. Nothing is left over."""
    reader = FrameReader(_body(rows, _COLUMNS[:2]))
    found = rows_of(_COLUMNS[:2], len(rows), reader)
    reader.end()
    assert found["number"] == [row["number"] or 0 for row in rows]
    assert found["text"] == [_text(row["text"]) for row in rows]


@given(rows=_ROWS)
def test_lists_have_their_items(rows: list[dict[str, Any]]) -> None:
    """By offsets into the items, which are a text column."""
    reader = FrameReader(_body(rows, _COLUMNS[2:]))
    part = reader.column("list", len(rows))
    reader.end()
    assert part.offsets is not None and part.items is not None
    lists, items = part.offsets.cast("I").tolist(), part.items.cast("I").tolist()
    texts = [bytes(part.values[begin:end]) for begin, end in pairwise(items)]
    found = [texts[begin:end] for begin, end in pairwise(lists)]
    assert found == [[_text(item) for item in row["list"] or ()] for row in rows]
    assert (part.valid is None) == all(row["list"] is not None for row in rows)


@given(rows=_ROWS.filter(bool), cut=st.integers(1, 50))
def test_a_body_that_ends_too_early(rows: list[dict[str, Any]], cut: int) -> None:
    """Wherever it is cut: an error, and nothing beside it is read."""
    body = _body(rows)
    reader = FrameReader(body[: max(0, len(body) - cut)])
    with pytest.raises(ValueError, match="too early"):
        for _, kind in _COLUMNS:
            reader.column(kind, len(rows))


def test_a_body_with_more_than_it_says() -> None:
    """What is left over is an error as well."""
    reader = FrameReader(memoryview(b"ab"))
    assert bytes(reader.take(1)) == b"a"
    with pytest.raises(ValueError, match="1 bytes too many"):
        reader.end()
    with pytest.raises(ValueError, match="too early"):
        reader.take(-1)


@pytest.mark.parametrize("flag", [2, 255])
def test_a_column_begins_with_0_or_1(flag: int) -> None:
    """Anything else is no column."""
    with pytest.raises(ValueError, match=f"begins with {flag}"):
        FrameReader(memoryview(bytes([flag]) + bytes(64))).column("int64", 1)


def test_lengths_are_bounded_before_anything_is_read() -> None:
    """More rows than a frame has bytes, or items that no frame holds, take no memory."""
    with pytest.raises(ValueError, match="a column of"):
        FrameReader(memoryview(bytes(64))).column("text", frame.MOST_BYTES + 1)
    body = bytes(1) + struct.pack("<II", 0, 1 << 31)
    with pytest.raises(ValueError, match="a column of"):
        FrameReader(memoryview(body)).column("list", 1)
    with pytest.raises(ValueError, match="too early"):
        FrameReader(memoryview(body)).column("text", 1)


def test_a_frame_has_its_length_and_its_kind() -> None:
    """The length counts the kind; a frame that no observer would take is not made."""
    whole = framed(frame.ROWS, [b"ab", memoryview(b"c")])
    assert frame.HEAD.unpack(whole[: frame.HEAD.size]) == (4, frame.ROWS) and whole[frame.HEAD.size :] == b"abc"
    assert framed(frame.HELLO, ()) == frame.HEAD.pack(1, frame.HELLO)
    most = memoryview(bytes(frame.MOST_BYTES))
    assert len(framed(frame.ROWS, [most])) == frame.MOST_BYTES + frame.HEAD.size
    with pytest.raises(ValueError, match="at most"):
        framed(frame.ROWS, [most, b"x"])


def test_text_that_is_no_utf8_still_crosses() -> None:
    """A lone surrogate is shown escaped."""
    reader = FrameReader(_body([{"text": "a\ud800"}], (("text", "text"),)))
    assert rows_of((("text", "text"),), 1, reader) == {"text": [b"a\\ud800"]}


def test_every_row_begins_with_its_packet() -> None:
    """And the columns of both tables are numbers, texts or lists."""
    for columns in frame.ROWS_OF.values():
        assert columns[0] == ("packet", "int64") and {kind for _, kind in columns} <= {"int64", "text", "list"}
