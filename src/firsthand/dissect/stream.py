"""One direction of a TCP stream put together from packets: in order, each byte once, bounded.

Packets come in any order (each CPU sends its own), some twice, and some with less payload than they had on the wire. An offset is
the number of bytes of this direction before a packet, modulo 2^32.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

#: What waits for an earlier packet: so many at most, and so many bytes.
AHEAD, AHEAD_BYTES = 16, 65536
#: Of one DNS message over TCP this much is read; the rest is passed over.
MESSAGE = 16384
_LENGTH = struct.Struct("!H")


class Pieces:
    """Payloads in the order of their offsets, from offset 0."""

    def __init__(self) -> None:
        self.next = 0
        self._ahead: dict[int, tuple[bytes, int]] = {}

    @property
    def waiting(self) -> int:
        """Bytes that wait for what comes before them."""
        return sum(len(payload) for payload, _ in self._ahead.values())

    def take(self, offset: int, payload: bytes, length: int) -> Iterator[tuple[bytes, int]]:
        """What is now known in order: bytes, and how many behind them were not copied. `length` is the payload's true one."""
        length = max(length, len(payload))
        if _after(offset, self.next) > 0:
            self._keep(offset, payload, length)
            return
        yield from self._new(offset, payload, length)
        while (at := next((at for at in self._ahead if _after(at, self.next) <= 0), None)) is not None:
            yield from self._new(at, *self._ahead.pop(at))

    def _new(self, offset: int, payload: bytes, length: int) -> Iterator[tuple[bytes, int]]:
        known = -_after(offset, self.next)
        if known >= length:
            return
        self.next = (offset + length) & 0xFFFFFFFF
        fresh = payload[known:]
        yield fresh, length - max(known, len(payload))

    def _keep(self, offset: int, payload: bytes, length: int) -> None:
        known = self._ahead.pop(offset, (b"", 0))
        longer = max(known, (payload, length), key=lambda one: len(one[0]))
        if len(self._ahead) < AHEAD and self.waiting + len(longer[0]) <= AHEAD_BYTES:
            self._ahead[offset] = longer


def _after(offset: int, other: int) -> int:
    """How far an offset lies behind another one, negative before it."""
    return ((offset - other + 0x80000000) & 0xFFFFFFFF) - 0x80000000


class Messages:
    """DNS messages of a stream, each with two bytes of its length before it (RFC 1035, 4.2.2)."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._skip = 0
        self.lost = False

    @property
    def pending(self) -> int:
        """Bytes of a message that is not whole yet."""
        return len(self._data)

    def take(self, fresh: bytes, missing: int) -> Iterator[tuple[bytes, int]]:
        """Messages that are now known, and the true length of each. After `lost` the stream's place is not known any more."""
        if self.lost:
            return
        passed = min(self._skip, len(fresh))
        self._skip -= passed
        self._data += fresh[passed:]
        yield from self._whole()
        if missing:
            yield from self._over(missing)

    def _whole(self) -> Iterator[tuple[bytes, int]]:
        while len(self._data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data)
            if len(self._data) - _LENGTH.size < min(length, MESSAGE):
                return
            yield self._cut(length), length

    def _cut(self, length: int) -> bytes:
        """The message at the front, as far as it is there and read; what still comes of it is passed over."""
        end = _LENGTH.size + length
        found = bytes(self._data[_LENGTH.size : min(end, _LENGTH.size + MESSAGE)])
        self._skip = max(0, end - len(self._data))
        del self._data[:end]
        return found

    def _over(self, missing: int) -> Iterator[tuple[bytes, int]]:
        """Bytes that were not copied: the message in which they are ends where it is known to end."""
        if not self._skip and len(self._data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data)
            yield self._cut(length), length
        self.lost = self._skip < missing
        self._skip -= min(self._skip, missing)
        self._data.clear()

    def rest(self) -> tuple[bytes, int] | None:
        """The message that never became whole, and its true length; the stream goes on behind it."""
        if not self._data:
            return None
        if len(self._data) < _LENGTH.size:
            self.lost = True
            return bytes(self._data), _LENGTH.size
        (length,) = _LENGTH.unpack_from(self._data)
        return self._cut(length), length
