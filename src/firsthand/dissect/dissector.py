"""Packets in, rows out: one exchange with the observer, bounded in time and size whatever the packets hold."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from firsthand.dissect import frame, names, requests
from firsthand.dissect.frame import ANSWERED, ASKED, MOST_PACKETS, PACKET, ROWS, ROWS_OF, FrameReader
from firsthand.dissect.packet import Bounded, Packet, Row

#: What one exchange may take: seconds, and bytes of rows. Packets beyond are left unread, and counted.
SECONDS = 1.0
ROW_BYTES = 8 << 20
#: By packet_kind: its word again, the table of its rows, and who reads it.
_READERS = {"dns": ("dns", "name", "names"), "head": ("head", "request", "requests")}


class Dissector:
    """All that is kept between packets. `read` answers one frame."""

    def __init__(self, resolvers: Sequence[str] = (), *, keep_query: bool = False) -> None:
        self.names = names.DnsReader(resolvers)
        self.requests = requests.Requests(keep_query=keep_query)

    def read(self, body: memoryview) -> bytes:
        """The answer to a frame of packets. ValueError for a frame that is none."""
        reader = FrameReader(body)
        first, since, now, rows, last = reader.numbers(ASKED)
        if rows > MOST_PACKETS:
            raise ValueError(f"{rows} packets at once; at most {MOST_PACKETS}")
        columns = frame.rows_of(PACKET, rows, reader)
        reader.end()
        self.names.since = max(self.names.since, since)
        found: dict[str, list[Row]] = {"name": [], "request": []}
        unread = self._all(sorted(_packets(first, columns), key=lambda packet: packet.ktime), found)
        found["name"] += self.names.late(now, all_of_them=bool(last))
        found["request"] += self.requests.late(now, all_of_them=bool(last))
        return frame.framed(ROWS, self._answer(found, unread, first))

    def _all(self, packets: Sequence[Packet], found: dict[str, list[Row]]) -> dict[str, int]:
        """Rows of packets, as far as there is time; how many of each kind were left."""
        unread = {"dns": 0, "head": 0}
        until, size = time.monotonic() + SECONDS, 0
        for packet in packets:
            kind, table, reader = _READERS["dns" if packet.kind == "dns" else "head"]
            try:
                if size > ROW_BYTES or time.monotonic() > until:
                    raise TimeoutError
                rows = list(getattr(self, reader).take(packet))
            except Exception:  # a fault of ours must not be a way to blind it
                unread[kind] += 1
                self.names.since = max(self.names.since, packet.ktime)  # it may be an answer
                continue
            found[table] += rows
            size += sum(map(_size, rows))
        return unread

    def _answer(self, found: dict[str, list[Row]], unread: dict[str, int], first: int) -> Iterator[bytes]:
        held = self._held(first)
        yield ANSWERED.pack(len(found["name"]), len(found["request"]), len(held), *unread.values(), *self.measures())
        for table, rows in found.items():
            yield from frame.packed(ROWS_OF[table], rows)
        yield from frame.packed((("packet", "int64"),), [{"packet": number} for number in held])

    def _held(self, first: int) -> list[int]:
        """Packets of this exchange that a later row may be of."""
        kept: list[Bounded] = [*self.names.touched, *self.requests.touched]
        touched = [*(one.first.number for one in kept if one.first), *self.names.kept]
        self.names.kept.clear()
        self.names.touched.clear()
        self.requests.touched.clear()
        return sorted({number for number in touched if number >= first})

    def measures(self) -> tuple[int, int, int, int]:
        """How full each bounded table is, in the order of frame.LIMITS."""
        streams = len(self.names.streams) + len(self.requests.streams)
        return len(self.names.questions), streams, len(self.names.tunnels), len(self.requests.named)


def _packets(first: int, columns: dict[str, list[object]]) -> Iterable[Packet]:
    rows = zip(*(columns[name] for name, _ in PACKET), strict=True)
    for number, row in enumerate(rows, first):
        yield Packet(number, *(_plain(name, value) for (name, _), value in zip(PACKET, row, strict=True)))  # type: ignore[arg-type]


def _plain(name: str, value: object) -> object:
    return value if not isinstance(value, bytes) or name == "payload" else value.decode("utf-8", "replace")


def _size(row: Row) -> int:
    """About what a row takes in a frame."""
    return 400 + sum(map(len, row.get("records") or ()))
