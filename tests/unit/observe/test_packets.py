"""The observer's end of the line: rows come beside their packets, nothing that does not fit is taken, and what is lost is counted."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from firsthand.dissect import frame
from firsthand.dissect.dissector import Dissector
from firsthand.observe import line
from firsthand.observe import packets as subject
from firsthand.observe.line import Line
from firsthand.observe.packets import Packets
from firsthand.schema.tables import TABLES
from firsthand.wire.batch import Batch
from tests import packets
from tests.packets import BEGIN, POD, row

Answer = Callable[[memoryview], bytes | None]


class Peer:
    """A dissector of the test's own: `answer` gets each frame's body, and gives whole frames, or None to end."""

    def __init__(self, control: socket.socket, answer: Answer, *, hello: bool = True) -> None:
        mine, self._its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._answer = answer
        if hello:
            self._its.sendall(frame.framed(frame.HELLO, ()))
        with mine:
            socket.send_fds(control, [b"1"], [mine.fileno()])
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        with self._its:
            while head := self._its.recv(frame.HEAD.size, socket.MSG_WAITALL):
                length, _ = frame.HEAD.unpack(head)
                body = self._its.recv(length - 1, socket.MSG_WAITALL)
                answer = self._answer(memoryview(body))
                if answer is None:
                    return
                self._its.sendall(answer)


class Ends:
    """An observer's end, and peers for it that end with the test."""

    def __init__(self) -> None:
        self.control, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.told: list[Mapping[str, object]] = []
        self.line = Line(its, self.told.append)
        self.line.beginning = 0.0
        self.packets = Packets(self.line)
        self._peers: list[Peer] = []

    def join(self, answer: Answer, **options: Any) -> None:
        self._peers.append(Peer(self.control, answer, **options))

    def end(self) -> None:
        """The newest peer ends, asked or not."""
        self._peers[-1]._its.shutdown(socket.SHUT_RDWR)
        self._peers[-1].thread.join()

    def close(self) -> None:
        self.line._drop()
        for peer in self._peers:
            peer.thread.join()
        self.control.close()

    def lost(self) -> dict[tuple[str | None, str], int]:
        return {(loss.table, loss.detail): loss.events for loss in self.packets.losses()}


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


def _decoded(found: list[Batch]) -> list[dict[str, Any]]:
    """Rows of batches as dictionaries, nulls left out."""
    rows = []
    for one in found:
        for at in range(one.length):
            columns: dict[str, Any] = {name: c for name, c in one.columns.items() if c.valid is None or c.valid[at]}
            rows.append(
                {n: c.row(at) if hasattr(c, "row") else int(c.values[at]) for n, c in columns.items()}
                | {"table": one.table}
            )
    return rows


def _now() -> int:
    """Where the dissector's time goes by the packets'."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _real(**options: Any) -> Answer:
    dissector = Dissector([packets.RESOLVER], **options)
    return lambda body: dissector.read(body)


def test_rows_carry_their_packets_columns(ends: Ends) -> None:
    """Time, process, pod and ends of the socket come from the packet, the rest from what it says; each column is the table's."""
    ends.join(_real())
    asked = packets.question()
    answer = packets.answer(asked, ("www.example.org.", 20, "A", ["192.0.2.1"]))
    found = ends.packets.read(
        packets.batch(
            [
                row(asked, exec_tgid=100),
                row(packets.hello(), transport="tcp", packet_kind="head", peer_port=443, exec_tgid=102, cookie=9),
                row(answer, direction="in", ktime=BEGIN + 9, exec_tgid=101),
            ]
        )
    )
    one, two, three = _decoded(found)
    assert (one["table"], one["exec_tgid"], one["event"], one["name"]) == ("name", 100, b"question", b"www.example.org")
    assert (two["exec_tgid"], two["latency"], two["addresses"], two["pod_uid"]) == (
        101,
        9,
        [b"192.0.2.1"],
        POD.encode(),
    )
    assert (three["table"], three["exec_tgid"], three["sni"], three["ech"]) == ("request", 102, b"www.example.org", 0)
    for batch in found:
        assert set(batch.columns) <= set(TABLES[batch.table].names) and "payload" not in batch.columns
        assert batch.columns["query_id" if batch.table == "name" else "message_bytes"].values.dtype == np.int32  # type: ignore[union-attr]
    assert not ends.lost()


def test_a_row_that_comes_later_has_its_first_packets_columns(ends: Ends) -> None:
    """A head in two exchanges, and one that stays half: the observer kept who sent it, and not what."""
    ends.join(_real())
    hello = packets.hello()
    head = {"transport": "tcp", "packet_kind": "head", "peer_port": 443, "ktime": _now()}
    assert not ends.packets.read(
        packets.batch([row(hello[:50], **head, exec_tgid=7), row(b"GET / HTTP/1.1\r\n", **head, cookie=3, exec_tgid=8)])
    )
    assert all("payload" not in held.batch.columns for held in ends.packets._held)
    (whole,) = _decoded(ends.packets.read(packets.batch([row(hello[50:], **head, stream_offset=50, exec_tgid=9)])))
    assert (whole["sni"], whole["exec_tgid"]) == (b"www.example.org", 7)
    assert not ends.packets.late()
    (late,) = _decoded(ends.packets.late(last=True))
    assert (late["event"], late["marks"], late["exec_tgid"]) == (b"http", b"TRUNCATED", 8)


def test_many_packets_are_asked_about_in_parts(ends: Ends) -> None:
    """2,000 packets: each has its row, in whole exchanges of at most 512."""
    ends.join(_real())
    found = ends.packets.read(packets.batch([row(packets.question(number=n), cookie=n) for n in range(2000)]))
    assert [one.length for one in found] == [512, 512, 512, 464]
    assert [row["query_id"] for row in _decoded(found)] == list(range(2000)) and not ends.lost()


def test_nobody_answers_and_nobody_waits() -> None:
    """Without a dissector every packet is counted by what it would have become, at once."""
    lonely = Packets(Line(None, lambda line: None))
    began = time.monotonic()
    for _ in range(100):
        assert not lonely.read(packets.batch([row(b"x"), row(b"y", packet_kind="head"), row(b"z")]))
    assert time.monotonic() - began < 2
    losses = {loss.table: loss for loss in lonely.losses()}
    assert {table: loss.events for table, loss in losses.items()} == {"name": 200, "request": 100}
    assert losses["name"].cause == "dissector" and not lonely.losses()


def test_the_first_one_is_waited_for(ends: Ends) -> None:
    """What comes before it has begun stays in the rings until then, and no longer than it is to take."""
    ends.line.beginning = time.monotonic() + 60
    late = threading.Timer(0.2, lambda: ends.join(_real()))
    late.start()
    assert _numbers(ends.packets.read(_questions(0, 2))) == [0, 1]
    late.join()
    ends.end()
    began = time.monotonic()
    assert not ends.packets.read(_questions(2, 3)) and time.monotonic() - began < 5


def test_one_that_does_not_answer_is_waited_for_once(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor is told; what it had and what comes next waits, without waiting, for the next dissector, which reads it all."""
    monkeypatch.setattr(line, "PATIENCE", 0.2)
    done = threading.Event()
    ends.join(lambda body: done.wait() and None)
    began = time.monotonic()
    assert not ends.packets.read(_questions(0, 3))
    assert 0.2 <= time.monotonic() - began < 2
    assert [(told["event"], told["line"]) for told in ends.told] == [("unanswered", "1")]
    began = time.monotonic()
    assert not ends.packets.read(_questions(3, 7))
    assert time.monotonic() - began < 0.1 and ends.packets.waiting == 7
    done.set()
    ends.join(_real())
    assert _numbers(ends.packets.late()) == list(range(7))
    assert not ends.lost() and not ends.packets.waiting


def _questions(begin: int, end: int) -> Batch:
    return packets.batch([row(packets.question(number=number), cookie=number) for number in range(begin, end)])


def _numbers(found: list[Batch]) -> list[int]:
    return [row["query_id"] for row in _decoded(found) if row["event"] == b"question"]


def _kills(poison: int | None, most: int = 1 << 30) -> Answer:
    """A dissector that dies where it is handed a question of that number, or after so many answers."""
    real, asked = _real(), []

    def answer(body: memoryview) -> bytes | None:
        asked.append(body)
        if len(asked) > most or (poison is not None and packets.question(number=poison) in bytes(body)):
            return None
        return real(body)

    return answer


def test_a_packet_that_two_did_not_answer_is_set_aside(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of 600 ends each dissector that gets it: the others are rows, once each, and it is counted, after two deaths and no more."""
    monkeypatch.setattr(subject, "SAVED", 1e6)
    ends.packets._credit = 1e6  # how long a loaded machine takes is not what this is about
    found: list[Batch] = []
    for number in range(3):
        ends.join(_kills(300))
        found += ends.packets.read(_questions(0, 600)) if number == 0 else ends.packets.late()
        assert ends.packets.waiting == (600, 299, 0)[number]
    assert sorted(_numbers(found)) == [number for number in range(600) if number != 300]
    assert ends.lost() == {("name", "set aside after two dissectors were handed it: the dissector ended"): 1}


def test_one_that_died_idle_was_handed_nothing(ends: Ends) -> None:
    """Packets are not to blame for two that ended before they were asked: the third one reads them."""
    for _ in range(2):
        ends.join(_real())
        assert ends.packets.line.ready()
        ends.end()
        assert not ends.packets.read(_questions(0, 2))
    ends.join(_real())
    assert _numbers(ends.packets.late()) == [0, 1, 0, 1] and not ends.lost()


def test_what_waits_is_bounded(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """By number, bytes and time: what is beyond is counted, the oldest are kept, and it is said since when they were missing."""
    monkeypatch.setattr(subject, "MOST_WAITING", 10)
    assert not ends.packets.read(_questions(0, 8)) and not ends.packets.read(_questions(8, 12))
    assert ends.packets.waiting == 8 and sum(ends.lost().values()) == 4
    monkeypatch.setattr(subject, "WAITING_BYTES", 1)
    assert not ends.packets.read(_questions(0, 1)) and sum(ends.lost().values()) == 1
    monkeypatch.setattr(subject, "WAIT", 0.0)
    before = time.monotonic()
    assert not ends.packets.late() and not ends.packets.waiting
    (loss,) = ends.packets.losses()
    assert loss.events == 8 and loss.since < before and "no other one began in time" in loss.detail


def test_what_waits_is_counted_by_whoever_takes_over(ends: Ends) -> None:
    """Packets in memory, the halves that a dissector held, and losses that were not told yet: the state, through JSON, has them."""
    head = {"transport": "tcp", "packet_kind": "head", "ktime": _now()}
    ends.join(_kills(None, 1))
    ends.packets.read(packets.batch([row(b"GET /", **head)]))
    held = json.loads(json.dumps(ends.packets.state()))
    ends.packets.read(_questions(0, 3))
    state = json.loads(json.dumps(ends.packets.state()))
    for told, wanted in ((held, {"request": 1}), (state, {"request": 1, "name": 3})):
        following = Packets(Line(None, lambda line: None))
        following.restore(told, goes_on=True)
        losses = following.losses()
        assert {loss.table: loss.events for loss in losses} == wanted
        assert all(time.monotonic() - 60 < loss.since < loss.until for loss in losses)
        assert not following.losses() and not following.state()["packets"]["lost"]


def test_silence_is_a_loss_from_the_last_answer_to_the_next(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers for long: told while it lasts and when it is over, for both tables, without a gap; a beat is asked for when nothing
    comes."""
    monkeypatch.setattr(subject, "UNANSWERED", 0.2)
    monkeypatch.setattr(subject, "BEAT", 0.0)
    began = ends.packets.answered
    found = []
    while len(found) < 4:
        found += ends.packets.losses()
    ends.join(_real())
    while ends.packets.answered == began:
        ends.packets.late()
    found += ends.packets.losses()
    assert {loss.table for loss in found} == {"name", "request"} and all(loss.events == 0 for loss in found)
    spans = [(loss.since, loss.until) for loss in found if loss.table == "name"]
    assert spans[0][0] == pytest.approx(began, abs=0.1) and spans[-1][1] == ends.packets.answered
    assert all(one[1] == following[0] for one, following in pairwise(spans))
    ends.packets.late()
    assert not ends.packets.losses()


def test_one_that_ends_takes_with_it_what_it_held(ends: Ends) -> None:
    """The half of a head that it had is lost with it, and counted; the whole head that it had told is not."""
    ends.join(_kills(None, 2))
    head = {"transport": "tcp", "packet_kind": "head", "ktime": _now()}
    halves = [row(b"GET /", **head, cookie=number) for number in range(3)]
    ends.packets.read(packets.batch(halves))
    rest = row(b"a HTTP/1.1\r\nHost: x\r\n\r\n", **head, stream_offset=5, cookie=2)
    assert len(_decoded(ends.packets.read(packets.batch([rest])))) == 1
    assert not ends.packets.read(packets.batch([row(b"x")]))
    assert ends.lost() == {("request", "the dissector ended"): 2} and ends.packets.waiting == 1
    assert not ends.told, "the supervisor sees by itself that it ended"


def test_questions_of_before_a_loss_are_not_missed(ends: Ends) -> None:
    """The dissector is told since when packets came whole: at the beginning, and after each loss."""
    seen: list[int] = []
    real = _real()

    def spied(body: memoryview) -> bytes | None:
        seen.append(frame.ASKED.unpack(body[: frame.ASKED.size])[1])
        return real(body)

    ends.join(spied)
    ends.packets.read(packets.batch([row(b"x")]))
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    ends.packets.gap()
    ends.packets.read(packets.batch([row(b"x")]))
    assert seen[0] < before <= seen[1]


def _answer(
    names: int = 0, requests: int = 0, held: int = 0, unread: tuple[int, int] = (0, 0), body: bytes = b""
) -> bytes:
    return frame.framed(frame.ROWS, [frame.ANSWERED.pack(names, requests, held, *unread, 0, 0, 0, 0), body])


def _columns(table: str, rows: list[dict[str, Any]]) -> bytes:
    return b"".join(frame.packed(frame.ROWS_OF[table], rows))


_NONE = _columns("name", []) + _columns("request", []) + b"\0"
_ROW = {"packet": 0, "event": "question", "name": "a.example"}


def _one(**change: Any) -> bytes:
    return _answer(1, body=_columns("name", [_ROW | change]) + _columns("request", []) + b"\0")


def _broken_text() -> bytes:
    good = _one()
    at = good.index(b"a.example")
    return good[:at] + b"\xff\xfe" + good[at + 2 :]


def _within_a_character() -> bytes:
    """Two rows whose common bytes are UTF-8, cut in the middle of a character."""
    two = _answer(
        2, body=_columns("name", [_ROW | {"name": "xy"}, _ROW | {"name": "z"}]) + _columns("request", []) + b"\0"
    )
    return two.replace(b"xyz", "aé".encode())


_HOSTILE: dict[str, Callable[[], bytes]] = {
    "another kind": lambda: frame.framed(frame.HELLO, ()),
    "empty": lambda: frame.framed(frame.ROWS, ()),
    "too long": lambda: frame.HEAD.pack(frame.MOST_BYTES + 2, frame.ROWS),
    "length 0": lambda: frame.HEAD.pack(0, frame.ROWS),
    "more rows than can be": lambda: _answer(frame.MOST_ROWS + 1, body=_NONE),
    "rows without columns": lambda: _answer(1000, body=_NONE),
    "bytes behind": lambda: _answer(body=_NONE + b"x"),
    "another packet": lambda: _one(packet=99),
    "a number too large": lambda: _one(query_id=1 << 40),
    "not UTF-8": _broken_text,
    "cut in a character": _within_a_character,
    "more held than sent": lambda: _answer(held=5, body=_NONE[:-1] + b"\0" + struct.pack("<5q", *range(5))),
    "held of others": lambda: _answer(held=1, body=_NONE[:-1] + b"\0" + struct.pack("<q", 77)),
    "more unread than sent": lambda: _answer(unread=(9, 9), body=_NONE),
    "a flag that is none": lambda: _answer(1, body=b"\7" + _columns("name", [_ROW])[1:] + _NONE),
    "offsets that fall": lambda: _one().replace(
        struct.pack("<2I", 0, 8) + b"question", struct.pack("<2I", 8, 8) + b"question"
    ),
}


@pytest.mark.parametrize("kind", _HOSTILE)
def test_an_answer_that_does_not_fit_is_not_taken(ends: Ends, kind: str) -> None:
    """No row of it, the supervisor is told to end that dissector, and packets that two did not answer well are counted."""
    for number in range(3):
        ends.join(lambda body: _HOSTILE[kind]())
        waiting = packets.batch([row(b"x"), row(b"y", packet_kind="head")])
        assert not (ends.packets.late() if number else ends.packets.read(waiting))
    lost = ends.lost()
    assert sum(lost.values()) == 2 and all("answer was none" in detail for _, detail in lost)
    assert [told["event"] for told in ends.told] == ["unanswered"] * 3


def test_a_good_answer_of_the_same_make_is_taken(ends: Ends) -> None:
    """What the hostile ones differ from."""
    ends.join(lambda body: _one())
    (found,) = _decoded(ends.packets.read(packets.batch([row(b"x")])))
    assert found["name"] == b"a.example"


def test_random_answers_never_hurt(ends: Ends) -> None:
    """5,000 answers with bytes changed: taken whole or not at all, never an exception."""
    import random

    chance = random.Random(11)
    good = _answer(
        2,
        1,
        1,
        body=_columns("name", [_ROW | {"records": ["a", "b"], "addresses": ["1"]}, _ROW])
        + _columns("request", [{"packet": 0, "event": "tls", "alpn": ["h2"]}])
        + b"\0"
        + struct.pack("<q", 0),
    )[frame.HEAD.size :]
    batch = packets.batch([row(b"x")])
    taken = 0
    for _ in range(5000):
        made = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            made[chance.randrange(len(made))] = chance.randrange(256)
        fresh = Packets(ends.line)
        try:
            taken += sum(one.length for one in fresh._taken(batch, frame.FrameReader(memoryview(bytes(made)))))
        except ValueError:
            continue
    assert taken


def test_waiting_takes_at_most_its_share(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dissector that is slower than what comes: the rest is counted, and the record goes on."""
    monkeypatch.setattr(subject, "SAVED", 0.2)
    real = _real()
    slow = threading.Event()

    def slowly(body: memoryview) -> bytes | None:
        slow.wait(0.15)
        return real(body)

    ends.join(slowly)
    ends.packets._credit = 0.2
    found = ends.packets.read(packets.batch([row(packets.question(number=n)) for n in range(20 * 512)]))
    read = sum(one.length for one in found)
    assert 0 < read < 15 * 512
    assert sum(ends.lost().values()) == 20 * 512 - read
