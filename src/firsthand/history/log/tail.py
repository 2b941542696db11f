"""The log's tail as DuckDB reads it: the chunks' own Arrow streams, each looked at whole, joined where their columns are the same.

PyArrow and NumPy take longer to load than a question on a small history takes; so this does without. A stream that is not wholly
as this version writes one (an older one's types, damage) goes through PyArrow, which decides what it is.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nanoarrow.c_array_stream import c_array_stream
from nanoarrow.ipc import InputStream

from firsthand.errors import DamagedError
from firsthand.history.log import flatbuffer
from firsthand.history.log.chunk import Chunk, Piece
from firsthand.history.log.flatbuffer import Said
from firsthand.schema.tables import TABLES

_END = b"\xff\xff\xff\xff\0\0\0\0"
#: Buffers of a column: validity, then values, or offsets and text; a list's offsets come before its items' three.
_BUFFERS = {"text": 3, "bytes": 3, "list": 5}
#: The first and the last moment that Python's datetime has, in microseconds since 1970.
FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999


@dataclass(frozen=True)
class TailRows:
    """Rows of one chunk and table: the schema's message, and the messages of batches with their bodies; or a `table` of PyArrow."""

    schema: bytes
    batches: Piece
    columns: tuple[str, ...]
    table: Any = None


def of_chunk(chunk: Chunk) -> list[tuple[str, TailRows]]:
    """A chunk's rows by table, in the order of the append. DamagedError where one of its tables is none: then nothing of it is."""
    found: list[tuple[str, TailRows]] = []
    for (name, rows, _), (_, stream) in zip(chunk.header.tables, chunk.streams(), strict=True):
        one = _plain(name, stream, rows)
        if one is None:
            return _decided(chunk)
        found.append((name, one))
    return found


def _decided(chunk: Chunk) -> list[tuple[str, TailRows]]:
    """What PyArrow makes of it."""
    from firsthand.history.log import arrow

    return [(name, TailRows(b"", b"", tuple(rows.column_names), rows)) for name, rows in arrow.tables(chunk)]


def _plain(table: str, stream: memoryview, rows: int) -> TailRows | None:
    """The rows of a stream whose columns have their table's types, whose texts are UTF-8 and whose times calendars know; else None."""
    try:
        (_, first, schema), *batches = flatbuffer.messages(stream)
        columns = dict(schema.columns or ())
        if not columns or len(columns) != len(schema.columns or ()) or not _typed(table, columns):
            return None
        if sum(said.rows for _, _, said in batches) != rows or any(said.columns for _, _, said in batches):
            return None
        if not all(_readable(columns, said, stream[body : body + said.body]) for _, body, said in batches):
            return None
        with c_array_stream(InputStream.from_readable(io.BytesIO(stream))) as arrays:  # looks at every offset
            for _ in arrays:
                pass
    except (DamagedError, RuntimeError, ValueError):
        return None
    end = batches[-1][1] + batches[-1][2].body if batches else first
    return TailRows(bytes(stream[:first]), stream[first:end], tuple(columns))


def _typed(table: str, columns: dict[str, str]) -> bool:
    known = {column.name: column.type for column in TABLES[table].columns} if table in TABLES else {}
    return all(kind == known.get(name, kind) != "" for name, kind in columns.items())


def _readable(columns: dict[str, str], said: Said, body: memoryview) -> bool:
    """Whether every text is UTF-8, value by value, and every time one that calendars know."""
    at = 0
    for kind in columns.values():
        buffers = said.buffers[at : at + _BUFFERS.get(kind, 2)]
        at += _BUFFERS.get(kind, 2)
        if kind in ("text", "list") and not _utf8(*(body[place : place + size] for place, size in buffers[-2:])):
            return False
        if kind == "time" and not _timely(body[buffers[-1][0] :][: 8 * said.rows]):
            return False
    return at == len(said.buffers)


def _utf8(offsets: memoryview, text: memoryview) -> bool:
    """`offsets` (int32) cut the text into values."""
    whole = bytes(text)
    if whole.isascii():
        return True
    try:
        whole.decode()
    except UnicodeDecodeError:
        return False
    inside = len(whole)  # a value may not begin within a character
    return all(not 0 <= at < inside or whole[at] & 0xC0 != 0x80 for at in offsets[: len(offsets) & ~3].cast("i"))


def _timely(values: memoryview) -> bool:
    numbers = values[: len(values) & ~7].cast("q")
    return not numbers or FIRST <= min(numbers) <= max(numbers) <= LAST


class StreamSource:
    """Streams of the same columns as one, for DuckDB to scan any number of times."""

    def __init__(self, parts: Sequence[TailRows]) -> None:
        self.columns = parts[0].columns
        self._stream = b"".join((parts[0].schema, *(part.batches for part in parts), _END))

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        return c_array_stream(InputStream.from_readable(io.BytesIO(self._stream))).__arrow_c_stream__()


def sources(parts: Sequence[TailRows]) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """What to register in DuckDB for these rows, and the columns of each."""
    alike: dict[bytes, list[TailRows]] = {}
    for part in parts:
        if part.table is None:
            alike.setdefault(part.schema, []).append(part)
        else:
            yield part.table, part.columns
    for same in alike.values():
        yield StreamSource(same), same[0].columns
