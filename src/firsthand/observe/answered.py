"""What the dissector answered, as columns: each length, offset, number and text is held against its bounds before it is used.

A broken or taken-over dissector may say anything: ValueError for what does not fit, and nothing of such an answer is taken.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from firsthand.dissect.frame import ROWS_OF, FrameReader, Part
from firsthand.schema.tables import TABLES
from firsthand.subjects.column import TYPES
from firsthand.wire.batch import Batch, Fixed, Lists, Text, Vector, rows_of


def told(table: str, rows: int, reader: FrameReader) -> Batch:
    """The columns of an answer's rows, `packet` among them, checked."""
    found = Batch(table, rows)
    for name, kind in ROWS_OF[table]:
        part = reader.column(kind, rows)
        found.columns[name] = Fixed(numbers(part, rows)) if name == "packet" else _checked(table, name, part, rows)
    return found


def _checked(table: str, name: str, part: Part, rows: int) -> Vector:
    valid = None if part.valid is None else np.frombuffer(part.valid, dtype=np.uint8).astype(bool)
    if part.kind == "text":
        found = _text(part.offsets, part.values)
        found.valid = valid
        return found
    if part.kind == "list":
        items = _text(part.items, part.values)
        return Lists(_offsets(part.offsets, len(items)), items, valid)
    kind = TYPES[TABLES[table].column(name).type][0]
    values = numbers(part, rows)
    if len(values) and not (np.iinfo(kind).min <= values.min() and values.max() <= np.iinfo(kind).max):
        raise ValueError(f"{table}.{name} holds numbers that are no {kind}")
    return Fixed(values.astype(kind), valid)


def numbers(part: Part, rows: int) -> NDArray[np.int64]:
    """A column of numbers."""
    return np.frombuffer(part.values, dtype="<i8", count=rows)


def _offsets(raw: memoryview | None, most: int) -> NDArray[np.int32]:
    assert raw is not None
    found = np.frombuffer(raw, dtype="<u4").astype(np.int64)
    if found[0] != 0 or found[-1] != most or (np.diff(found) < 0).any():
        raise ValueError("offsets that do not rise from 0 to the end of what they are of")
    return found.astype(np.int32)


def _text(raw: memoryview | None, values: memoryview) -> Text:
    """UTF-8, each row by itself."""
    offsets = _offsets(raw, len(values))
    bytes(values).decode()
    data = np.frombuffer(values, dtype=np.uint8)
    begins = offsets[offsets < len(data)]
    if (data[begins] & 0xC0 == 0x80).any():
        raise ValueError("text that is cut within a character")
    return Text(offsets, data)


def beside(table: str, said: Batch, packets: Batch, rows: NDArray[Any]) -> Batch:
    """The dissector's rows, with the packets' values for the columns that it does not fill."""
    wanted = TABLES[table].names
    columns = {name: column for name, column in packets.columns.items() if name in wanted and name not in said.columns}
    chosen = {name: rows_of(column, rows.astype(np.intp)) for name, column in columns.items()}
    return Batch(table, said.length, {**chosen, **said.columns})
