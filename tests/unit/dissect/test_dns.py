"""One DNS message: what it says is read, and what is wrong with it is said; nothing hurts."""

from __future__ import annotations

import random
import struct
import time

import dns.flags
import dns.message
import dns.rdatatype
import pytest

from firsthand.dissect import dns as reader
from tests import packets

_HEADER = struct.Struct("!HHHHHH")


def test_a_question_is_read() -> None:
    """Id, name in lower case without the last dot, and type."""
    found = reader.read(packets.question("WwW.Example.ORG.", "AAAA", 4711))
    assert (found.id, found.response, found.name, found.type) == (4711, False, "www.example.org", "AAAA")
    assert not found.marks and not found.records()


def test_aliases_are_followed_and_the_least_ttl_is_taken() -> None:
    """Addresses of the last alias; an address of another name is a record and no address of this one."""
    asked = packets.question("a.example.")
    found = reader.read(
        packets.answer(
            asked,
            ("a.example.", 300, "CNAME", ["b.example."]),
            ("b.example.", 7, "CNAME", ["c.example."]),
            ("c.example.", 60, "A", ["192.0.2.1", "192.0.2.2"]),
            ("other.example.", 1, "A", ["192.0.2.9"]),
        )
    )
    addresses, ttl = found.addresses()
    assert (sorted(addresses), ttl, found.rcode) == (["192.0.2.1", "192.0.2.2"], 7, "NOERROR")
    assert "a.example 300 CNAME b.example." in found.records()
    assert "other.example 1 A 192.0.2.9" in found.records()


def test_aliases_in_a_circle_end() -> None:
    """a is b and b is a: no address, no end of time."""
    asked = packets.question("a.example.")
    found = reader.read(
        packets.answer(asked, ("a.example.", 1, "CNAME", ["b.example."]), ("b.example.", 1, "CNAME", ["a.example."]))
    )
    assert found.addresses() == ([], None)


@pytest.mark.parametrize(
    ("kind", "data", "shown"),
    [
        ("AAAA", "2001:db8::1", "2001:db8::1"),
        ("MX", "10 mail.example.", "10 mail.example."),
        ("TXT", '"v=spf1 -all" "a\\"b"', '"v=spf1 -all" "a\\"b"'),
        ("SRV", "0 5 5060 sip.example.", "0 5 5060 sip.example."),
        ("HTTPS", '1 . alpn="h2"', '1 . alpn="h2"'),
        ("TYPE65280", r"\# 3 010203", r"\# 3 010203"),
    ],
)
def test_records_of_every_type_are_shown(kind: str, data: str, shown: str) -> None:
    """As a zone file has them; types that nobody knows by RFC 3597."""
    found = reader.read(packets.answer(packets.question("x.example.", kind), ("x.example.", 5, kind, [data])))
    assert found.records() == [f"x.example 5 {kind} {shown}"] and not found.marks


def test_hints_of_https_records_are_addresses() -> None:
    """RFC 9460: a client may connect to them without asking further."""
    data = "1 . ipv4hint=192.0.2.7 ipv6hint=2001:db8::7"
    found = reader.read(packets.answer(packets.question("x.example.", "HTTPS"), ("x.example.", 30, "HTTPS", [data])))
    assert found.addresses() == (["192.0.2.7", "2001:db8::7"], 30)


def test_rcodes_and_the_extended_ones() -> None:
    """NXDOMAIN from the header, BADVERS from EDNS."""
    asked = packets.question(use_edns=0)
    assert reader.read(packets.answer(asked, rcode=3)).rcode == "NXDOMAIN"
    assert reader.read(packets.answer(asked, rcode=16)).rcode == "BADVERS"


def test_cut_by_its_sender_and_cut_by_us() -> None:
    """TC and a shorter copy are TRUNCATED with what is left of it, and not malformed."""
    asked = packets.question()
    whole = packets.answer(asked, ("www.example.org.", 5, "A", ["192.0.2.1", "192.0.2.2"]))
    cut = reader.read(packets.answer(asked, flags=dns.flags.TC))
    assert cut.marks == ["TRUNCATED"]
    for size in range(_HEADER.size, len(whole)):
        found = reader.read(whole[:size], length=len(whole))
        assert found.marks == ["TRUNCATED"], (size, found)
    ours = reader.read(whole[: len(whole) - 1], length=len(whole))
    assert ours.name == "www.example.org" and len(ours.records()) == 1


def test_what_ends_too_early_is_malformed() -> None:
    """Every length below the whole: a mark and a reason, never an exception."""
    whole = packets.answer(packets.question(), ("www.example.org.", 5, "A", ["192.0.2.1"]))
    for size in range(len(whole)):
        found = reader.read(whole[:size])
        assert found.marks == ["MALFORMED"] and found.reasons, size
    assert reader.read(whole + b"more").marks == ["MALFORMED"]


@pytest.mark.parametrize("name", [b"\xc0\x0c", b"\x01a\xc0\x0c", b"\xc0\x0e\xc0\x0c", b"\x03www\xc0\xff"])
def test_compression_that_does_not_go_back_is_a_loop(name: bytes) -> None:
    """To itself, to its own beginning, to each other, forward."""
    wire = _HEADER.pack(1, 0x100, 1, 0, 0, 0) + name + b"\0\1\0\1"
    found = reader.read(wire)
    assert "LOOP" in found.marks and found.name is None


def test_loops_in_a_records_data_leave_the_others() -> None:
    """The record is kept as bytes, and the next one is read."""
    asked = packets.question("a.example.")
    wire = bytearray(
        packets.answer(asked, ("a.example.", 5, "NS", ["b.example."]), ("a.example.", 5, "A", ["192.0.2.1"]))
    )
    at = bytes(wire).index(b"\x01b\xc0")
    wire[at : at + 4] = b"\x01b\xc0" + bytes([at])
    found = reader.read(bytes(wire))
    assert found.marks == ["LOOP"] and any(text.endswith("A 192.0.2.1") for text in found.records())
    assert any(r"NS \# " in text for text in found.records())


def test_more_records_than_are_read_are_said() -> None:
    """600 records: 256 of them, and TRUNCATED."""
    sets = ("x.example.", 5, "A", [f"10.{i // 256}.{i % 256}.1" for i in range(600)])
    found = reader.read(packets.answer(packets.question("x.example."), sets), datagram=False)
    assert len(found.records()) == reader.RECORDS and found.marks == ["TRUNCATED"]
    assert "256 of 60" in found.reasons[0]


def test_long_text_is_cut_and_said() -> None:
    """A record of 4,000 characters, and more than 16 KiB of them."""
    long = " ".join(f'"{"x" * 250}"' for _ in range(16))
    wire = packets.answer(
        packets.question("x.example.", "TXT"), *(("x.example.", 5, "TXT", [long + f' "{i}"']) for i in range(4))
    )
    one = reader.read(wire[:5000], length=len(wire), datagram=False)
    assert max(map(len, one.records())) == reader.RECORD and "TRUNCATED" in one.marks
    many = packets.answer(
        packets.question("y.example.", "TXT"), ("y.example.", 5, "TXT", [f'"{i:0250}"' for i in range(200)])
    )
    found = reader.read(many, datagram=False)
    assert sum(map(len, found.records())) <= reader.TEXT and "TRUNCATED" in found.marks


def test_a_datagram_that_is_too_long_is_marked() -> None:
    """Over 4,096 bytes."""
    sets = ("x.example.", 5, "TXT", [f'"{i:0250}"' for i in range(17)])
    wire = packets.answer(packets.question("x.example.", "TXT"), sets)
    assert len(wire) > reader.LARGEST_DATAGRAM
    assert "OVERSIZED" in reader.read(wire).marks and "OVERSIZED" not in reader.read(wire, datagram=False).marks


def test_several_questions_are_malformed_and_named() -> None:
    """RFC 9619: one question; a second one does not hide."""
    first, second = packets.question("a.example."), packets.question("b.example.")
    wire = _HEADER.pack(1, 0x100, 2, 0, 0, 0) + first[12:] + second[12:]
    found = reader.read(wire)
    assert found.name == "a.example" and found.marks == ["MALFORMED"] and "b.example" in found.reasons[0]


def test_names_that_are_no_text_are_escaped() -> None:
    """Bytes as \\DDD, dots within labels as \\.; nothing of it is lost or cut."""
    name = b"\x04a.b\xff\x00"
    found = reader.read(_HEADER.pack(1, 0x100, 1, 0, 0, 0) + name + b"\0\1\0\1")
    assert found.name == r"a\.b\255"
    root = reader.read(_HEADER.pack(1, 0x100, 1, 0, 0, 0) + b"\0" + b"\0\2\0\1")
    assert (root.name, root.type) == (".", "NS")


def test_work_is_bounded_for_messages_that_are_made_to_cost() -> None:
    """Each record's name a chain of pointers through 120 labels: read in milliseconds, not for each record anew."""
    body = bytearray(_HEADER.pack(1, 0x8180, 0, 4000, 0, 0))
    labels = len(body)
    body += b"\x01a" * 120 + b"\0"
    body += struct.pack("!HHIH", 16, 1, 5, 0)
    while len(body) < 16000:
        target = labels + 2 * (len(body) % 100)
        body += struct.pack("!BBHHIH", 0xC0 | target >> 8, target & 255, 5, 1, 5, 2) + bytes(
            [0xC0 | target >> 8, target & 255]
        )
    began = time.process_time()
    for _ in range(20):
        found = reader.read(bytes(body), datagram=False)
        found.records()
    assert found.marks and (time.process_time() - began) / 20 < 0.1


def mutated(chance: random.Random, wire: bytes) -> bytes:
    """A few bytes changed, cut out, doubled or put in; or the end cut off."""
    made = bytearray(wire)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(made)) if made else 0
        kind = chance.randrange(5)
        if kind == 0 and made:
            made[at] = chance.randrange(256)
        elif kind == 1 and made:
            made[at] ^= 1 << chance.randrange(8)
        elif kind == 2:
            del made[at : at + chance.randrange(1, 8)]
        elif kind == 3:
            made[at:at] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 8)))
        else:
            made[at:at] = made[at : at + chance.randrange(1, 40)]
    return bytes(made[: chance.randrange(len(made) + 1)] if chance.random() < 0.2 else made)


def test_ten_thousand_mutated_messages_never_hurt() -> None:
    """No exception, bounded output, bounded time."""
    chance = random.Random(20260301)
    asked = packets.question("www.example.org.", use_edns=0)
    seeds = [
        asked,
        packets.answer(asked, ("www.example.org.", 5, "CNAME", ["a.example."]), ("a.example.", 6, "A", ["192.0.2.1"])),
    ]
    for kind, data in (
        ("HTTPS", "1 . alpn=h2 ipv4hint=192.0.2.1"),
        ("TXT", '"abc" "def"'),
        ("SOA", "a. b. 1 2 3 4 5"),
        ("NAPTR", '1 2 "u" "s" "!x!y!" .'),
    ):
        seeds.append(packets.answer(packets.question("x.example.", kind), ("x.example.", 5, kind, [data])))
    began, slowest = time.process_time(), 0.0
    for number in range(10_000):
        wire = mutated(chance, seeds[number % len(seeds)])
        before = time.process_time()
        found = reader.read(wire, datagram=bool(number % 2))
        records, (addresses, _) = found.records(), found.addresses()
        slowest = max(slowest, time.process_time() - before)
        assert len(records) <= reader.RECORDS and sum(map(len, records)) <= reader.TEXT
        assert len(addresses) <= reader.RECORDS and len(found.name or "") <= 4 * 255 + 128
        assert all(mark in ("MALFORMED", "LOOP", "OVERSIZED", "TRUNCATED") for mark in found.marks)
    assert slowest < 0.25 and time.process_time() - began < 60
