"""Columns in memory, between the ring and the disk: NumPy buffers in Arrow's layout, no Python object per event.

Shapes, for a batch of n rows: `Fixed.values` has n elements; `Text.offsets` n + 1 (int32) into `data` (uint8);
`Lists.offsets` n + 1 (int32) into `items`, a Text of all elements. `valid` is a boolean array of n, or None where every
row has a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from firsthand.errors import SchemaError
from firsthand.schema.tables import TABLES
from firsthand.subjects.column import TYPES, Column
from firsthand.wire import _drain

Mask = NDArray[np.bool_] | None


@dataclass
class Fixed:
    """Numbers, booleans (uint8) or times (int64 microseconds since 1970, UTC)."""

    values: NDArray[Any]
    valid: Mask = None


@dataclass
class Text:
    """Strings or bytes: row i is data[offsets[i]:offsets[i + 1]]."""

    offsets: NDArray[np.int32]
    data: NDArray[np.uint8]
    valid: Mask = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, index: int) -> bytes:
        """One row's bytes; for display and tests, not for the hot path."""
        return self.data[self.offsets[index] : self.offsets[index + 1]].tobytes()


@dataclass
class Lists:
    """Lists of strings: row i is items offsets[i] to offsets[i + 1]."""

    offsets: NDArray[np.int32]
    items: Text
    valid: Mask = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, index: int) -> list[bytes]:
        """One row's items; for display and tests."""
        return [self.items.row(i) for i in range(self.offsets[index], self.offsets[index + 1])]


Vector = Fixed | Text | Lists


@dataclass
class Batch:
    """Rows of one table. A column that is not there is null in every row."""

    table: str
    length: int
    columns: dict[str, Vector] = field(default_factory=dict)

    def kept(self, mask: NDArray[np.bool_]) -> Batch:
        """The rows where `mask` is true."""
        return self.chosen(np.flatnonzero(mask))

    def chosen(self, rows: NDArray[np.intp]) -> Batch:
        """These rows, by their places, in this order; one may come several times."""
        return Batch(self.table, len(rows), {name: rows_of(column, rows) for name, column in self.columns.items()})

    @classmethod
    def from_rows(cls, table: str, rows: Sequence[Mapping[str, object]]) -> Batch:
        """A batch from Python rows, for the small tables made in user space.

        Values: int, bool, str, bytes, list[str], datetime (aware, or naive UTC), None. SchemaError for a column that
        the table does not have.
        """
        names = {name for row in rows for name in row}
        unknown = names - set(TABLES[table].names)
        if unknown:
            raise SchemaError(f"table {table} has no column {', '.join(sorted(unknown))}")
        columns = [column for column in TABLES[table].columns if column.name in names]
        return cls(table, len(rows), {c.name: vector(c, [row.get(c.name) for row in rows]) for c in columns})


def rows_of(column: Vector, rows: NDArray[np.intp]) -> Vector:
    """The rows of one column, by their places."""
    valid = None if column.valid is None else column.valid[rows]
    if isinstance(column, Fixed):
        return Fixed(column.values[rows], valid)
    offsets, items = _spans(column.offsets, rows)
    if isinstance(column, Text):
        return Text(offsets, column.data[items], valid)
    chosen = rows_of(column.items, items)
    assert isinstance(chosen, Text)
    return Lists(offsets, chosen, valid)


def _spans(offsets: NDArray[np.int32], rows: NDArray[np.intp]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Offsets of the chosen rows, and the places of what they hold."""
    lengths = offsets[rows + 1] - offsets[rows]
    found = np.zeros(len(rows) + 1, dtype=np.int32)
    np.cumsum(lengths, out=found[1:])
    return found, np.repeat(offsets[rows] - found[:-1], lengths).astype(np.intp) + np.arange(found[-1])


def vector(column: Column, values: Sequence[object]) -> Vector:
    """One column's values, None for null, as a vector of its type."""
    valid = np.array([value is not None for value in values], dtype=bool)
    mask: Mask = None if valid.all() else valid
    if column.type == "list":
        return _lists(values, mask)
    if column.type in ("text", "bytes"):
        return text([_encode(value) for value in values], mask)
    dtype = TYPES[column.type][0]
    return Fixed(np.array([_number(value) for value in values], dtype=dtype), mask)


def text(values: Sequence[bytes], valid: Mask = None) -> Text:
    """Strings as a Text vector."""
    offsets = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    return Text(offsets, np.frombuffer(b"".join(values), dtype=np.uint8), valid)


def spread(codes: NDArray[Any], words: NDArray[Any], lengths: NDArray[np.int32]) -> Text:
    """words[code] of each row, as one Text: rows of a fixed-width byte matrix, cut to their lengths.

    `words` is a NumPy byte string array, `lengths` their lengths.
    """
    matrix = words.view(np.uint8).reshape(len(words), words.dtype.itemsize)
    return Text(*_drain.spread(codes.astype(np.int32, copy=False), np.ascontiguousarray(matrix), lengths))


def worded(words: Sequence[bytes]) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Words and their lengths as `spread` takes them; a few that come again and again are made once."""
    return _few_worded(tuple(words)) if len(words) <= _FEW else _worded(words)


def _worded(words: Sequence[bytes]) -> tuple[NDArray[Any], NDArray[np.int32]]:
    return np.array(words), np.array([len(word) for word in words], dtype=np.int32)


#: Words of one call that are kept, of 128 calls: 4 KiB each at most.
_FEW = 16
_few_worded = lru_cache(maxsize=128)(_worded)


def distinct(values: NDArray[Any]) -> tuple[NDArray[Any], list[int]]:
    """Codes of n rows into the list of distinct values: quick where these are few, sorted else."""
    found: tuple[NDArray[Any], list[int]] | None = _drain.distinct(values.astype(np.int64, copy=False))
    if found is None:
        different, codes = np.unique(values, return_inverse=True)
        return codes, different.tolist()
    return found


def distinct_texts(column: Text) -> tuple[NDArray[np.int64], list[bytes]]:
    """Codes of n rows into the list of distinct strings; null is as empty. For short strings: each costs as much as the longest."""
    lengths = np.diff(column.offsets).astype(np.int64)
    if column.valid is not None:
        lengths = np.where(column.valid, lengths, 0)
    width = int(lengths.max(initial=0)) + 4  # the length behind it: strings may end in NULs
    matrix = np.zeros((len(lengths), width), dtype=np.uint8)
    matrix[:, -4:] = lengths.astype("<u4")[:, None].view(np.uint8)
    inside = np.arange(width - 4) < lengths[:, None]
    places = column.offsets[:-1, None] + np.arange(width - 4)
    matrix[:, :-4][inside] = column.data[places[inside]]
    found, codes = np.unique(matrix.view(f"V{width}")[:, 0], return_inverse=True)
    return codes.reshape(-1), [word.tobytes()[: int.from_bytes(word.tobytes()[-4:], "little")] for word in found]


def _lists(values: Sequence[object], valid: Mask) -> Lists:
    rows = [cast("Sequence[object]", value or ()) for value in values]
    offsets = np.zeros(len(rows) + 1, dtype=np.int32)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return Lists(offsets, text([_encode(item) for row in rows for item in row]), valid)


def _encode(value: object) -> bytes:
    if value is None:
        return b""
    return value if isinstance(value, bytes) else str(value).encode()


def _number(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return round(aware.timestamp() * 1_000_000)
    return int(cast("int", value))
