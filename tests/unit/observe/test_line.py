"""observe/line.py: one question, one answer, and what becomes of a dissector that gives none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from firsthand.dissect.frame import HEAD, HELLO, ROWS, framed
from firsthand.observe import line
from firsthand.observe.line import Line


class LineEnds:
    """A line, what it told the supervisor, and the supervisor's end of its socket."""

    def __init__(self) -> None:
        self.told: list[Mapping[str, object]] = []
        mine, self.control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.line = Line(mine, self.told.append)
        self.line.beginning = 0.0  # the first one is there, or never comes

    def new(self, word: str, said: bytes = framed(HELLO, ())) -> socket.socket:
        """A new dissector's end; it has said this."""
        its, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        theirs.sendall(said)
        with its:
            socket.send_fds(self.control, [word.encode()], [its.fileno()])
        return theirs


@pytest.fixture
def ends() -> Iterator[LineEnds]:
    """As the supervisor makes them."""
    made = LineEnds()
    yield made
    made.control.close()


def _answers(peer: socket.socket, *answers: bytes) -> threading.Thread:
    """A peer that reads a frame and says this, once for each."""

    def work() -> None:
        for answer in answers:
            length, _ = HEAD.unpack(peer.recv(HEAD.size, socket.MSG_WAITALL))
            if length > 1:
                peer.recv(length - 1, socket.MSG_WAITALL)
            peer.sendall(answer)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_question_has_its_answer(ends: LineEnds) -> None:
    """One after another, through the same dissector."""
    peer = ends.new("1")
    assert ends.line.ready()
    thread = _answers(peer, framed(ROWS, [b"one"]), framed(ROWS, [b""]))
    assert [bytes(ends.line.exchange(framed(2, [b"x" * 70_000])) or b"?") for _ in range(2)] == [b"one", b"?"]
    thread.join()
    assert ends.line.handed and ends.told == []
    peer.close()


def test_one_that_has_not_begun_is_not_asked(ends: LineEnds) -> None:
    """Until it says that it has; what is no greeting is its end."""
    peer = ends.new("1", b"")
    assert not ends.line.ready() and not ends.line.ended
    peer.sendall(framed(HELLO, ()))
    assert ends.line.ready(1.0)
    peer.close()
    other = ends.new("2", framed(ROWS, ()))
    assert not ends.line.ready()
    other.close()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (framed(HELLO, ()), "none: a frame of kind 1"),
        (HEAD.pack(0, ROWS), "none: a frame of 0 bytes"),
        (HEAD.pack(0xFFFFFFFF, ROWS), "none: a frame of 4294967295 bytes"),
        (HEAD.pack(100, ROWS) + b"half", "did not answer within"),
        (b"", "did not answer within"),
    ],
)
def test_one_that_gives_none_is_given_up(
    ends: LineEnds, monkeypatch: pytest.MonkeyPatch, answer: bytes, why: str
) -> None:
    """The observer names the dissector to the supervisor, which sends the line of a new one; the observer then asks that one."""
    monkeypatch.setattr(line, "PATIENCE", 0.1)
    peer = ends.new("first")
    assert ends.line.ready()
    thread = _answers(peer, answer)
    assert ends.line.exchange(framed(2, ())) is None and ends.line.handed
    thread.join()
    (told,) = ends.told
    assert (
        (told["event"], told["line"]) == ("unanswered", "first")
        and why in str(told["error"])
        and ends.line.why == told["error"]
    )
    assert not ends.line.ready()
    again = ends.new("second")
    assert ends.line.ready()
    thread = _answers(again, framed(ROWS, [b"yes"]))
    assert bytes(ends.line.exchange(framed(2, ())) or b"") == b"yes"
    thread.join()
    peer.close()
    again.close()


def test_one_that_ended_is_no_fault_of_its_answer(ends: LineEnds) -> None:
    """The supervisor knows of its death by itself; whether it had the question is known."""
    peer = ends.new("1")
    assert ends.line.ready()
    peer.close()
    assert not ends.line.ready() and ends.line.why == "the dissector ended" and ends.told == []
    other = ends.new("2")
    assert ends.line.ready()
    other.close()
    assert ends.line.exchange(framed(2, [b"x" * (1 << 20)])) is None and not ends.line.handed and ends.told == []


def test_what_it_says_unasked_is_its_end(ends: LineEnds) -> None:
    """An answer to nothing could be taken for the next one's."""
    peer = ends.new("1")
    assert ends.line.ready()
    peer.sendall(framed(ROWS, [b"unasked"]))
    assert not ends.line.ready() and ends.line.why == "the dissector ended"
    peer.close()


def test_one_that_reads_nothing_has_not_the_whole_frame(ends: LineEnds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then its packets are another's to read."""
    monkeypatch.setattr(line, "PATIENCE", 0.1)
    peer = ends.new("1")
    assert ends.line.ready()
    assert ends.line.exchange(framed(2, [b"x" * (8 << 20)])) is None and not ends.line.handed
    peer.close()


def test_the_newest_line_counts(ends: LineEnds) -> None:
    """Those before it are closed: their dissectors are gone."""
    old, new = ends.new("old"), ends.new("new")
    assert ends.line.ready()
    with pytest.raises(ConnectionResetError):
        old.recv(1)  # the other end is closed, and had not read the greeting
    thread = _answers(new, framed(ROWS, [b"new"]))
    assert bytes(ends.line.exchange(framed(2, ())) or b"") == b"new"
    thread.join()
    old.close()
    new.close()


def test_no_dissector_ever() -> None:
    """Without a supervisor's end, and after it went."""
    tell: Callable[[Mapping[str, Any]], None] = lambda _: None  # noqa: E731
    alone = Line(None, tell)
    alone.beginning = 0.0
    assert alone.ended and not alone.ready()
    mine, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line_ = Line(mine, tell)
    line_.beginning = 0.0
    control.close()
    assert not line_.ready() and line_.ended
