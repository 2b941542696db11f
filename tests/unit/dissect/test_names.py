"""Rows of `name`: questions and answers of one socket belong together; what is remarkable is marked."""

from __future__ import annotations

import random
from typing import Any

import pytest

from firsthand.dissect import names
from firsthand.dissect.names import DnsReader
from firsthand.dissect.packet import Packet
from tests import packets
from tests.packets import BEGIN, RESOLVER, packet, prefixed, question, rows_of

_SECOND = 1_000_000_000
_ADDRESS = ("www.example.org.", 20, "A", ["192.0.2.1"])


@pytest.fixture
def reader() -> DnsReader:
    """One that has seen everything for a while."""
    found = DnsReader([RESOLVER, "169.254.0.0/16", "::1/128"])
    found.since = BEGIN - 60 * _SECOND
    return found


def _in(payload: bytes, after: int = 3_000_000, **values: Any) -> Packet:
    return packet(payload, 1, direction="in", ktime=BEGIN + after, **values)


def test_an_answer_has_the_time_since_its_question(reader: DnsReader) -> None:
    """On one socket, by id; the question's row says nothing of it."""
    asked = question()
    first, second = rows_of(reader, packet(asked), _in(packets.answer(asked, _ADDRESS)))
    assert (first["event"], first["latency"], first.get("marks")) == ("question", None, None)
    assert (second["event"], second["latency"], second.get("marks")) == ("answer", 3_000_000, None)
    assert (second["addresses"], second["ttl"], second["rcode"]) == (["192.0.2.1"], 20, "NOERROR")
    assert (first["packet"], second["packet"]) == (0, 1)


def test_a_server_answers_what_it_was_asked(reader: DnsReader) -> None:
    """The question came in, the answer goes out; its peer is a client and no resolver."""
    asked = question()
    rows = rows_of(
        reader,
        packet(asked, direction="in", peer_address="10.0.0.9", peer_port=40000),
        packet(packets.answer(asked, _ADDRESS), ktime=BEGIN + 5, peer_address="10.0.0.9", peer_port=40000),
    )
    assert [row["event"] for row in rows] == ["question", "answer"] and rows[1]["latency"] == 5
    assert not any(row.get("marks") for row in rows)


@pytest.mark.parametrize("change", [{"number": 2}, {"cookie": 8}, {"name": "other.example."}])
def test_an_answer_without_its_question_is_marked(reader: DnsReader, change: dict[str, Any]) -> None:
    """Another id, another socket, another name."""
    other = question(change.get("name", "www.example.org."), number=change.get("number", 1))
    rows = rows_of(reader, packet(question()), _in(packets.answer(other), cookie=change.get("cookie", 7)))
    assert rows[1]["marks"] == "UNASKED" and rows[1]["reason"]


def test_unasked_is_not_said_where_questions_may_have_been_missed(reader: DnsReader) -> None:
    """Just after the beginning, or after a loss."""
    reader.since = BEGIN - _SECOND
    (row,) = rows_of(reader, _in(packets.answer(question(), _ADDRESS)))
    assert row.get("marks") is None and row["latency"] is None


def test_another_resolver_is_marked(reader: DnsReader) -> None:
    """On questions to it and answers from it; networks count; IPv6."""
    asked = question()
    for peer, foreign in (("8.8.8.8", True), ("169.254.20.10", False), ("::1", False), ("2001:db8::53", True)):
        rows = rows_of(reader, packet(asked, peer_address=peer), _in(packets.answer(asked), peer_address=peer))
        assert [row.get("marks") for row in rows] == ["FOREIGN_RESOLVER" if foreign else None] * 2, peer
        assert (peer in (rows[0]["reason"] or "")) == foreign


def test_a_tunnel_is_marked_with_its_domain(reader: DnsReader) -> None:
    """Questions from the name that was one too many on, and their answers; another pod's are not."""
    chance = random.Random(1)
    rows = []
    for number in range(30):
        asked = question(f"{chance.randbytes(28).hex()}.t.example.", "TXT", number)
        rows += rows_of(reader, packet(asked, ktime=BEGIN + number), _in(packets.answer(asked), number + 1))
    marked = [row for row in rows if row.get("marks") == "TUNNEL"]
    assert 2 * 9 <= len(marked) <= 2 * 11 and {row["event"] for row in marked} == {"question", "answer"}
    assert "t.example" in marked[0]["reason"]
    (other,) = rows_of(reader, packet(question(f"{chance.randbytes(28).hex()}.t.example."), pod_uid="another"))
    assert other.get("marks") is None


def _stream(payload: bytes, offset: int = 0, **values: Any) -> Packet:
    return packet(payload, values.pop("number", 0), transport="tcp", stream_offset=offset, **values)


def test_several_messages_of_one_stream(reader: DnsReader) -> None:
    """Each its own row, of the packet that made it whole."""
    asked = [question(f"{name}.example.", number=place) for place, name in enumerate("abc")]
    whole = prefixed(*asked)
    rows = rows_of(reader, _stream(whole[:50], number=5), _stream(whole[50:], 50, number=6))
    assert [(row["name"], row["packet"]) for row in rows] == [("a.example", 5), ("b.example", 6), ("c.example", 6)]
    assert all(row["message_bytes"] == len(asked[0]) for row in rows)


def test_half_a_message_is_told_when_it_is_late(reader: DnsReader) -> None:
    """TRUNCATED, of the packet that it began with, once; the stream goes on behind it."""
    whole = prefixed(question("a.example."), question("b.example."))
    assert not rows_of(reader, _stream(whole[:20], number=4))
    assert not list(reader.late(BEGIN + _SECOND))
    (row,) = reader.late(BEGIN + 6 * _SECOND)
    assert (row["packet"], row["marks"], row["event"]) == (4, "TRUNCATED", "question")
    assert not list(reader.late(BEGIN + 60 * _SECOND))
    (after,) = rows_of(reader, _stream(whole[20:], 20, number=9))
    assert after["name"] == "b.example"


def test_a_stream_whose_beginning_was_not_seen(reader: DnsReader) -> None:
    """Said once, and not read by guess."""
    whole = prefixed(question("a.example."))
    assert not rows_of(reader, _stream(whole, 1000, number=3))
    (row,) = reader.late(BEGIN + 6 * _SECOND)
    assert row["marks"] == "TRUNCATED" and "byte 1000" in row["reason"] and row["packet"] == 3
    assert not rows_of(reader, _stream(whole, 1000 + len(whole)))
    assert not list(reader.late(BEGIN + 60 * _SECOND, all_of_them=True))


def test_a_long_message_over_tcp_is_oversized(reader: DnsReader) -> None:
    """60,000 bytes: read in part, its length told."""
    long = packets.answer(question("x.example.", "TXT"), ("x.example.", 5, "TXT", [f'"{i:0250}"' for i in range(230)]))
    whole = prefixed(long)
    rows = [
        row
        for at in range(0, len(whole), 4000)
        for row in rows_of(reader, _stream(whole[at : at + 4000], at, direction="in"))
    ]
    assert len(rows) == 1 and "OVERSIZED" in rows[0]["marks"].split(",") and rows[0]["message_bytes"] == len(long)


def test_what_has_no_header_has_a_row(reader: DnsReader) -> None:
    """Three bytes to port 53: a question, by who sent it."""
    (out,) = rows_of(reader, packet(b"abc"))
    (back,) = rows_of(reader, _in(b"abc"))
    assert (out["event"], out["marks"], back["event"]) == ("question", "MALFORMED", "answer")


def test_what_waits_is_bounded(reader: DnsReader) -> None:
    """Questions nobody answers, and streams nobody ends: the oldest go, the streams' with a row."""
    small = DnsReader([])
    for number in range(names.QUESTIONS + 500):
        rows_of(small, packet(question(), cookie=number, ktime=BEGIN + number))
    assert len(small.questions) == names.QUESTIONS and small.since == BEGIN + 499
    rows = []
    for number in range(names.STREAMS + 10):
        rows += rows_of(small, _stream(b"\0\x60abc", cookie=number, number=number))
    assert len(small.streams) == names.STREAMS and [row["packet"] for row in rows] == list(range(10))
    for number in range(names.STREAMS):
        rows_of(small, _stream(b"\x3f\x00" + bytes(4093), cookie=number))
    assert small.streams.bytes <= names.STREAM_BYTES


def test_a_question_without_an_answer(reader: DnsReader) -> None:
    """A row of its own after the stated time, at its own time and by its own packet; asked again meanwhile it is one; an answer in time ends it."""
    first, second = question("lost.example."), question("found.example.", number=2)
    assert len(rows_of(reader, packet(first, 3), packet(second, 4), packet(first, 5, ktime=BEGIN + _SECOND))) == 3
    rows_of(reader, packet(packets.answer(second), 6, ktime=BEGIN + 4 * _SECOND, direction="in"))
    assert not list(reader.late(BEGIN + 5 * _SECOND))
    (row,) = reader.late(BEGIN + 5 * _SECOND + 1)
    assert (row["event"], row["packet"], row["name"], row["type"], row["query_id"]) == (
        "unanswered",
        3,
        "lost.example",
        "A",
        1,
    )
    assert "5 s" in row["reason"] and not list(reader.late(BEGIN + 60 * _SECOND)) and reader.kept == [3, 4]
    (late,) = rows_of(reader, packet(packets.answer(first), 7, ktime=BEGIN + 9 * _SECOND, direction="in"))
    assert (late["event"], late["latency"], late.get("marks")) == ("answer", 8 * _SECOND, None)


def test_an_answer_that_may_have_been_lost(reader: DnsReader) -> None:
    """Where packets are missing since a question, or its stream was lost, nobody can say that it was not answered."""
    rows_of(reader, packet(question("a.example.")))
    reader.since = BEGIN + 1
    assert not list(reader.late(BEGIN + 10 * _SECOND))
    rows_of(reader, _stream(prefixed(question("b.example.", number=9)), ktime=BEGIN + _SECOND))
    rows_of(reader, _stream(b"\0\0", 5000, direction="in", ktime=BEGIN + _SECOND))
    assert [row["marks"] for row in reader.late(BEGIN + 10 * _SECOND)] == ["TRUNCATED"]


def test_questions_that_wait_are_bounded(reader: DnsReader) -> None:
    """A flood of them pushes the oldest out, of which then nothing is said."""
    for number in range(names.QUESTIONS + 2):
        rows_of(reader, packet(question("a.example.", number=1), number, cookie=number, ktime=BEGIN + number))
    assert len(reader.waiting) == names.QUESTIONS
    assert len(list(reader.late(BEGIN + 20 * _SECOND))) == names.QUESTIONS
