"""One chunk of the durable log, as bytes: what one append makes durable at once (law 3).

    struct  fixed header, 48 bytes, little-endian: magic, salt u64, offset u64, payload length u64, header length u32,
            reserved u32, checksum u32 (CRC-32 of header and payload), checksum u32 of the 44 bytes before
    header  JSON, padded with spaces to 8 bytes: node, boot, written, spans, durable, tables [[name, rows, bytes], ...]
    payload one Arrow IPC stream per table, in that order

The salt is random per file and the offset is the chunk's own: a chunk's image inside a row's text can never be taken
for a chunk when a reader looks for the next good one behind damage.
"""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from firsthand.errors import DamagedError
from firsthand.history._crc import crc32

#: A piece of a chunk; a memoryview is one of bytes.
Piece = bytes | memoryview

MAGIC = b"FHCHUNK1"
FIXED = struct.Struct("<8sQQQIIII")
_CHECKED = FIXED.size - 4
#: A chunk's header and payload are at most this long; a longer length is damage.
LIMIT = 512 << 20
_HEADER_LIMIT = 1 << 20
_NAME = re.compile(r"[a-z_]{1,40}")
#: What a header's text raises that is none.
UNREADABLE = (ValueError, KeyError, TypeError, RecursionError)


class RingSpan(NamedTuple):
    """Positions of one ring (bytes, as its counters run) whose records are in a chunk: from `start`, before `end`."""

    ring: int
    incarnation: int
    start: int
    end: int


class Position(NamedTuple):
    """A place in the log: a file's number and an offset in it. Ordered."""

    file: int
    offset: int


@dataclass(frozen=True)
class Header:
    """What a chunk says of itself. `written` is CLOCK_REALTIME in microseconds; `durable` the last end per
    (ring, incarnation) up to and with this chunk; `tables` (name, rows, bytes); `state` what the writer told of itself, for whoever
    goes on after it."""

    node: str
    boot: str
    written: int
    spans: tuple[RingSpan, ...]
    durable: Mapping[tuple[int, int], int]
    tables: tuple[tuple[str, int, int], ...]
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Chunk:
    """A chunk that passed its checksum (CRC-32 of header and payload), where it stands, and where the next one begins.

    `before`: its bytes before the payload, as they stand in the file.
    """

    header: Header
    position: Position
    next: Position
    payload: memoryview
    checksum: int = 0
    before: bytes = b""

    @property
    def raw(self) -> bytes:
        """The whole chunk, as it stands in the file."""
        return self.before + self.payload

    def tables(self) -> dict[str, bytes]:
        """Each table's Arrow IPC stream; a table that stands twice has its last stream only (see `streams`)."""
        return {name: stream.tobytes() for name, stream in self.streams()}

    def streams(self) -> Iterator[tuple[str, memoryview]]:
        """Each table's name and IPC stream, in the order of the append."""
        at = 0
        for name, _, size in self.header.tables:
            yield name, self.payload[at : at + size]
            at += size

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(rows for _, rows, _ in self.header.tables)


class Damage(NamedTuple):
    """Bytes that are no good chunk: from `at`, up to `resume` where a good one stands (None: none in this file)."""

    at: int
    resume: int | None


def pack(header: Header, payload: Sequence[Piece], salt: int, offset: int) -> tuple[bytes, int]:
    """The bytes before the payload, and the whole chunk's length."""
    text = _render(header)
    size = sum(map(len, payload))
    checksum = crc32(text)
    for piece in payload:
        checksum = crc32(piece, checksum)
    fixed = FIXED.pack(MAGIC, salt, offset, size, len(text), 0, checksum, 0)[:_CHECKED]
    return fixed + struct.pack("<I", crc32(fixed)) + text, FIXED.size + len(text) + size


def _render(header: Header) -> bytes:
    raw = {
        "node": header.node,
        "boot": header.boot,
        "written": header.written,
        "spans": header.spans,
        "durable": [[*key, end] for key, end in header.durable.items()],
        "tables": header.tables,
        **({"state": header.state} if header.state else {}),
    }
    text = json.dumps(raw, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def parse(text: bytes) -> Header:
    """A header from its JSON. ValueError, KeyError, TypeError or RecursionError where it is none."""
    raw = json.loads(text)
    return Header(
        _of(raw["node"], str),
        _of(raw["boot"], str),
        _number(raw["written"]),
        tuple(RingSpan(*map(_number, span)) for span in raw["spans"]),
        {(_number(ring), _number(incarnation)): _number(end) for ring, incarnation, end in raw["durable"]},
        tuple((_table(name), _number(rows), _number(size)) for name, rows, size in raw["tables"]),
        _of(raw.get("state", {}), dict),
    )


def _of(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, found {type(value).__name__}")
    return value


def _number(value: Any) -> int:
    """A count, a position or a time: none of them is below 0, and each fits 64 bits."""
    found: int = _of(value, int)
    if not 0 <= found < 1 << 64:
        raise ValueError(f"{found} is no count")
    return found


def _table(name: Any) -> str:
    """A table's name, which becomes one of a folder."""
    if not _NAME.fullmatch(_of(name, str)):
        raise ValueError(f"{name!r:.40} is no table's name")
    return str(name)


@dataclass
class ChunkFile:
    """One log file open for reading. `salt` is learnt from its first good chunk; `size` is read anew at each look."""

    descriptor: int
    number: int
    salt: int | None = None

    @property
    def size(self) -> int:
        """Bytes in the file now."""
        return os.fstat(self.descriptor).st_size

    def read(self, offset: int) -> Chunk | None:
        """The chunk at an offset; None where the file ends before the chunk does. DamagedError for a bad one."""
        start = os.pread(self.descriptor, FIXED.size, offset)
        if len(start) < FIXED.size:
            return None
        size, length, _ = self._fixed(start, offset)
        rest = os.pread(self.descriptor, length + size, offset + FIXED.size)
        return None if len(rest) < length + size else self.whole(start, rest, offset)

    def pieces(self, offset: int) -> tuple[bytes, memoryview]:
        """The header's text and the payload of a chunk whose checksum may not hold. DamagedError where its lengths do not."""
        start = os.pread(self.descriptor, FIXED.size, offset)
        if len(start) < FIXED.size:
            raise self.damaged(offset, "the file ends within its fixed header")
        size, length, _ = self._fixed(start, offset)
        rest = os.pread(self.descriptor, length + size, offset + FIXED.size)
        return rest[:length], memoryview(rest)[length:]

    def whole(self, start: bytes, rest: bytes, offset: int) -> Chunk:
        """The chunk of a fixed header and all that stands behind it. DamagedError for a bad one."""
        size, length, checksum = self._fixed(start, offset)
        if len(rest) != length + size:
            raise self.damaged(offset, f"it has {len(rest)} bytes behind its fixed header, not {length + size}")
        if crc32(rest) != checksum:
            raise self.damaged(offset, "its checksum does not hold")
        try:
            header = parse(rest[:length])
            if (held := sum(bytes_ for _, _, bytes_ in header.tables)) != size:
                raise ValueError(f"its tables have {held} bytes, and it has {size}")
        except UNREADABLE as error:
            raise self.damaged(offset, f"its header is unreadable ({error})") from error
        here, after = Position(self.number, offset), Position(self.number, offset + FIXED.size + len(rest))
        return Chunk(header, here, after, memoryview(rest)[length:], checksum, start + rest[:length])

    def skip(self, offset: int) -> int | None:
        """Where the chunk at an offset ends, by its fixed header alone; None where the file ends before."""
        start = os.pread(self.descriptor, FIXED.size, offset)
        if len(start) < FIXED.size:
            return None
        size, length, _ = self._fixed(start, offset)
        end = offset + FIXED.size + length + size
        return end if end <= self.size else None

    def was_whole(self, offset: int) -> bool:
        """Whether a bad chunk was once written whole, as far as its lengths tell: a write that was cut short ends before."""
        if self.size - offset < FIXED.size:
            return False
        try:
            return self.skip(offset) is not None
        except DamagedError:
            return True  # its own fixed header is bad: that is written first

    def _fixed(self, start: bytes, offset: int) -> tuple[int, int, int]:
        magic, salt, at, size, length, _, checksum, own = FIXED.unpack(start)
        if magic != MAGIC or crc32(start[:_CHECKED]) != own or at != offset:
            raise self.damaged(offset, "no chunk begins there")
        if size > LIMIT or length > _HEADER_LIMIT or self.salt not in (None, salt):
            raise self.damaged(offset, "its lengths or its salt are another file's")
        self.salt = salt
        return size, length, checksum

    def damaged(self, offset: int, what: str) -> DamagedError:
        """The error for a bad chunk of this file."""
        return DamagedError(
            f"log file {self.number:016d}.log is damaged at offset {offset}: {what}; the rows of that chunk are lost"
        )

    def resume(self, offset: int) -> int | None:
        """Where the first good chunk behind `offset` begins; None where there is none."""
        data = os.pread(self.descriptor, self.size - offset, offset)
        at = data.find(MAGIC, 1)
        while at >= 0:
            if self._good(offset + at):
                return offset + at
            at = data.find(MAGIC, at + 1)
        return None

    def _good(self, offset: int) -> bool:
        try:
            return self.read(offset) is not None
        except DamagedError:
            return False

    def walk(self, offset: int = 0) -> Iterator[Chunk | Damage]:
        """Every chunk from an offset to the file's end, and the damage between them."""
        while offset < self.size:
            try:
                chunk = self.read(offset)
            except DamagedError:
                chunk = None
            if chunk is not None:
                yield chunk
                offset = chunk.next.offset
                continue
            resume = self.resume(offset)
            yield Damage(offset, resume)
            if resume is None:
                return
            offset = resume


def unpack(raw: bytes, at: Position) -> Chunk:
    """The chunk whose bytes these are, from that place of its log. DamagedError where they are none."""
    if len(raw) < FIXED.size:
        raise DamagedError(f"{len(raw)} bytes are no chunk: its fixed header alone has {FIXED.size}")
    return ChunkFile(-1, at.file).whole(raw[: FIXED.size], raw[FIXED.size :], at.offset)


def latest(
    spans: Iterable[RingSpan], durable: Mapping[tuple[int, int], int], keep: int = 64
) -> dict[tuple[int, int], int]:
    """The last end per (ring, incarnation) after these spans; the `keep` that moved last, oldest first."""
    found = dict(durable)
    for span in spans:
        key = (span.ring, span.incarnation)
        found.pop(key, None)
        found[key] = span.end
    return dict(list(found.items())[-keep:])
