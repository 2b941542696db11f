"""A batch as an Arrow IPC stream, without PyArrow: the observer's memory does not allow for it.

nanoarrow writes the schema message and the frame of a record batch message once for each tuple of columns. After that
only numbers change from batch to batch (lengths, null counts, places of the buffers), and these are put into a copy of
the frame where the flatbuffer holds them: per column and batch that costs a fraction of nanoarrow's own calls
(docs/decisions/history.md has the figures).

The format: "Serialization and Interprocess Communication" and Message.fbs of the Arrow columnar specification, 1.0.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import nanoarrow as na
import numpy as np
from nanoarrow.ipc import InputStream, StreamWriter
from numpy.typing import NDArray

from firsthand.errors import DamagedError, SchemaError
from firsthand.history.log import flatbuffer
from firsthand.history.log.chunk import Piece
from firsthand.schema.tables import KEPT, TABLES
from firsthand.subjects.column import TYPES
from firsthand.wire.batch import Batch, Fixed, Lists, Text, Vector

_ALIGNMENT = 8
_PADDING = tuple(bytes(count) for count in range(_ALIGNMENT))
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
_OFFSET = np.dtype(np.int32)
#: Bytes up to which a body is copied into one piece.
_SMALL = 1 << 20
_TEXTS = frozenset(("text", "bytes"))
_DTYPES = {name: np.dtype(kind[0]) if kind[0] else None for name, kind in TYPES.items()}
#: What nanoarrow raises for bytes that are none of its own, RuntimeError being its own errors' kind.
_UNREADABLE = (RuntimeError, ValueError, KeyError, TypeError, OverflowError, OSError, EOFError)

_ARROW: dict[str, Any] = {
    "int16": na.int16(),
    "int32": na.int32(),
    "int64": na.int64(),
    "bool": na.bool_(),
    "time": na.timestamp("us"),
    "text": na.string(),
    "bytes": na.binary(),
    "list": na.list_(na.string()),
}


@dataclass(frozen=True)
class Frame:
    """The messages of one tuple of columns, and where in the batch's message the numbers stand (bytes)."""

    schema: bytes
    message: bytes
    length: int
    body_length: int
    nodes: int
    buffers: int


def encode(batch: Batch) -> list[Piece]:
    """The batch as pieces of one IPC stream (schema, one record batch, end), in the table's column order.

    Only columns that the batch has are written. The pieces refer to the batch's own memory: join or write them before
    it changes. SchemaError where a column is unknown or its vector does not fit the table's type or the length.
    """
    if batch.table not in KEPT:
        raise SchemaError(f"rows of table {batch.table} are never kept")
    names = tuple(name for name in TABLES[batch.table].names if name in batch.columns)
    if len(names) != len(batch.columns):
        unknown = sorted(set(batch.columns) - set(names))
        raise SchemaError(f"table {batch.table} has no column {', '.join(unknown)}")
    if not names:
        raise SchemaError(f"a batch of table {batch.table} has {batch.length} rows and no column")
    body = _Body()
    for name, kind in zip(names, _types(batch.table, names), strict=True):
        _column(body, kind, batch.columns[name], batch.length, name)
    return [*_messages(frame(batch.table, names), batch.length, body), *body.pieces(), _END_OF_STREAM]


def to_bytes(batch: Batch) -> bytes:
    """The batch as one IPC stream."""
    return b"".join(encode(batch))


def columns_of(stream: Piece, names: Sequence[str]) -> dict[str, list[Any]]:
    """Some columns of an IPC stream as Python values, without PyArrow; a column that is not in it is all None.

    DamagedError where the bytes are no such stream.
    """
    flatbuffer.check(stream)
    try:
        with InputStream.from_readable(io.BytesIO(stream)) as source, na.ArrayStream(source) as arrays:
            return _listed(arrays, names)
    except _UNREADABLE as error:
        raise DamagedError(f"the rows of a chunk are no Arrow stream ({error})") from error


def _listed(arrays: Any, names: Sequence[str]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {name: [] for name in names}
    for array in arrays:
        columns = dict(zip((field.name for field in array.schema.fields), array.iter_children(), strict=True))
        for name in names:
            found[name] += columns[name].to_pylist() if name in columns else [None] * len(array)
    return found


def _messages(found: Frame, length: int, body: _Body) -> tuple[bytes, bytes]:
    message = bytearray(found.message)
    struct.pack_into("<q", message, found.length, length)
    struct.pack_into("<q", message, found.body_length, body.end)
    struct.pack_into(f"<{len(body.nodes)}q", message, found.nodes, *body.nodes)
    struct.pack_into(f"<{len(body.buffers)}q", message, found.buffers, *body.buffers)
    return found.schema, bytes(message)


class _Body:
    """The record batch's body as it grows: pieces, and per buffer (offset, length), per node (length, nulls).

    Eighty columns, twelve times a second: what is done here for each of them is most of what a small commit costs.
    """

    def __init__(self) -> None:
        self._parts: list[Any] = []  # arrays and bytes
        self.nodes: list[int] = []
        self.buffers: list[int] = []
        self.end = 0
        self._bitmaps: dict[int, tuple[NDArray[np.bool_], int, NDArray[np.uint8]]] = {}

    def array(self, values: NDArray[Any]) -> None:
        """One buffer of a contiguous NumPy array's bytes, padded to 8."""
        size = values.nbytes
        self.buffers += (self.end, size)
        if size:
            self._parts.append(values)
            rest = -size % _ALIGNMENT
            if rest:
                self._parts.append(_PADDING[rest])
            self.end += size + rest

    def pieces(self) -> list[Piece]:
        """All of it in order: as one where it is small, since each piece is looked at several times."""
        if self.end <= _SMALL:
            return [b"".join(self._parts)]
        return [part if isinstance(part, bytes) else part.data.cast("B") for part in self._parts]

    def node(self, length: int, valid: NDArray[np.bool_] | None) -> None:
        """One field node and its validity bitmap, which is made once where columns share theirs."""
        if valid is None:
            self.nodes += (length, 0)
            self.buffers += (self.end, 0)
            return
        found = self._bitmaps.get(id(valid))
        if found is None:
            nulls = length - int(np.count_nonzero(valid))
            found = self._bitmaps[id(valid)] = (valid, nulls, np.packbits(valid, bitorder="little"))
        _, nulls, bitmap = found
        self.nodes += (length, nulls)
        if nulls:
            self.array(bitmap)
        else:
            self.buffers += (self.end, 0)


def _column(body: _Body, kind: str, vector: Vector, length: int, name: str) -> None:
    if isinstance(vector, Text) and kind in _TEXTS:
        found = len(vector.offsets) - 1
        _text(body, vector, found)
    elif isinstance(vector, Fixed) and (dtype := _DTYPES[kind]) is not None:
        values = vector.values
        found = len(values)
        body.node(found, vector.valid)
        body.array(np.packbits(values, bitorder="little") if kind == "bool" else _as(values, dtype))
    elif isinstance(vector, Lists) and kind == "list":
        found = len(vector.offsets) - 1
        body.node(found, vector.valid)
        body.array(_as(vector.offsets, _OFFSET))
        _text(body, vector.items, len(vector.items))
    else:
        raise SchemaError(f"column {name} is of type {kind}; a {type(vector).__name__} cannot hold it")
    if found != length:
        raise SchemaError(f"column {name} holds {found} rows; its batch has {length}")


def _text(body: _Body, vector: Text, length: int) -> None:
    offsets, data = _as(vector.offsets, _OFFSET), vector.data
    end = int(offsets[-1])
    body.node(length, vector.valid)
    body.array(offsets)
    body.array(_as(data if end == len(data) else data[:end], data.dtype))


def _as(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The values in one piece and of this type; most are, and to find that out costs less than to ask NumPy for it."""
    if values.dtype is dtype and values.flags.c_contiguous:
        return values
    return np.ascontiguousarray(values, dtype=dtype)


@lru_cache(maxsize=1024)
def _types(table: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(TABLES[table].column(name).type for name in names)


@lru_cache(maxsize=256)
def frame(table: str, names: tuple[str, ...]) -> Frame:
    """The messages that nanoarrow writes for one row of these columns, with the numbers' places found.

    One row and not none: a flatbuffer leaves out a number that has its default, which is 0.
    """
    kinds = _types(table, names)
    schema = na.struct({name: _ARROW[kind] for name, kind in zip(names, kinds, strict=True)})
    children = [_sample(kind) for kind in kinds]
    row = na.c_array_from_buffers(schema, length=1, buffers=[None], children=children)
    out = io.BytesIO()
    with StreamWriter.from_writable(out) as writer:
        writer.write_array(row)
    messages = list(_split(out.getvalue()))
    return Frame(messages[0], messages[1], *_places(messages[1]))


def _sample(kind: str) -> Any:
    if kind == "list":
        offsets = np.array([0, 1], dtype=np.int32)
        return na.c_array_from_buffers(_ARROW[kind], 1, [None, offsets], children=[_sample("text")])
    if kind in ("text", "bytes"):
        return na.c_array_from_buffers(_ARROW[kind], 1, [None, np.array([0, 1], dtype=np.int32), b"x"])
    return na.c_array_from_buffers(_ARROW[kind], 1, [None, np.zeros(8, dtype=np.uint8)])


def _split(stream: bytes) -> Iterator[bytes]:
    """The messages of a stream, each with its length before it and without its body."""
    at = 0
    while (size := struct.unpack_from("<i", stream, at + 4)[0]) > 0:
        message = stream[at : at + 8 + size]
        yield message
        at += len(message) + _number(message, 8 + struct.unpack_from("<i", message, 8)[0], 3)


def _places(message: bytes) -> tuple[int, int, int, int]:
    """Where RecordBatch.length, Message.bodyLength, the first node and the first buffer stand."""
    root = 8 + struct.unpack_from("<i", message, 8)[0]
    batch = _followed(message, _field(message, root, 2))
    nodes = _followed(message, _field(message, batch, 1)) + 4
    buffers = _followed(message, _field(message, batch, 2)) + 4
    return _field(message, batch, 0), _field(message, root, 3), nodes, buffers


def _field(message: Sequence[int] | bytes, table: int, index: int) -> int:
    """Where a flatbuffer table holds its field of that index; SchemaError where it does not."""
    vtable = table - struct.unpack_from("<i", bytes(message), table)[0]
    size = struct.unpack_from("<H", bytes(message), vtable)[0]
    slot = 4 + 2 * index
    offset = struct.unpack_from("<H", bytes(message), vtable + slot)[0] if slot < size else 0
    if not offset:
        raise SchemaError(f"nanoarrow's message has no field {index}; install the version in pyproject.toml")
    return int(table + offset)


def _followed(message: bytes, at: int) -> int:
    return int(at + struct.unpack_from("<I", message, at)[0])


def _number(message: bytes, table: int, index: int) -> int:
    try:
        return int(struct.unpack_from("<q", message, _field(message, table, index))[0])
    except SchemaError:
        return 0
