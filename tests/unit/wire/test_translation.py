"""wire/translation.py: what conntrack tells of translated destinations, as netlink has it."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthand.wire.batch import Batch
from firsthand.wire.translation import Translations

_NEW, _DELETE = 0x100, 0x102
_TRANSLATED = 1 << 5


def _attribute(kind: int, body: bytes) -> bytes:
    return (struct.pack("=HH", len(body) + 4, kind) + body).ljust((len(body) + 7) & ~3, b"\0")


def _tuple(kind: int, source: str, source_port: int, target: str, target_port: int, protocol: int = 6) -> bytes:
    """CTA_TUPLE_ORIG or _REPLY (include/uapi/linux/netfilter/nfnetlink_conntrack.h)."""
    six = ":" in source
    packed = [socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, one) for one in (source, target)]
    ip = _attribute(0x8001, _attribute(3 if six else 1, packed[0]) + _attribute(4 if six else 2, packed[1]))
    ports = (
        b""
        if protocol == 1
        else _attribute(2, struct.pack(">H", source_port)) + _attribute(3, struct.pack(">H", target_port))
    )
    return _attribute(kind | 0x8000, ip + _attribute(0x8002, _attribute(1, bytes([protocol])) + ports))


def _message(body: bytes, kind: int = _NEW) -> bytes:
    data = bytes(4) + body
    return (struct.pack("=IHHII", len(data) + 16, kind, 0, 0, 0) + data).ljust((len(data) + 19) & ~3, b"\0")


def _event(target: str = "10.96.0.1", backend: str = "10.244.1.7", *, port: int = 40000, kind: int = _NEW,
           status: int = _TRANSLATED, protocol: int = 6) -> bytes:  # fmt: skip
    """A connection of 10.0.0.5 to a service's address, which a backend answers."""
    source = "2001:db8::5" if ":" in target else "10.0.0.5"
    body = _tuple(1, source, port, target, 80, protocol) + _tuple(2, backend, 8080, source, port, protocol)
    return _message(body + _attribute(3, struct.pack(">I", status)), kind)


def _row(peer: str = "10.96.0.1", **more: Any) -> dict[str, Any]:
    local = "2001:db8::5" if ":" in peer else "10.0.0.5"
    return {
        "transport": "tcp",
        "local_address": local,
        "local_port": 40000,
        "peer_address": peer,
        "peer_port": 80,
    } | more


def _filled(heard: Translations, *rows: dict[str, Any]) -> list[tuple[bytes | None, int | None]]:
    batch = Batch.from_rows("connection", rows)
    heard.fill(batch)
    columns: dict[str, Any] = batch.columns
    if "nat_address" not in columns:
        return [(None, None)] * len(rows)
    address, port = columns["nat_address"], columns["nat_port"]
    return [
        (address.row(row), int(port.values[row])) if address.valid[row] and port.valid[row] else (None, None)
        for row in range(len(rows))
    ]


@pytest.fixture
def heard() -> Translations:
    """Without sockets."""
    return Translations([])


@pytest.mark.parametrize(("target", "backend"), [("10.96.0.1", "10.244.1.7"), ("fd00::1", "fd00:244::7")])
def test_a_service_s_backend(heard: Translations, target: str, backend: str) -> None:
    """The row of the connection gets the address that answered, and its port; others get none."""
    heard.learn(_event(target, backend))
    others = (_row(target, local_port=40001), _row(target, transport="udp"), _row(target, peer_port=81))
    assert _filled(heard, _row(target), *others) == [(backend.encode(), 8080), *[(None, None)] * 3]


@pytest.mark.parametrize(
    "data",
    [
        _event(status=0),
        _event(status=~_TRANSLATED & 0xFFFFFFFF),
        _event(protocol=1),
        _event(protocol=132),
        _message(_tuple(1, "10.0.0.5", 40000, "10.96.0.1", 80) + _attribute(3, struct.pack(">I", _TRANSLATED))),
        _event().replace(struct.pack("=H", _NEW), struct.pack("=H", 0x200), 1),
    ],
    ids=["not translated", "every other bit", "icmp", "sctp", "no reply", "another subsystem"],
)
def test_what_is_no_translation_is_left(heard: Translations, data: bytes) -> None:
    """Nothing is known of it."""
    heard.learn(data)
    assert len(heard) == 0 and _filled(heard, _row()) == [(None, None)]


def test_an_end_is_forgotten_and_a_new_one_counts(heard: Translations) -> None:
    """Ports come again: the last backend is the connection's."""
    heard.learn(_event(backend="10.244.1.7") + _event(backend="10.244.9.9"))
    assert _filled(heard, _row()) == [(b"10.244.9.9", 8080)]
    heard.learn(_event(kind=_DELETE, backend="10.244.9.9"))
    assert len(heard) == 0
    heard.learn(_event(kind=_DELETE))


def test_the_oldest_go() -> None:
    """The table has a limit. An entry that arrives again is the newest."""
    heard = Translations([], most=2)
    heard.learn(_event(port=1) + _event(port=2) + _event(port=1) + _event(port=3))
    assert [_filled(heard, _row(local_port=port))[0][1] for port in (1, 2, 3)] == [8080, None, 8080]


@given(data=st.binary(max_size=200), place=st.integers(0, 300), cut=st.integers(0, 300))
def test_bytes_of_any_kind_hurt_nobody(data: bytes, place: int, cut: int) -> None:
    """What is cut, changed, or no message at all."""
    event = _event()
    heard = Translations([])
    heard.learn(data)
    heard.learn(event[: cut % (len(event) + 1)])
    changed = bytearray(event)
    changed[place % len(event)] ^= 0xFF
    heard.learn(bytes(changed))
    assert len(heard) <= 1


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Translations]]:
    """One who tells, and one who hears."""
    teller, hearer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    hearer.setblocking(False)
    translations = Translations([hearer.detach()])
    yield teller, translations
    translations.close()
    teller.close()


def test_what_waits_is_heard_and_nobody_waits(pair: tuple[socket.socket, Translations]) -> None:
    """All that came, in their order; with nothing there it comes back at once."""
    teller, heard = pair
    heard.hear()
    assert len(heard) == 0
    for port in (1, 2):
        teller.send(_event(port=port))
    heard.hear()
    assert len(heard) == 2 and heard.overflowed == 0


def test_a_socket_that_fails_is_not_taken_for_one_that_overflowed() -> None:
    """Only ENOBUFS says that events are missing; what else fails is said."""
    reading, writing = os.pipe()
    os.close(reading)
    heard = Translations([reading])
    with pytest.raises(OSError, match="descriptor"):
        heard.hear()
    os.close(writing)
    assert heard.overflowed == 0
