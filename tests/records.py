"""Records as the kernel writes them into the ring, made from the installed layout, for tests and benchmarks."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firsthand.schema.layout import Layout, Record, installed

_FORMATS = {("uint", 1): "B", ("uint", 2): "H", ("uint", 4): "I", ("uint", 8): "Q", ("int", 4): "i"}


def record_of(event: str, table: str = "process", layout: Layout | None = None) -> Record:
    """The record kind of that event word."""
    found = (layout or installed()).records.values()
    return next(record for record in found if record.table == table and record.event == event)


def record(event: str, values: Mapping[str, Any], table: str = "process") -> bytes:
    """One record: numbers as int, texts and character arrays as bytes; what is not named is 0 or empty."""
    kind = record_of(event, table)
    raw, tail = bytearray(kind.size), bytearray()
    given = {"kind": kind.kind, "layout": installed().number, **values}
    for field in kind.fields:
        value = given.get(field.name)
        if field.kind == "text" and value:
            struct.pack_into("<HH", raw, field.offset, kind.size + len(tail), len(value))
            tail += value
        elif field.kind == "char":
            raw[field.offset : field.offset + field.size] = (value or b"").ljust(field.size, b"\0")[: field.size]
        elif field.kind != "text":
            struct.pack_into(f"<{_FORMATS[field.kind, field.size]}", raw, field.offset, value or 0)
    whole = raw + tail
    struct.pack_into("<I", whole, 0, len(whole))
    return bytes(whole)


def ring(
    records: Sequence[bytes], size: int = 1 << 20, start: int = 0, busy: int | None = None
) -> tuple[NDArray[np.uint8], int]:
    """Records in a ring's doubly mapped data, from position `start`: (data of 2 * size bytes, end position).

    `busy` is the number of the record that is still being written.
    """
    data = np.zeros(2 * size, dtype=np.uint8)
    at = start
    for number, raw in enumerate(records):
        head = struct.pack("<II", len(raw) | (1 << 31 if number == busy else 0), 0)
        whole = np.frombuffer((head + raw).ljust((len(raw) + 15) & ~7, b"\0"), dtype=np.uint8)
        places = (at + np.arange(len(whole))) % size
        data[places] = whole
        data[places + size] = whole
        at += len(whole)
    return data, at
