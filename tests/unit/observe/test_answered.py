"""observe/answered.py: nothing that a broken dissector says becomes a row."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from firsthand.dissect.frame import ROWS_OF, FrameReader, packed
from firsthand.observe import answered
from firsthand.wire.batch import Batch
from tests import packets

_ROW = {
    "packet": 3, "event": "answer", "message_bytes": 60, "query_id": 7, "name": "grün.example", "type": "A", "rcode": "NOERROR",
    "records": ["A 192.0.2.1", "x"], "addresses": ["192.0.2.1"], "ttl": 300, "latency": None, "marks": None, "reason": None,
}  # fmt: skip


def _told(rows: list[dict[str, Any]]) -> Batch:
    reader = FrameReader(memoryview(b"".join(packed(ROWS_OF["name"], rows))))
    found = answered.told("name", len(rows), reader)
    reader.end()
    return found


def test_an_answer_becomes_columns() -> None:
    """Of the table's types, with its nulls, and the packets' numbers."""
    found = _told([_ROW, _ROW | {"packet": 9, "name": None, "addresses": None}])
    columns: dict[str, Any] = found.columns
    assert columns["packet"].values.tolist() == [3, 9]
    assert columns["name"].row(0).decode() == "grün.example" and columns["name"].valid.tolist() == [True, False]
    assert columns["records"].row(1) == [b"A 192.0.2.1", b"x"] and columns["addresses"].valid.tolist() == [True, False]
    assert columns["latency"].valid.tolist() == [False, False]
    assert _told([]).length == 0


@pytest.mark.parametrize("name", [name for name, kind in ROWS_OF["name"] if kind == "int64" and name != "packet"])
def test_numbers_that_the_column_does_not_hold(name: str) -> None:
    """As 2^40 for a message's length: refused, and never cut to another number."""
    largest = {"query_id": 65535, "message_bytes": 65535}.get(name, 100)
    _told([_ROW | {name: largest}])
    if name in ("latency",):
        return  # as wide as the frame's numbers
    with pytest.raises(ValueError, match=f"name.{name} holds numbers"):
        _told([_ROW | {name: 1 << 40}])


def _text(offsets: list[int], data: bytes) -> tuple[memoryview, memoryview]:
    return memoryview(struct.pack(f"<{len(offsets)}I", *offsets)), memoryview(data)


@pytest.mark.parametrize(
    ("offsets", "data"),
    [
        ([1, 3], b"abc"),
        ([0, 2], b"abc"),
        ([0, 4], b"abc"),
        ([0, 3, 2, 3], b"abc"),
        ([0, 0xFFFFFFFF, 3], b"abc"),
        ([0, 1, 2], "ü".encode()),
        ([0, 1], b"\xff"),
        ([0, 3], b"\xed\xa0\x80"),
    ],
    ids=["begins behind", "ends before", "ends behind", "falls", "wraps", "cut in a letter", "no UTF-8", "surrogate"],
)
def test_texts_that_are_none(offsets: list[int], data: bytes) -> None:
    """Offsets rise from 0 to the end, and each row is UTF-8 by itself: a column of Arrow would be read beside its memory."""
    with pytest.raises(ValueError, match=r"."):
        answered._text(*_text(offsets, data))


@pytest.mark.parametrize("rows", [["ü", "", "ö"], [""], [], ["a" * 5000, "\0"]])
def test_texts_that_are(rows: list[str]) -> None:
    """Empty ones, letters of several bytes, NULs."""
    raw = [row.encode() for row in rows]
    found = answered._text(*_text([0, *np.cumsum([len(one) for one in raw]).tolist()], b"".join(raw)))
    assert [found.row(row).decode() for row in range(len(found))] == rows


def test_rows_have_what_their_packets_tell() -> None:
    """Each its own packet's columns, where the dissector fills none of that name; columns that no row has are left."""
    given = packets.batch([packets.row(b"", exec_tgid=number, ktime=number) for number in (10, 20, 30)])
    said = _told([_ROW, _ROW])
    said.columns.pop("packet")
    found = answered.beside("name", said, given, np.array([2, 0]))
    columns: dict[str, Any] = found.columns
    assert columns["exec_tgid"].values.tolist() == [30, 10] and columns["event"].row(0) == b"answer"
    assert "payload" not in columns and found.length == 2


def test_a_frame_that_is_cut() -> None:
    """One byte is enough."""
    body = b"".join(packed(ROWS_OF["name"], [_ROW]))
    with pytest.raises(ValueError, match="too early"):
        answered.told("name", 1, FrameReader(memoryview(body[:-1])))
