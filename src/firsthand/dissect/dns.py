"""One DNS message (RFC 1035) as plain values, by dnspython's readers of names and of records' data.

Bounded whatever the message says: at most RECORDS records, LABELS labels in all their names, RECORD characters of each and TEXT
of all. What goes beyond, ends too early or is malformed leaves what was read before it, with a mark and the reason.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import dns.exception
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.wire

RECORDS = 256
LABELS = 1024
RECORD = 1024
TEXT = 16384
#: Aliases that are followed from the name asked for (RFC 1034 gives no bound; resolvers follow about as many).
ALIASES = 16
#: A datagram that is longer than this is remarkable: no resolver offers more (RFC 9715, dnsflagday.net/2020).
LARGEST_DATAGRAM = 4096

MALFORMED, LOOP, OVERSIZED, TRUNCATED = "MALFORMED", "LOOP", "OVERSIZED", "TRUNCATED"
_HEADER = struct.Struct("!HHHHHH")
_RESPONSE, _TRUNCATED = 0x8000, 0x0200
_A, _CNAME, _AAAA, _OPT = 1, 5, 28, 41
_HINTS = (64, 65)  # SVCB, HTTPS


def _form_error(*words: str) -> Exception:
    found: Exception = dns.exception.FormError(*words)  # type: ignore[no-untyped-call]
    return found


#: What dnspython says where bytes are missing.
_ENDED = str(_form_error())


@dataclass(frozen=True)
class ResourceRecord:
    """One resource record: owner's name as in `Message.name`, type's number and word, data as in a zone file."""

    name: str
    number: int
    type: str
    ttl: int
    data: str
    hints: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """NAME TTL TYPE DATA."""
        return f"{self.name} {self.ttl} {self.type} {self.data}"


@dataclass
class Message:
    """What one message says. `name` lower case without the last dot, `.` for the root; `section` is of the answer alone."""

    id: int | None = None
    response: bool = False
    opcode: int = 0
    rcode: str | None = None
    name: str | None = None
    type: str | None = None
    questions: int = 0
    answers: list[ResourceRecord] = field(default_factory=list)
    others: list[ResourceRecord] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def mark(self, word: str, reason: str) -> None:
        """Say what is remarkable, and why."""
        if word not in self.marks:
            self.marks.append(word)
        self.reasons.append(reason)

    def addresses(self) -> tuple[list[str], int | None]:
        """Addresses for the name asked for, its aliases followed, and the least time to live on the way to them."""
        at, ways = self.name or "", list[int]()
        for _ in range(ALIASES):
            alias = next((r for r in self.answers if r.number == _CNAME and r.name == at), None)
            if alias is None:
                break
            at, ways = _plain(alias.data), [*ways, alias.ttl]
        found = [r for r in self.answers if r.name == at and (r.number in (_A, _AAAA) or r.hints)]
        addresses = dict.fromkeys(a for r in found for a in (r.hints or (r.data,)))
        return list(addresses), min([*ways, *(r.ttl for r in found)]) if addresses else None

    def records(self) -> list[str]:
        """Every record as text, bounded; what is cut is marked."""
        found, size = [], 0
        for record in (*self.answers, *self.others):
            text = record.text
            if len(text) > RECORD:
                text = text[:RECORD]
                self.mark(TRUNCATED, f"a record of {len(record.text)} characters")
            size += len(text)
            if size > TEXT:
                self.mark(TRUNCATED, f"more than {TEXT} characters of records")
                break
            found.append(text)
        return found


class _Parser(dns.wire.Parser):
    """dnspython's, with a bound on the labels of all names; a name that is a pointer alone is read once."""

    def __init__(self, wire: bytes) -> None:
        super().__init__(wire)
        self.labels = LABELS
        self._known: dict[bytes, dns.name.Name] = {}
        self._texts: dict[bytes, str] = {}

    def owner(self) -> str:
        """The name that stands here, as Message.name."""
        pointer = self.wire[self.current : self.current + 2]
        if pointer in self._texts:
            self.get_bytes(2)
            return self._texts[pointer]
        found = _plain(self.get_name(None, True).to_text())
        if pointer in self._known:
            self._texts[pointer] = found
        return found

    def get_name(self, origin: dns.name.Name | None = None, decompress: bool = False) -> dns.name.Name:
        begin = self.current
        pointer = self.wire[begin : begin + 2]
        known = self._known.get(pointer) if decompress else None
        if known is not None:
            self.get_bytes(2)
            return known
        found = dns.name.from_wire_parser(self, decompress)
        self.labels -= len(found.labels)
        if self.labels < 0:
            raise _form_error(f"more than {LABELS} labels in all names")
        if pointer[:1] >= b"\xc0":
            self._known[pointer] = found
        return found


def read(wire: bytes, *, length: int | None = None, datagram: bool = True) -> Message:
    """What `wire` says; `length` is its true length where less of it is at hand. Never fails."""
    found, whole = Message(), length is None or length <= len(wire)
    if datagram and (length or len(wire)) > LARGEST_DATAGRAM:
        found.mark(OVERSIZED, f"a datagram of {length or len(wire)} bytes")
    if len(wire) < _HEADER.size:
        found.mark(MALFORMED, f"{len(wire)} bytes are no DNS message")
        return found
    parser = _Parser(wire)
    try:
        _read(found, parser)
    except Exception as error:  # whatever a hostile message makes of the parser
        _failed(found, error, parser, whole)
    if whole and parser.remaining() and not found.marks:
        found.mark(MALFORMED, f"{parser.remaining()} bytes behind its end")
    if not whole and TRUNCATED not in found.marks:
        found.mark(TRUNCATED, f"{len(wire)} of {length} bytes are at hand")
    return found


def _read(found: Message, parser: _Parser) -> None:
    found.id, flags, questions, *counts = parser.get_struct("!HHHHHH")
    found.response, found.opcode, found.questions = bool(flags & _RESPONSE), flags >> 11 & 15, questions
    if found.response:
        found.rcode = _rcode(flags & 15)
    if flags & _TRUNCATED:
        found.mark(TRUNCATED, "its sender cut it (TC)")
    if found.opcode:
        found.reasons.append(f"opcode {dns.opcode.to_text(dns.opcode.Opcode(found.opcode))}")
    _questions(found, parser, questions)
    left = RECORDS
    for place, count in enumerate(counts):
        for _ in range(min(count, left)):
            _record(found, parser, place == 0, flags)
        left -= min(count, left)
    if sum(counts) > RECORDS:
        parser.seek(parser.end)
        found.mark(TRUNCATED, f"{RECORDS} of {sum(counts)} records were read")


def _questions(found: Message, parser: _Parser, questions: int) -> None:
    """The first one; that there are more is malformed (RFC 9619)."""
    for number in range(min(questions, RECORDS)):
        name = parser.owner()
        kind, _ = parser.get_struct("!HH")
        if not number:
            found.name, found.type = name, _type(kind)
        elif number == 1:
            found.mark(MALFORMED, f"{questions} questions; the second is for {name}")


def _record(found: Message, parser: _Parser, answer: bool, flags: int) -> None:
    name = parser.owner()
    kind, group, ttl, length = parser.get_struct("!HHIH")
    if kind == _OPT:
        if found.response and ttl >> 24:
            found.rcode = _rcode(ttl >> 24 << 4 | flags & 15)
        parser.get_bytes(length)
        return
    begin = parser.current
    try:
        data, hints = _data(parser, kind, group, length)
    except Exception as error:
        if begin + length > parser.end:
            raise
        found.mark(_word(error), f"a record of type {_type(kind)}: {_why(error)}")
        data, hints = rf"\# {length} {parser.wire[begin : begin + length].hex()}", ()  # RFC 3597
        parser.seek(begin + length)
        if parser.labels < 0:
            raise
    record = ResourceRecord(name, kind, _type(kind), ttl if ttl < 1 << 31 else 0, data, hints)  # RFC 2181, 8
    (found.answers if answer else found.others).append(record)


def _data(parser: _Parser, kind: int, group: int, length: int) -> tuple[str, tuple[str, ...]]:
    """A record's data as text, and the addresses that it hints at."""
    if group == dns.rdataclass.IN and (kind, length) in ((_A, 4), (_AAAA, 16)):
        return socket.inet_ntop(socket.AF_INET if kind == _A else socket.AF_INET6, parser.get_bytes(length)), ()
    with parser.restrict_to(length):
        data = dns.rdata.from_wire_parser(dns.rdataclass.RdataClass.make(group), _number(kind), parser)
    return data.to_text(), tuple(_hints(data)) if kind in _HINTS else ()


def _hints(data: dns.rdata.Rdata) -> Iterator[str]:
    """ipv4hint and ipv6hint of SVCB and HTTPS (RFC 9460)."""
    for param in getattr(data, "params", {}).values():
        yield from getattr(param, "addresses", ())


def _failed(found: Message, error: Exception, parser: _Parser, whole: bool) -> None:
    """Where it broke off: by its sender's cut or ours that is no fault."""
    ended = not whole or TRUNCATED in found.marks
    if ended and type(error) is dns.exception.FormError and str(error) == _ENDED:
        return
    found.mark(_word(error), f"at byte {parser.current} of {len(parser.wire)}: {_why(error)}")


def _points(error: Exception) -> bool:
    return isinstance(error, dns.name.BadPointer | dns.name.PointerChainTooLong)


def _word(error: Exception) -> str:
    """LOOP for compression pointers that do not go back, or only on and on; they would else be followed for ever."""
    causes: list[BaseException | None] = [error, error.__cause__, error.__context__]
    return LOOP if any(isinstance(cause, Exception) and _points(cause) for cause in causes) else MALFORMED


def _why(error: Exception) -> str:
    text = str(error) or type(error).__doc__ or type(error).__name__
    return text.strip().split("\n")[0][:200]


def _plain(name: str) -> str:
    return name.lower().removesuffix(".") or "."


@lru_cache(maxsize=64)
def _rcode(number: int) -> str:
    try:
        return str(dns.rcode.to_text(dns.rcode.Rcode(number)))
    except ValueError:
        return f"RCODE{number}"


def _number(number: int) -> dns.rdatatype.RdataType:
    return dns.rdatatype.RdataType.make(number)


@lru_cache(maxsize=512)
def _type(number: int) -> str:
    return str(dns.rdatatype.to_text(_number(number)))
