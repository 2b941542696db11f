"""reader/frames.py: messages through a socket, bounded in length and time."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from firsthand.reader import frames
from firsthand.reader.frames import Frames

_ANY: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder()
_MOST = 1 << 20


@pytest.fixture
def pair() -> Iterator[tuple[Frames, socket.socket]]:
    """One end with frames, the other one bare."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    made = Frames(one, 5)
    yield made, other
    made.close()
    other.close()


def _soon() -> float:
    return time.monotonic() + 5


def test_messages_come_one_by_one(pair: tuple[Frames, socket.socket]) -> None:
    """In their order, however the bytes come."""
    mine, other = pair
    theirs = Frames(other, 5)
    for message in ({"a": [1, "ü"]}, None, b"\0" * 70_000):
        theirs.send(message)
        assert mine.receive(_ANY, _soon(), _MOST) == message
    data = msgspec.msgpack.encode("piece by piece")
    sender = threading.Thread(
        target=lambda: [other.send(bytes([byte])) for byte in struct.pack(">I", len(data)) + data]
    )
    sender.start()
    assert mine.receive(_ANY, _soon(), _MOST) == "piece by piece"
    sender.join()


def test_a_message_is_bounded_before_it_is_read(pair: tuple[Frames, socket.socket]) -> None:
    """By what it announces: nothing of it is waited for."""
    mine, other = pair
    other.send(struct.pack(">I", _MOST + 1))
    with pytest.raises(ValueError, match="1,048,577 bytes"):
        mine.receive(_ANY, _soon(), _MOST)


def test_what_is_announced_takes_no_memory(pair: tuple[Frames, socket.socket]) -> None:
    """A peer that announces much and says nothing is waited for until the time is over, no longer."""
    mine, other = pair
    other.send(struct.pack(">I", 1 << 30))
    with pytest.raises(TimeoutError):
        mine.receive(_ANY, time.monotonic() + 0.05, 1 << 31)
    with pytest.raises(TimeoutError):
        mine.receive(_ANY, time.monotonic() - 1, _MOST)


@pytest.mark.parametrize("said", [b"", b"\0\0", struct.pack(">I", 9) + b"half"])
def test_a_peer_that_ends(pair: tuple[Frames, socket.socket], said: bytes) -> None:
    """Before, within the length, within the message: an OSError."""
    mine, other = pair
    other.send(said)
    other.close()
    with pytest.raises(ConnectionError, match="it ended"):
        mine.receive(_ANY, _soon(), _MOST)


@pytest.mark.parametrize("data", [b"\xc1", b"\x92\x01", b"\x01\x02"])
def test_bytes_that_are_no_message(pair: tuple[Frames, socket.socket], data: bytes) -> None:
    """A ValueError, as for one of another type."""
    mine, other = pair
    other.send(struct.pack(">I", len(data)) + data)
    with pytest.raises(ValueError, match=r"."):
        mine.receive(_ANY, _soon(), _MOST)


def test_one_that_is_too_long_is_not_begun(pair: tuple[Frames, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    """The next message is understood all the same."""
    mine, other = pair
    monkeypatch.setattr(frames, "MOST_SAID", 10)
    with pytest.raises(ValueError, match="a message of"):
        mine.send("x" * 20)
    mine.send("short")
    assert Frames(other, 5).receive(_ANY, _soon(), _MOST) == "short"


def test_a_peer_that_does_not_read_is_given_up() -> None:
    """After `wait`, however much is left."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    slow = Frames(one, 0.05)
    with other, contextlib.closing(slow), pytest.raises(TimeoutError):
        slow.send(b"x" * (8 << 20))


def test_two_threads_do_not_mix_their_messages(pair: tuple[Frames, socket.socket]) -> None:
    """A sign of life comes between two parts of an answer, never within one."""
    mine, other = pair
    theirs, messages = Frames(other, 5), [f"{letter}" * 50_000 for letter in "ab"]
    senders = [threading.Thread(target=lambda text=text: [theirs.send(text) for _ in range(10)]) for text in messages]
    for sender in senders:
        sender.start()
    found = [mine.receive(_ANY, _soon(), _MOST) for _ in range(20)]
    for sender in senders:
        sender.join()
    assert sorted(found) == sorted(messages * 10)
