"""Rows of `request`: the heads with which clients begin their streams, and names that contradict each other on one connection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from firsthand.dissect import hello, http
from firsthand.dissect.frame import LIMITS
from firsthand.dissect.packet import Packet, Recent, Row, Streams
from firsthand.dissect.stream import Pieces

#: Streams whose head is not whole yet, and bytes of these; streams and connections that are remembered.
STREAMS, STREAM_BYTES = LIMITS["streams"] // 2, 8 << 20
REMEMBERED = LIMITS["connections"]
#: A head that does not become whole within so many seconds is told as far as it came.
PATIENCE = 5.0
#: packet_kind of what was given to libssl.
PLAIN = "plain"
_MOST = max(hello.HELLO + 5, http.HEAD)
_REASON = 500


@dataclass
class StreamHead:
    """The beginning of one direction of a stream; `cut`: what comes next was not copied."""

    pieces: Pieces = field(default_factory=Pieces)
    data: bytearray = field(default_factory=bytearray)
    first: Packet | None = None
    cut: bool = False
    hello: hello.ClientHello | None = None

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return len(self.data) + self.pieces.waiting


class Requests:
    """Packets of heads to rows."""

    def __init__(self, *, keep_query: bool = False) -> None:
        self._keep_query = keep_query
        self.streams: Streams[StreamHead] = Streams(STREAMS, STREAM_BYTES)
        self._done = Recent(REMEMBERED)
        self.named = Recent(REMEMBERED)
        self.touched: list[StreamHead] = []

    def take(self, packet: Packet) -> Iterator[Row]:
        """The rows of one packet: of its own stream's head, and of those that had to go for it."""
        if packet.stream in self._done:
            return
        one = self.streams.get(packet.stream) or StreamHead(first=packet)
        for fresh, missing in one.pieces.take(packet.offset, packet.payload, packet.length):
            if not one.cut:
                one.data += fresh[: _MOST - len(one.data)]
                one.hello = None
            one.cut |= bool(missing) or len(one.data) >= _MOST or packet.kind == PLAIN  # of which no more comes
        if self._is_open(one):
            self.touched.append(one)
            for gone in self.streams.put(packet.stream, one):
                yield from self._end(gone)
            return
        if self.streams.get(packet.stream):
            self.streams.drop(packet.stream)
        yield from self._end(one)

    def late(self, now: int, *, all_of_them: bool = False) -> Iterator[Row]:
        """Heads that will not become whole any more."""
        for key, one in self.streams.late(now + 1 if all_of_them else now - int(PATIENCE * 1e9)):
            self.streams.drop(key)
            yield from self._end(one)

    def _is_open(self, one: StreamHead) -> bool:
        """Whether more of it is to be waited for."""
        data = bytes(one.data)
        if one.cut or not data:
            return not one.cut
        if hello.looks_like(data):
            one.hello = found = hello.read(data)
            return not found.whole and found.reason is None and found.length <= hello.HELLO
        if not http.looks_like(data):
            return False
        request = http.read(data)
        return request is None or not (request.whole or request.reasons)

    def _end(self, one: StreamHead) -> Iterator[Row]:
        """The row of a head, as far as it came; none where it is nobody's that we know."""
        assert one.first is not None
        self._done.put(one.first.stream, None)
        packet, one.first = one.first, None
        data = bytes(one.data)
        if hello.looks_like(data) and len(data) >= hello.FIRST:
            row = _of_hello(one.hello or hello.read(data), len(data))
        elif (request := http.read(data, keep_query=self._keep_query)) is not None:
            row = _of_request(request)
        elif one.cut and data and not data.strip(http.BLANKS):
            row = _of_request(
                http.HttpRequest(None, length=len(data), notes=["blank lines, and nothing else that was copied"])
            )
        else:
            return
        row |= {"packet": packet.number, "within_tls": packet.kind == PLAIN}
        self._compare(packet.cookie, row)
        row["marks"], row["reason"] = ",".join(row["marks"]) or None, "; ".join(row["reason"])[:_REASON] or None
        yield row

    def _compare(self, cookie: int, row: Row) -> None:
        """FRONTED where a connection's server name and Host differ: on the later of both."""
        name = row.get("sni") or row.get("host")
        if name is None:
            return
        event, before = self.named.get(cookie, (row["event"], name))
        self.named.put(cookie, (event, before))
        if event == row["event"] or before == name:
            return
        row["marks"].insert(0, "FRONTED")
        inner = "server name" if event == "tls" else "Host"
        row["reason"].append(f"the connection's {inner} was {before}")


def _of_hello(found: hello.ClientHello, seen: int) -> Row:
    marks = [word for word, there in _marks_of(found) if there]
    row: Row = {"event": "tls", "protocol": "tls", "message_bytes": found.length or seen, "sni": found.sni}
    row |= {"marks": marks, "reason": [found.reason] if found.reason else []}
    if found.whole:
        row |= {"tls_version": found.version_name, "ja4": found.ja4}
    elif not found.reason:
        row["reason"].append(f"{seen} bytes of it are at hand")
    row["ech"] = True if found.ech else (False if found.whole else None)
    row["alpn"] = [one.decode("utf-8", "backslashreplace") for one in found.alpn] or None
    return row


def _marks_of(found: hello.ClientHello) -> list[tuple[str, bool]]:
    return [
        ("NO_SNI", found.whole and found.sni is None),
        ("MALFORMED", found.reason is not None),
        ("TRUNCATED", not found.whole and found.reason is None),
    ]


def _of_request(found: http.HttpRequest) -> Row:
    marks = ["MALFORMED"] if found.reasons else []
    marks += [] if found.whole or found.reasons else ["TRUNCATED"]
    reasons = [*found.reasons, *found.notes]
    if not found.reasons and not found.whole:
        reasons.append(f"its end is not within {found.length} bytes")
    row: Row = {"event": "http", "protocol": found.protocol, "message_bytes": found.length, "method": found.method}
    row |= {"host": found.host, "url_path": found.path, "user_agent": found.agent, "marks": marks, "reason": reasons}
    return row
