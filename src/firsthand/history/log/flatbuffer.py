"""Whether the messages of an Arrow IPC stream point nowhere but into themselves, and what they say. Without NumPy: readers have none.

nanoarrow follows what it finds in a message without a look at where it leads, and ends the process where that is nowhere. What is
looked at are the parts of Schema.fbs and Message.fbs (Arrow 1.0) that our streams have and nanoarrow reads.
Format: https://flatbuffers.dev/internals: a table is a signed offset back to its vtable (u16 size, u16 size of the table, u16 slots),
then fields; strings, vectors and tables stand at u32 offsets forward.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from firsthand.errors import DamagedError

#: A column of ours is at most a list of texts.
_DEPTH = 4
_MOST = 4096
_CONTINUED = 0xFFFFFFFF
#: Messages up to so many bytes are remembered; a hostile one must not stay in memory.
_KEPT = 1 << 15


@dataclass(frozen=True)
class _Kind:
    """A table: bytes of its plain fields, its strings, its vectors by bytes of an element; which must be there, and which no
    stream of ours has: metadata, dictionaries, compression."""

    plain: Mapping[int, int] = field(default_factory=dict)
    strings: tuple[int, ...] = ()
    vectors: Mapping[int, int] = field(default_factory=dict)
    needed: tuple[int, ...] = ()
    strange: tuple[int, ...] = ()
    empty: tuple[int, ...] = ()


_MESSAGE = _Kind({0: 2, 1: 1, 3: 8}, needed=(1, 2), empty=(4,))
_SCHEMA = _Kind({0: 2}, vectors={1: 4, 3: 8}, needed=(1,), empty=(2,))
_FIELD = _Kind({1: 1, 2: 1}, strings=(0,), vectors={5: 4}, needed=(0, 2, 3), strange=(4,), empty=(6,))
_BATCH = _Kind({0: 8}, vectors={1: 16, 2: 16}, needed=(1, 2), strange=(3,), empty=(4,))
#: Types of columns by their number in the union `Type`: Int, Binary, Utf8, Bool, Timestamp, List.
_TYPES = {2: _Kind({0: 4, 1: 1}), 4: _Kind(), 5: _Kind(), 6: _Kind(), 10: _Kind({0: 2}, strings=(1,)), 12: _Kind()}
_SCHEMA_HEADER, _BATCH_HEADER = 1, 3


#: Their words of schema/column.py; the others by bits (Int), by unit (Timestamp) and by their items (List).
_INT, _TIMESTAMP, _LIST = 2, 10, 12
_WORDS = {4: "bytes", 5: "text", 6: "bool"}
_WIDTHS = {16: "int16", 32: "int32", 64: "int64"}
_MICROSECOND = 2


@dataclass(frozen=True)
class Said:
    """What one message says: of a schema its columns' names and types (a key of column.TYPES, empty for none of these); of a record
    batch its rows, and (place, bytes) of each buffer in the `body` bytes behind it."""

    body: int
    columns: tuple[tuple[str, str], ...] | None = None
    rows: int = 0
    buffers: tuple[tuple[int, int], ...] = ()


def check(stream: Any) -> None:
    """Every message of a stream. DamagedError for one that points elsewhere, or has what no stream of ours has."""
    for _ in messages(stream):
        pass


def messages(stream: Any) -> Iterator[tuple[int, int, Said]]:
    """Each message: where it begins, where its body does, and what it says; DamagedError as in `check`."""
    data, at = memoryview(stream), 0
    while at < len(data):
        mark, size = _read(data, "<Ii", at)
        if mark != _CONTINUED or size < 0 or size > len(data) - at - 8:
            raise _odd(f"no message begins at byte {at}")
        if not size:
            return
        said = _said(data[at + 8 : at + 8 + size])
        yield at, at + 8 + size, said
        at += 8 + size + said.body
    if at > len(data):
        raise _odd("its last body is cut")


def _said(message: memoryview) -> Said:
    return _known(bytes(message)) if len(message) <= _KEPT else _Message(message).check()


@lru_cache(maxsize=32)
def _known(message: bytes) -> Said:
    """Chunk after chunk begins with the same schema, and that is nearly all of the cost."""
    return _Message(memoryview(message)).check()


def _read(data: memoryview, form: str, at: int) -> tuple[Any, ...]:
    _within(data, at, struct.calcsize(form))
    return struct.unpack_from(form, data, at)


def _within(data: memoryview, at: int, size: int) -> None:
    if not 0 <= at <= len(data) - size:
        raise _odd(f"{size} bytes at {at} lie outside of a message of {len(data)}")


def _odd(what: str) -> DamagedError:
    return DamagedError(f"the rows of a chunk are no Arrow stream: {what}")


class _Message:
    """One message's flatbuffer."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self._left = _MOST

    def check(self) -> Said:
        """What it says."""
        root = self._table(self._follow(0), _MESSAGE)
        kind = self._number("<B", root[1])
        body = self._number("<q", root[3]) if 3 in root else 0
        if body < 0:
            raise _odd(f"a body of {body} bytes")
        if kind == _SCHEMA_HEADER:
            schema = self._table(self._follow(root[2]), _SCHEMA)
            return Said(body, tuple(self._fields(schema[1], _DEPTH)))
        if kind != _BATCH_HEADER:
            raise _odd(f"a message of kind {kind}")
        return self._batch(self._table(self._follow(root[2]), _BATCH), body)

    def _batch(self, found: dict[int, int], body: int) -> Said:
        """Rows have a bit each at least, so none of the body's columns has more than it has bits; nanoarrow multiplies unlooked."""
        rows = self._number("<q", found[0]) if 0 in found else 0
        if not 0 <= rows <= 8 * body or not all(
            0 <= nulls <= length <= 8 * body for length, nulls in self._pairs(found[1])
        ):
            raise _odd(f"more rows than a body of {body} bytes can hold")
        buffers = self._pairs(found[2])
        if not all(0 <= place <= body and 0 <= size <= body - place for place, size in buffers):
            raise _odd(f"a column outside of its body of {body} bytes")
        return Said(body, None, rows, buffers)

    def _pairs(self, vector: int) -> tuple[tuple[int, int], ...]:
        """A vector of structs of two i64 (FieldNode, Buffer), whose bytes were looked at."""
        start = self._follow(vector)
        numbers = struct.unpack_from(f"<{2 * self._number('<I', start)}q", self.data, start + 4)
        return tuple(zip(numbers[::2], numbers[1::2], strict=True))

    def _fields(self, vector: int, depth: int) -> Iterator[tuple[str, str]]:
        if not depth:
            raise _odd("columns nested too deep")
        start = self._follow(vector)
        for number in range(self._number("<I", start)):
            self._left -= 1
            if self._left < 0:
                raise _odd(f"more than {_MOST} columns")
            found = self._table(self._follow(start + 4 + 4 * number), _FIELD)
            kind = self._number("<B", found[2])
            if kind not in _TYPES:
                raise _odd(f"a column of type {kind}, which none of ours has")
            type_ = self._table(self._follow(found[3]), _TYPES[kind])
            items = [word for _, word in self._fields(found[5], depth - 1)] if 5 in found else []
            yield self._text(found[0]), self._word(kind, type_, items)

    def _word(self, kind: int, type_: dict[int, int], items: list[str]) -> str:
        if kind == _LIST:
            return "list" if items == ["text"] else ""
        if items:
            return ""
        if kind == _INT:
            signed = 1 in type_ and self._number("<B", type_[1])
            return _WIDTHS.get(self._number("<i", type_[0]) if 0 in type_ else 0, "") if signed else ""
        if kind == _TIMESTAMP:
            unit = self._number("<h", type_[0]) if 0 in type_ else 0
            return "time" if unit == _MICROSECOND and 1 not in type_ else ""
        return _WORDS[kind]

    def _text(self, at: int) -> str:
        """A string, whose bytes were looked at."""
        start = self._follow(at)
        return bytes(self.data[start + 4 : start + 4 + self._number("<I", start)]).decode("utf-8", "replace")

    def _table(self, at: int, kind: _Kind) -> dict[int, int]:
        """Where the fields of a table stand, each looked at."""
        vtable = at - self._number("<i", at)
        size, length = _read(self.data, "<HH", vtable)
        _within(self.data, at, length)
        slots = _read(self.data, f"<{max(size - 4, 0) // 2}H", vtable + 4)
        found = {index: at + slot for index, slot in enumerate(slots) if slot}
        if any(slot >= length for slot in slots) or not set(kind.needed) <= found.keys():
            raise _odd(f"a table at {at} lacks a field, or has it outside of it")
        filled = {index for index in kind.empty if index in found and self._number("<I", self._follow(found[index]))}
        if filled or not found.keys().isdisjoint(kind.strange):
            raise _odd(f"a table at {at} has what no stream of ours has")
        for index, bytes_ in kind.plain.items():
            if index in found:
                _within(self.data, found[index], bytes_)
        for index, bytes_ in (*((index, 1) for index in kind.strings), *kind.vectors.items()):
            if index in found:
                start = self._follow(found[index])
                _within(self.data, start + 4, self._number("<I", start) * bytes_)
        return found

    def _follow(self, at: int) -> int:
        return at + int(self._number("<I", at))

    def _number(self, form: str, at: int) -> int:
        number: int = _read(self.data, form, at)[0]
        return number
