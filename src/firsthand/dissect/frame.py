"""What the observer and the dissector say to each other over their stream socket: frames, and columns of rows in them.

    frame    length u32 (of all behind it), kind u8, body
    hello    dissector to observer, once: it has begun; no body
    packets  observer to dissector: ASKED, then the columns PACKET of `rows` packets
    rows     dissector to observer: ANSWERED, then for each table of ROWS its columns, then the numbers that are held back

All little-endian. A column of n rows begins with a byte that says whether n bytes follow which tell null (0) from value (1). Then
int64: n numbers; text: n + 1 offsets (u32) and the bytes; list: n + 1 offsets into items, and the items as a text column
without that byte. A number of a packet is its place among all packets of this line.

The dissector packs and unpacks with the standard library alone; `parts` gives the pieces of a column so that the observer
makes arrays of them, and checks every length against what is there: ValueError for anything that does not fit.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from firsthand.schema.tables import TABLES

HEAD = struct.Struct("<IB")
HELLO, PACKETS, ROWS = 1, 2, 3
#: first number, since when packets came whole (ns), now (ns), rows, whether it is the last
ASKED = struct.Struct("<QqqIB")
#: rows of each table, numbers held back, packets left unread (of DNS, of heads), and four measures
ANSWERED = struct.Struct("<IIIIIIIII")
#: What the dissector keeps between packets, in the order of ANSWERED's measures, and how much at most: questions that wait for
#: answers; streams whose next message or head is not whole; pods' domains with long names; connections by their first name.
LIMITS = {"questions": 16384, "streams": 4096, "tunnels": 2048, "connections": 16384}

#: A frame's bytes at most; packets and messages of one frame at most.
MOST_BYTES = 16 << 20
MOST_PACKETS = 512
MOST_MESSAGES = 64
MOST_HELD = 20480
MOST_ROWS = MOST_PACKETS * MOST_MESSAGES + MOST_HELD

#: Columns of a packet as the dissector needs them, in the order of packet.Packet.
PACKET: tuple[tuple[str, str], ...] = (
    ("ktime", "int64"),
    ("cookie", "int64"),
    ("stream_offset", "int64"),
    ("payload_length", "int64"),
    ("ns_net", "int64"),
    ("pod_uid", "text"),
    ("direction", "text"),
    ("transport", "text"),
    ("packet_kind", "text"),
    ("peer_address", "text"),
    ("peer_port", "int64"),
    ("payload", "text"),
)
_NAME = (
    "event",
    "message_bytes",
    "query_id",
    "name",
    "type",
    "rcode",
    "records",
    "addresses",
    "ttl",
    "latency",
    "marks",
    "reason",
)
_REQUEST = (
    "event",
    "message_bytes",
    "protocol",
    "sni",
    "ech",
    "alpn",
    "tls_version",
    "ja4",
    "method",
    "host",
    "url_path",
    "user_agent",
    "marks",
    "reason",
    "within_tls",
)
#: Columns that the dissector tells, behind `packet`, the number of the packet that a row is of.
TOLD: dict[str, tuple[str, ...]] = {"name": _NAME, "request": _REQUEST}


def _kind(table: str, name: str) -> str:
    kind = TABLES[table].column(name).type
    return kind if kind in ("text", "list") else "int64"


ROWS_OF: dict[str, tuple[tuple[str, str], ...]] = {
    table: (("packet", "int64"), *((name, _kind(table, name)) for name in names)) for table, names in TOLD.items()
}


@dataclass
class Part:
    """A column as it lies in a frame: `valid` one byte a row, `values` int64 or bytes, offsets u32; what it does not have is None."""

    kind: str
    valid: memoryview | None = None
    values: memoryview = field(default_factory=lambda: memoryview(b""))
    offsets: memoryview | None = None
    items: memoryview | None = None


class FrameReader:
    """A body from its front. ValueError where it ends too early or says what cannot be."""

    def __init__(self, body: memoryview) -> None:
        self._rest = body

    def numbers(self, form: struct.Struct) -> tuple[int, ...]:
        """Fixed numbers."""
        return form.unpack(self.take(form.size))

    def take(self, size: int) -> memoryview:
        """The next bytes."""
        if size < 0 or size > len(self._rest):
            raise ValueError(f"a frame ends {size - len(self._rest)} bytes too early")
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def end(self) -> None:
        """Nothing may be left."""
        if len(self._rest):
            raise ValueError(f"a frame has {len(self._rest)} bytes too many")

    def column(self, kind: str, rows: int) -> Part:
        """One column of so many rows."""
        flag = self.take(1)[0]
        if flag > 1:
            raise ValueError(f"a column begins with {flag}, not with 0 or 1")
        found = Part(kind, self.take(rows) if flag else None)
        if kind == "int64":
            found.values = self.take(8 * rows)
            return found
        found.offsets, items = self._offsets(rows)
        if kind == "list":
            found.items, items = self._offsets(items)
        found.values = self.take(items)
        return found

    def _offsets(self, rows: int) -> tuple[memoryview, int]:
        if rows > MOST_BYTES:
            raise ValueError(f"a column of {rows} rows")
        found = self.take(4 * (rows + 1))
        return found, struct.unpack("<I", found[-4:])[0]


def rows_of(columns: Sequence[tuple[str, str]], rows: int, reader: FrameReader) -> dict[str, list[Any]]:
    """Columns as lists of Python values, for the dissector: text as bytes. Only of a peer that is trusted."""
    return {name: _values(reader.column(kind, rows), rows) for name, kind in columns}


def _values(part: Part, rows: int) -> list[Any]:
    if part.offsets is None:
        return part.values.cast("q").tolist() if rows else []
    offsets = part.offsets.cast("I").tolist()
    found: list[Any] = [part.values[a:b].tobytes() for a, b in pairwise(offsets)]
    if part.valid is None:
        return found
    return [value if there else None for value, there in zip(found, part.valid, strict=True)]


def packed(columns: Sequence[tuple[str, str]], rows: Sequence[dict[str, Any]]) -> Iterable[bytes]:
    """Rows as columns: int, str or bytes, list of str, None."""
    for name, kind in columns:
        values = [row.get(name) for row in rows]
        yield _validity(values)
        if kind == "int64":
            yield array("q", [value or 0 for value in values]).tobytes()
        elif kind == "text":
            yield from _texts([_bytes(value) for value in values])
        else:
            yield _offsets([len(value or ()) for value in values])
            yield from _texts([_bytes(item) for value in values for item in value or ()])


def _validity(values: Sequence[Any]) -> bytes:
    if None not in values:
        return b"\0"
    return b"\1" + bytes(value is not None for value in values)


def _texts(texts: Sequence[bytes]) -> Iterable[bytes]:
    yield _offsets([len(text) for text in texts])
    yield b"".join(texts)


def _offsets(lengths: Sequence[int]) -> bytes:
    found = array("I", [0])
    at = 0
    for length in lengths:
        at += length
        found.append(at)
    return found.tobytes()


def _bytes(value: Any) -> bytes:
    if value is None:
        return b""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "backslashreplace")


def framed(kind: int, pieces: Iterable[bytes | memoryview]) -> bytes:
    """One frame, its length before it. ValueError where it would be too long."""
    body = b"".join(pieces)
    if len(body) > MOST_BYTES:
        raise ValueError(f"a frame of {len(body)} bytes; at most {MOST_BYTES}")
    return HEAD.pack(len(body) + 1, kind) + body
