"""history/log/flatbuffer.py: our streams pass, and what would end nanoarrow's process is damage before it gets there."""

from __future__ import annotations

import struct
import subprocess
import sys
from typing import Any

import pytest

from firsthand.errors import DamagedError
from firsthand.history.log import flatbuffer, ipc
from firsthand.schema.tables import KEPT
from firsthand.wire.batch import Batch

_VALUES: dict[str, Any] = {
    "int16": 1, "int32": 2, "int64": 3, "bool": True, "time": 5, "text": "/usr/bin/x", "bytes": b"\xff", "list": ["a", ""]
}  # fmt: skip
#: Written over each word of a stream: small, the most, the least, and what overflows when it is multiplied by 4, 8 or 16.
_WORDS = (0, 1, 3, 0x10000, 0x0FFFFFFF, 0x20000000, 0x40000000, 0x7FFFFFFF, 0x80000000, 0xFFFF0000, 0xFFFFFFF0)


def _row(table: str) -> dict[str, Any]:
    return {column.name: _VALUES[column.type] for column in KEPT[table].columns}


def _columns() -> tuple[str, ...]:
    """One column of each type, in the table's order."""
    return tuple({column.type: column.name for column in reversed(KEPT["process"].columns)}.values())[::-1]


def _stream() -> bytes:
    names, row = _columns(), _row("process")
    return ipc.to_bytes(Batch.from_rows("process", [{name: row[name] for name in names}, dict.fromkeys(names)]))


@pytest.mark.parametrize("table", KEPT)
@pytest.mark.parametrize("rows", [0, 1, 2, 300])
def test_our_streams_pass(table: str, rows: int) -> None:
    """Law: a stream of every column of any table passes, full or all null, and gives back what went in."""
    for row in (_row(table), dict.fromkeys(_row(table))):
        stream = ipc.to_bytes(Batch.from_rows(table, [row] * rows)) if rows else _without_rows(table)
        flatbuffer.check(stream)
        flatbuffer.check(memoryview(stream))
        name = next(column.name for column in KEPT[table].columns if column.type == "text")
        assert ipc.columns_of(stream, (name,)) == {name: [row[name]] * rows}


def _without_rows(table: str) -> bytes:
    some = Batch.from_rows(table, [_row(table)])
    names = tuple(some.columns)
    found = ipc.frame(table, names)
    message = bytearray(found.message)
    end = found.nodes + 16 * struct.unpack_from("<I", message, found.nodes - 4)[0]
    buffers = struct.unpack_from("<I", message, found.buffers - 4)[0]
    for at in (found.length, found.body_length):
        struct.pack_into("<q", message, at, 0)
    message[found.nodes : end] = bytes(end - found.nodes)
    message[found.buffers : found.buffers + 16 * buffers] = bytes(16 * buffers)
    return found.schema + bytes(message) + bytes.fromhex("ffffffff00000000")


def _places() -> dict[str, tuple[int, str, int]]:
    """Where in `_stream()` something stands that nanoarrow follows or multiplies unlooked, and what kills it there."""
    found = ipc.frame("process", _columns())
    message = len(found.schema)
    nodes = struct.unpack_from("<I", found.message, found.nodes - 4)[0]
    schema_root = 8 + struct.unpack_from("<I", found.schema, 8)[0]
    return {
        "no mark of a message": (0, "<I", 1),
        "a message longer than the stream": (4, "<i", 1 << 30),
        "a vtable elsewhere": (schema_root, "<i", 0x7FFFFFFF),
        "a root elsewhere": (8, "<I", 0xFFFFFFF0),
        "a body below nothing": (message + found.body_length, "<q", -1 << 60),
        "a body beyond the end": (message + found.body_length, "<q", 1 << 40),
        "items whose offsets overflow": (message + found.nodes + 16 * (nodes - 1), "<q", 0x7FFFFFFF00000002),
        "more nulls than rows": (message + found.nodes + 8, "<q", 1 << 61),
        "rows below nothing": (message + found.length, "<q", -1),
        "a column before its body": (message + found.buffers, "<q", -8),
        "a column that overflows": (message + found.buffers + 8, "<q", (1 << 63) - 1),
    }


@pytest.mark.parametrize("what", _places())
def test_what_points_elsewhere(what: str) -> None:
    """Law: it is damage, said before nanoarrow sees it."""
    at, form, value = _places()[what]
    stream = bytearray(_stream())
    flatbuffer.check(stream)
    struct.pack_into(form, stream, at, value)
    with pytest.raises(DamagedError, match="the rows of a chunk are no Arrow stream: "):
        flatbuffer.check(bytes(stream))


def test_every_cut() -> None:
    """Law: a stream cut anywhere but between two messages is damage, and never another error."""
    stream = _stream()
    found = ipc.frame("process", _columns())
    between = {0, len(found.schema), len(stream) - 8}
    for end in range(len(stream)):
        if end in between:
            flatbuffer.check(stream[:end])
        else:
            with pytest.raises(DamagedError):
                flatbuffer.check(stream[:end])


def test_columns_that_contain_themselves() -> None:
    """Law: a column whose columns are the schema's own ends as damage, and soon."""
    found = ipc.frame("process", _columns())
    fields = _vector_of_fields(found.schema)
    stream = bytearray(_stream())
    count = struct.unpack_from("<I", stream, fields)[0]
    for number in range(count):  # the list's table comes last
        place = fields + 4 + 4 * number
        table = place + struct.unpack_from("<I", stream, place)[0]
    vtable = table - struct.unpack_from("<i", stream, table)[0]
    children = table + struct.unpack_from("<H", stream, vtable + 4 + 2 * 5)[0]
    struct.pack_into("<I", stream, children, (fields - children) & 0xFFFFFFFF)
    with pytest.raises(DamagedError):
        flatbuffer.check(bytes(stream))


def _vector_of_fields(message: bytes) -> int:
    at = 8
    for index in (2, 1):  # Message.header, Schema.fields
        table = at + struct.unpack_from("<I", message, at)[0]
        vtable = table - struct.unpack_from("<i", message, table)[0]
        at = table + struct.unpack_from("<H", message, vtable + 4 + 2 * index)[0]
    return int(at + struct.unpack_from("<I", message, at)[0])


def test_no_word_ends_the_process() -> None:
    """Law: whatever stands in any word of a stream, reading it gives values or damage; without the check it is a segfault."""
    found = subprocess.run(
        [sys.executable, "-c", "from tests.unit.history.log import test_flatbuffer; test_flatbuffer.mutate()"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-2000:]
    read, damaged = map(int, found.stdout.split())
    assert read > 100
    assert damaged > 1000


def mutate() -> None:
    """Read each mutation of the stream; print how many gave values and how many were damage."""
    stream, names = _stream(), _columns()
    read = damaged = 0
    for at in range(0, len(stream) - 3, 4):
        for word in _WORDS:
            other = bytearray(stream)
            struct.pack_into("<I", other, at, word)
            try:
                ipc.columns_of(bytes(other), names)
                read += 1
            except DamagedError:
                damaged += 1
    print(read, damaged)
