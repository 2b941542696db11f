"""Whether the messages of an Arrow IPC stream point nowhere but into themselves.

nanoarrow follows what it finds in a message without a look at where it leads, and ends the process where that is nowhere. What is
looked at are the parts of Schema.fbs and Message.fbs (Arrow 1.0) that our streams have and nanoarrow reads.
Format: https://flatbuffers.dev/internals: a table is a signed offset back to its vtable (u16 size, u16 size of the table, u16 slots),
then fields; strings, vectors and tables stand at u32 offsets forward.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def check(stream: Any) -> None:
    """Every message of a stream. DamagedError for one that points elsewhere, or has what no stream of ours has."""
    data, at = memoryview(stream), 0
    while at < len(data):
        mark, size = _read(data, "<Ii", at)
        if mark != _CONTINUED or size < 0 or size > len(data) - at - 8:
            raise _odd(f"no message begins at byte {at}")
        if not size:
            return
        body = _body(data[at + 8 : at + 8 + size])
        at += 8 + size + body
    if at > len(data):
        raise _odd("its last body is cut")


def _body(message: memoryview) -> int:
    return _known(bytes(message)) if len(message) <= _KEPT else _Message(message).check()


@lru_cache(maxsize=32)
def _known(message: bytes) -> int:
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

    def check(self) -> int:
        """The bytes of the body behind it."""
        root = self._table(self._follow(0), _MESSAGE)
        kind = self._number("<B", root[1])
        body = self._number("<q", root[3]) if 3 in root else 0
        if body < 0:
            raise _odd(f"a body of {body} bytes")
        if kind == _SCHEMA_HEADER:
            schema = self._table(self._follow(root[2]), _SCHEMA)
            self._fields(schema[1], _DEPTH)
        elif kind == _BATCH_HEADER:
            self._batch(self._table(self._follow(root[2]), _BATCH), body)
        else:
            raise _odd(f"a message of kind {kind}")
        return body

    def _batch(self, found: dict[int, int], body: int) -> None:
        """Rows have a bit each at least, so none of the body's columns has more than it has bits; nanoarrow multiplies unlooked."""
        rows = self._number("<q", found[0]) if 0 in found else 0
        lengths, nulls = self._pairs(found[1])
        if not 0 <= rows <= 8 * body or not np.all((nulls >= 0) & (nulls <= lengths) & (lengths <= 8 * body)):
            raise _odd(f"more rows than a body of {body} bytes can hold")
        places, sizes = self._pairs(found[2])
        if not np.all((places >= 0) & (sizes >= 0) & (places <= body) & (sizes <= body - places)):
            raise _odd(f"a column outside of its body of {body} bytes")

    def _pairs(self, vector: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """A vector of structs of two i64 (FieldNode, Buffer), whose bytes were looked at."""
        start = self._follow(vector)
        pairs = np.frombuffer(self.data, dtype="<i8", count=2 * self._number("<I", start), offset=start + 4)
        return pairs[::2], pairs[1::2]

    def _fields(self, vector: int, depth: int) -> None:
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
            self._table(self._follow(found[3]), _TYPES[kind])
            if 5 in found:
                self._fields(found[5], depth - 1)

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
