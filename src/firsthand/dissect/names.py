"""Rows of `name`: DNS messages of datagrams and streams, each answer with its question, and questions that have none."""

from __future__ import annotations

import ipaddress
import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from firsthand.dissect import dns
from firsthand.dissect.frame import LIMITS
from firsthand.dissect.packet import Packet, Recent, Row, Streams
from firsthand.dissect.stream import Messages, Pieces
from firsthand.dissect.tunnel import Tunnels

#: Questions that wait for their answers; streams of DNS over TCP, and bytes of these.
QUESTIONS = LIMITS["questions"]
STREAMS, STREAM_BYTES = LIMITS["streams"] // 2, 4 << 20
#: A message that does not become whole within so many seconds is told as far as it came.
PATIENCE = 5.0
#: An answer is without a question only where questions were seen for so many seconds: resolvers ask again after it.
SURE = 5.0
#: A question is unanswered where no answer has come within so many seconds.
UNANSWERED = 5.0
UNASKED, FOREIGN, TUNNEL = "UNASKED", "FOREIGN_RESOLVER", "TUNNEL"
#: The order in which marks are told.
MARKS = (dns.MALFORMED, dns.LOOP, dns.OVERSIZED, dns.TRUNCATED, UNASKED, FOREIGN, TUNNEL)
#: Messages that one packet may complete.
MESSAGES = 64
_PORT = 53
_REASON = 500


class Resolvers:
    """The addresses and networks that are the cluster's resolvers. ValueError for a word that is neither."""

    def __init__(self, words: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(word, strict=False) for word in words]
        self.holds = lru_cache(maxsize=4096)(self._holds)

    def _holds(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found.version == network.version and found in network for network in self._networks)


@dataclass
class Conversation:
    """One direction of DNS over TCP."""

    pieces: Pieces = field(default_factory=Pieces)
    messages: Messages = field(default_factory=Messages)
    first: Packet | None = None
    told: bool = False

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self.pieces.waiting + self.messages.pending


class OpenQuestion(NamedTuple):
    """A question that waits for its answer: its moment (ns), the number of its packet, and what its row will say."""

    ktime: int
    number: int
    row: Row


class DnsReader:
    """Packets of DNS to rows. `since` (ns): from when on every packet was seen. `kept`: packets of questions that wait."""

    def __init__(self, resolvers: Sequence[str]) -> None:
        self.resolvers = Resolvers(resolvers)
        self.questions = Recent(QUESTIONS)
        self.streams: Streams[Conversation] = Streams(STREAMS, STREAM_BYTES)
        self.tunnels = Tunnels()
        self.since = 0
        self.touched: list[Conversation] = []
        self.waiting: OrderedDict[tuple[int, str, int], OpenQuestion] = OrderedDict()
        self.kept: list[int] = []

    def take(self, packet: Packet) -> Iterator[Row]:
        """The rows of one packet."""
        if packet.transport == "udp":
            yield self._row(packet, packet.payload, packet.length, datagram=True)
        else:
            yield from self._stream(packet)

    def _stream(self, packet: Packet) -> Iterator[Row]:
        one = self.streams.get(packet.stream) or Conversation()
        rows = 0
        for fresh, missing in one.pieces.take(packet.offset, packet.payload, packet.length):
            for wire, length in one.messages.take(fresh, missing):
                rows += 1
                if rows <= MESSAGES:
                    yield self._row(packet, wire, length, datagram=False)
        if rows > MESSAGES:
            yield self._broken(packet, f"{rows} messages in one packet; {MESSAGES} were read")
        if not one.size:
            one.first = None
        elif rows or one.first is None:
            one.first = packet
        if one.messages.lost and not one.told:
            one.told = True
            yield self._broken(packet, "a message's beginning was not copied: the rest of this stream is not read")
        self.touched.append(one)
        for gone in self.streams.put(packet.stream, one):
            yield from self._given_up(gone)

    def late(self, now: int, *, all_of_them: bool = False) -> Iterator[Row]:
        """Messages that will not become whole any more."""
        for key, one in self.streams.late(now + 1 if all_of_them else now - int(PATIENCE * 1e9)):
            yield from self._given_up(one)
            yield from itertools.chain.from_iterable(map(self._given_up, self.streams.put(key, one)))
        yield from self._unanswered(now - int(UNANSWERED * 1e9))

    def _unanswered(self, before: int) -> Iterator[Row]:
        """Questions of before a moment that nothing answered, where an answer would have been seen."""
        while self.waiting and next(iter(self.waiting.values())).ktime < before:
            _, asked = self.waiting.popitem(last=False)
            if asked.ktime > self.since:
                yield asked.row | {"event": "unanswered", "reason": f"no answer on this socket within {UNANSWERED:g} s"}

    def _wait(self, key: tuple[int, str, int], packet: Packet, message: dns.Message, length: int) -> None:
        """Look for the answer to a question; one that is asked again meanwhile goes on waiting since the first time."""
        if key in self.waiting and self.waiting[key].row["name"] == message.name:
            return
        row: Row = {"packet": packet.number, "query_id": message.id, "name": message.name, "type": message.type}
        self.waiting[key] = OpenQuestion(packet.ktime, packet.number, row | {"message_bytes": length})
        self.waiting.move_to_end(key)
        self.kept.append(packet.number)
        while len(self.waiting) > QUESTIONS:
            _, gone = self.waiting.popitem(last=False)
            self.since = max(self.since, gone.ktime)

    def _given_up(self, one: Conversation) -> Iterator[Row]:
        packet, one.first = one.first, None
        if packet is None:
            return
        rest = one.messages.rest()
        if rest is not None:
            yield self._row(packet, *rest, datagram=False)
        elif one.pieces.waiting and not one.told:
            one.told = True
            yield self._broken(packet, f"what comes before byte {packet.offset} of the stream was not seen")
            one.messages.lost = True
            one.pieces = Pieces()

    def _broken(self, packet: Packet, reason: str) -> Row:
        """What of a stream cannot be read; whether a question on it was answered is then not known."""
        for key in [key for key in self.waiting if key[0] == packet.cookie]:
            del self.waiting[key]
        event = "question" if (packet.direction == "out") == (packet.peer_port == _PORT) else "answer"
        return {"packet": packet.number, "event": event, "marks": dns.TRUNCATED, "reason": reason}

    def _row(self, packet: Packet, wire: bytes, length: int, *, datagram: bool) -> Row:
        message = dns.read(wire, length=length, datagram=datagram)
        if not datagram and length > len(wire) and len(wire) >= dns.TEXT:
            message.mark(dns.OVERSIZED, f"a message of {length} bytes over TCP")
        latency = self._conversation(packet, message, length)
        self._remark(packet, message)
        row: Row = {"packet": packet.number, "query_id": message.id, "name": message.name, "type": message.type}
        row |= {"event": _event(packet, message), "message_bytes": length, "latency": latency}
        records = message.records()
        if message.response:
            addresses, ttl = message.addresses()
            row |= {"rcode": message.rcode, "addresses": addresses or None, "ttl": ttl, "records": records}
        elif records:
            row["records"] = records
        if message.marks:
            row["marks"] = ",".join(sorted(message.marks, key=MARKS.index))
        row["reason"] = "; ".join(message.reasons)[:_REASON] or None
        return row

    def _conversation(self, packet: Packet, message: dns.Message, length: int) -> int | None:
        """Remember a question, or find an answer's: the time between them in ns."""
        if message.id is None:
            return None
        if not message.response:
            gone = self.questions.put((packet.cookie, packet.direction, message.id), (packet.ktime, message.name))
            self.since = max(self.since, gone[0] if gone else 0)
            if message.name is not None and dns.TRUNCATED not in message.marks:
                self._wait((packet.cookie, packet.direction, message.id), packet, message, length)
            return None
        asker = "in" if packet.direction == "out" else "out"
        self.waiting.pop((packet.cookie, asker, message.id), None)
        asked, name = self.questions.get((packet.cookie, asker, message.id), (None, None))
        if asked is None:
            if packet.ktime - self.since > SURE * 1e9:
                message.mark(UNASKED, "no question with its id came before it on this socket")
            return None
        if message.name is not None and name is not None and message.name != name:
            message.mark(UNASKED, f"the question was for {name}")
        return packet.ktime - asked if packet.ktime >= asked else None

    def _remark(self, packet: Packet, message: dns.Message) -> None:
        if packet.peer_port != _PORT:
            return
        if not self.resolvers.holds(packet.peer):
            message.mark(FOREIGN, f"{packet.peer} is none of the resolvers")
        if message.name is None:
            return
        counts = self.tunnels.why if message.response else self.tunnels.asked
        why = counts(packet.who, message.name, packet.ktime / 1e9)
        if why:
            message.mark(TUNNEL, why)


def _event(packet: Packet, message: dns.Message) -> str:
    """By the message's own word, or, where it has none, by who sent it to which port."""
    if message.id is not None:
        return "answer" if message.response else "question"
    return "question" if (packet.direction == "out") == (packet.peer_port == _PORT) else "answer"
