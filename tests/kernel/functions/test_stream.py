"""Packets at a cgroup, run alone: where things lie in one (view.h), how far a stream's head goes (stream.h), its pieces (pieces.h)."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthand.dissect import hello, http
from tests import packets
from tests.kernel.functions.functions import IPV4, IPV6, Functions

_TCP, _UDP, _ICMP, _ESP = 6, 17, 1, 50
#: IPv6 headers that are passed over; of the length of an authentication header the first two words are not counted.
_FRAGMENT, _AUTHENTICATION = 44, 51
_PASSED = (0, 43, _FRAGMENT, _AUTHENTICATION, 60, 135, 139, 140)
_HEAD, _HELLO, _WHOLE = 8192, 16384, 0xFFFFFFFF
#: What one packet of a test may hold: a page, less what the kernel keeps of it (net/bpf/test_run.c).
_MOST = 3000
_FROM, _TO = 41000, 8080


@pytest.fixture(scope="module")
def functions() -> Iterator[Functions]:
    """The object, in the kernel once for all tests."""
    with Functions("stream") as made:
        yield made


@dataclass
class MadePacket:
    """A packet, and what is known of it because it was made so. `at`: where the transport's header begins."""

    raw: bytes
    at: int
    payload: int
    protocol: int
    six: bool
    sequence: int


def _transport(protocol: int, options: int, sequence: int, syn: bool) -> bytes:
    ports = struct.pack(">HH", _FROM, _TO)
    if protocol == _TCP:
        return ports + struct.pack(">IIBB", sequence, 0, 5 + options << 4, 2 if syn else 16) + bytes(6 + options * 4)
    return ports + bytes(4)


def _extension(kind: int, following: int, words: int) -> bytes:
    """One IPv6 extension header with so many words of 8 bytes behind its first; of 4 bytes where it authenticates."""
    if kind == _FRAGMENT:
        return bytes([following, 0]) + bytes(6)
    if kind == _AUTHENTICATION:
        return bytes([following, words]) + bytes(words * 4 + 6)
    return bytes([following, words]) + bytes(words * 8 + 6)


_SOURCE4, _TARGET4 = (ipaddress.ip_address(text).packed for text in ("192.0.2.1", "198.51.100.7"))
_SOURCE6, _TARGET6 = (ipaddress.ip_address(text).packed for text in ("2001:db8::1", "2001:db8::2:7"))


def _made(
    protocol: int, payload: bytes, *, six: bool = False, options: int = 0, passed: tuple[tuple[int, int], ...] = (),
    above: int = 0, sequence: int = 1000, syn: bool = False,
) -> MadePacket:  # fmt: skip
    """A packet. `above`: words of IPv4 options; `passed`: IPv6 extension headers with their lengths; `options`: words of TCP's."""
    if six:
        kinds = [kind for kind, _ in passed] + [protocol]
        between = b"".join(_extension(kind, kinds[i + 1], words) for i, (kind, words) in enumerate(passed))
        head = bytes([0x60, 0, 0, 0, 0, 0, kinds[0], 64]) + _SOURCE6 + _TARGET6 + between
    else:
        head = bytes([0x45 + above, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0]) + _SOURCE4 + _TARGET4 + bytes(above * 4)
    behind = _transport(protocol, options, sequence, syn)
    return MadePacket(head + behind + payload, len(head), len(head) + len(behind), protocol, six, sequence + syn)


def _looked(functions: Functions, made: MadePacket, raw: bytes | None = None, out: bool = True) -> Any:
    """What is found of it, or of these bytes instead, for a socket whose own ports are 1 and 2."""
    call = functions.given()
    view = call["view"]
    view["protocol"], view["out"], view["six"] = made.protocol, out, made.six
    view["local_port"], view["peer_port"] = 1, 2
    return functions.run("run_view", call, made.raw if raw is None else raw, IPV6 if made.six else IPV4)


def _address(value: Any) -> bytes:
    """An address of a view as the packet has it: IPv4's behind its prefix."""
    raw: bytes = value.tobytes()
    return raw.removeprefix(bytes(10) + b"\xff\xff")


_PASSED_OVER = st.lists(st.tuples(st.sampled_from(_PASSED), st.integers(0, 3)), max_size=7).map(tuple)


@st.composite
def _packets(draw: st.DrawFn) -> MadePacket:
    return _made(
        draw(st.sampled_from((_TCP, _UDP))),
        draw(st.binary(max_size=60)),
        six=draw(st.booleans()),
        options=draw(st.integers(0, 10)),
        passed=draw(_PASSED_OVER),
        above=draw(st.integers(0, 10)),
        sequence=draw(st.integers(0, 2**32 - 2)),
        syn=draw(st.booleans()),
    )


@given(made=_packets(), out=st.booleans())
def test_a_packet_is_seen_as_it_was_made(functions: Functions, made: MadePacket, out: bool) -> None:
    """Addresses, ports, payload and the number of its first byte, behind options and extension headers; both directions."""
    view = _looked(functions, made, out=out)["view"]
    ends = (_SOURCE6, _TARGET6) if made.six else (_SOURCE4, _TARGET4)
    mine, other = ((ends[0], _FROM), (ends[1], _TO)) if out else ((ends[1], _TO), (ends[0], _FROM))
    assert view["found"] == 1
    assert (_address(view["local"]), view["local_port"]) == mine
    assert (_address(view["peer"]), view["peer_port"]) == other
    assert (view["payload"], view["length"]) == (made.payload, len(made.raw) - made.payload)
    if made.protocol == _TCP:
        assert view["sequence"] == made.sequence % 2**32


@given(made=_packets(), data=st.data())
def test_a_packet_that_is_cut_is_not_guessed_at(functions: Functions, made: MadePacket, data: st.DataObject) -> None:
    """Where what is needed of the transport's header is not there, ports are the socket's own; where it is, they are the packet's."""
    length = data.draw(st.integers(40 if made.six else 20, len(made.raw)), label="length")
    view = _looked(functions, made, made.raw[:length])["view"]
    needed = made.at + (14 if made.protocol == _TCP else 4)
    assert view["found"] == (length >= needed)
    assert (view["local_port"], view["peer_port"]) == ((_FROM, _TO) if length >= needed else (1, 2))
    if length >= needed:
        assert view["length"] == max(0, length - made.payload)


@pytest.mark.parametrize("six", [False, True])
def test_what_ipsec_encrypts_is_not_found(functions: Functions, six: bool) -> None:
    """The packet's protocol is not the socket's: addresses are known, and the length is that of all behind the IP header."""
    made = _made(_ESP, b"secret", six=six)
    made.protocol = _UDP
    view = _looked(functions, made)["view"]
    assert not view["found"] and _address(view["local"]) == (_SOURCE6 if six else _SOURCE4)
    assert view["length"] == len(made.raw) - (40 if six else 20)


@pytest.mark.parametrize("kind", _PASSED)
@pytest.mark.parametrize("words", [0, 1, 3])
def test_each_extension_header_has_its_length(functions: Functions, kind: int, words: int) -> None:
    """In 8 bytes, the first not counted; an authentication header's in 4, a fragment's fixed."""
    made = _made(_UDP, b"x", six=True, passed=((kind, words), (60, 0)))
    assert _looked(functions, made)["view"]["payload"] == made.payload


def test_eight_headers_are_walked_and_no_more(functions: Functions) -> None:
    """MOST_HEADERS of view.h; one more, and it is not found."""
    eight, nine = (_made(_TCP, b"x", six=True, passed=((60, 1),) * number) for number in (8, 9))
    assert _looked(functions, eight)["view"]["found"] and not _looked(functions, nine)["view"]["found"]


def test_pings_keep_the_sockets_ports(functions: Functions) -> None:
    """They have none of their own; what is behind ICMP's 8 bytes is payload."""
    view = _looked(functions, _made(_ICMP, b"abcd"))["view"]
    assert (view["found"], view["local_port"], view["peer_port"], view["length"]) == (1, 1, 2, 4)


def _record(message: bytes, kind: int = 22, length: int | None = None, version: bytes = b"\3\1") -> bytes:
    return bytes([kind]) + version + struct.pack(">H", len(message) if length is None else length) + message


def _message(length: int, kind: int = 1, there: int = 300) -> bytes:
    """A handshake message of which so many bytes are there."""
    return bytes([kind]) + length.to_bytes(3, "big") + bytes(min(length, there))


@pytest.mark.parametrize(
    ("payload", "head"),
    [
        (b"G", _HEAD),
        (b"Ge", _HEAD),
        (b"GET / HTTP/1.1\r\n", _HEAD),
        (b"get / HTTP/1.1\r\n", _HEAD),
        (b"M-SEARCH * HTTP/1.1\r\n", _HEAD),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", _HEAD),
        (b"\r\nGET / HTTP/1.1\r\n", _HELLO),
        (b"\t", _HELLO),
        (b"X / HTTP/1.1\r\n", _HEAD),
        (b"x\t/ HTTP/1.1\r\n", _HEAD),
        (b"AB / HTTP/1.1\r\n", _HEAD),
        (b"_-_ / HTTP/1.1\r\n", _HEAD),
        (b"-X / HTTP/1.1\r\n", _HEAD),
        (b"A\n", _HEAD),
        (b"A\n\n", 0),
        (b"G\0T", 0),
        (b"GE\x7f", 0),
        (b"\0abc", 0),
        (b"1", 0),
        (b"@AZ", 0),
        (b"[AZ", 0),
        (b"`az", 0),
        (b"{az", 0),
        (b"\x16", _HELLO),
        (_record(_message(200))[:8], _HELLO),
        (_record(_message(200))[:9], 5 + 4 + 200),
        (_record(_message(200)), 5 + 4 + 200),
        (_record(_message(200)) + b"more", 5 + 4 + 200),
        (_record(_message(200), length=100), _HELLO),
        (_record(_message(200), length=203), _HELLO),
        (_record(_message(200), length=204), 209),
        (_record(_message(16379), length=65535), 5 + 4 + 16379),
        (_record(_message(16380), length=65535), _HELLO),
        (_record(b"", length=0) + _record(_message(9)), _HELLO),
        (_record(b"\2\x28", kind=21) + _record(_message(9)), _HELLO),
        (_record(_message(200, kind=2)), 0),
        (_record(_message(200), version=b"\2\0"), 0),
        (_record(_message(200), kind=23), 0),
    ],
)
def test_how_far_a_head_goes(functions: Functions, payload: bytes, head: int) -> None:
    """By its first bytes: an HTTP head 8 KiB, one that is not known yet 16, a ClientHello up to its end, anything else not at all."""
    assert _looked(functions, _made(_TCP, payload))["head"] == head


@pytest.mark.parametrize(("ports", "head"), [((53, _TO), _WHOLE), ((_FROM, 53), _WHOLE), ((_FROM, 54), 0)])
def test_dns_is_wanted_whole(functions: Functions, ports: tuple[int, int], head: int) -> None:
    """By either port, whatever its first bytes are."""
    made = _made(_TCP, b"\0\x1d\0\1")
    raw = made.raw[: made.at] + struct.pack(">HH", *ports) + made.raw[made.at + 4 :]
    assert _looked(functions, made, raw)["head"] == head


#: What a method begins with; other tokens no server in use takes as one.
_BEGINS = [bytes([byte]) for byte in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-"]
_REQUEST = st.builds(
    lambda blanks, method, path, rest: blanks + method + b" /" + path + b" HTTP/1.1\r\nHost: a.example\r\n" + rest,
    st.binary(max_size=0) | st.sampled_from((b"\r\n", b"\n\n", b" \t")),
    st.sampled_from((b"GET", b"post", b"PROPFIND", b"M-SEARCH", b"X", b"go", b"_", b"-x")),
    st.from_regex(rb"[a-z/?=]{0,40}", fullmatch=True),
    st.sampled_from((b"", b"\r\n", b"User-Agent: x", b"\r\nbody\r\n\r\n")),
)
_NAMES = st.from_regex(r"[a-z]{1,20}\.example", fullmatch=True)
_STREAMS = _REQUEST | _NAMES.map(packets.hello) | st.binary(min_size=1, max_size=200)


@given(payload=_STREAMS, behind=st.binary(max_size=50))
def test_what_is_copied_is_enough_for_who_reads_it(functions: Functions, payload: bytes, behind: bytes) -> None:
    """The kernel's side against the dissector's: what begins as a ClientHello is wanted, and the rest of it says nothing more."""
    whole = payload + behind
    head = int(_looked(functions, _made(_TCP, whole))["head"])
    if hello.looks_like(whole) and len(whole) > 1:
        assert head > 0
        assert hello.read(whole[:head]) == hello.read(whole)
    elif http.looks_like(whole) and whole.lstrip(http.BLANKS)[:1] in _BEGINS:
        assert head > 0
        assert http.read(whole[:head]) == http.read(whole)


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\r\n", b"\r\n\r", b"\r\n\r\nx", b"\n\n"])
def test_an_end_of_a_head_is_four_bytes_at_the_end(functions: Functions, end: bytes) -> None:
    """Most requests come whole in one segment; a body, or a head that goes on, has other bytes there."""
    for payload in (b"GET / HTTP/1.1\r\nHost: a" + end, end):
        assert _looked(functions, _made(_TCP, payload))["ends"] == (payload[-4:] == b"\r\n\r\n")


def _pieces(functions: Functions, payload: bytes, **given: int) -> list[tuple[int, int, bytes]]:
    """Offset, true length and bytes of each record that a packet with this payload becomes."""
    made = _made(_UDP, payload)
    call = functions.given()
    call["view"]["protocol"], call["view"]["out"] = _UDP, 1
    for name, value in given.items():
        call[name] = value
    functions.run("run_pieces", call, made.raw)
    kind = functions.dtype("packet_event")
    found = []
    for raw in functions.records():
        record = np.frombuffer(raw, kind, 1)[0]
        text = record["payload"]
        found.append(
            (
                int(record["stream_offset"]),
                int(record["payload_length"]),
                raw[text["offset"] : text["offset"] + text["length"]],
            )
        )
    return found


@given(payload=st.binary(min_size=1, max_size=_MOST), size=st.integers(1, 600))
def test_a_send_of_many_datagrams_is_a_record_each(functions: Functions, payload: bytes, size: int) -> None:
    """In their order, all of the same size but the last; the 129th and later ones no kernel sends at once."""
    found = _pieces(functions, payload, size=size, end=len(payload))
    expected = [payload[at : at + size] for at in range(0, len(payload), size)][:128]
    assert found == [(0, len(one), one) for one in expected]


def test_a_stream_that_is_wanted_to_the_end_of_a_piece(functions: Functions) -> None:
    """Nothing more is copied in a record of its own; the last true length says that there is more."""
    found = _pieces(functions, b"x" * 100, size=30, end=60, stream=1)
    assert [(at, length) for at, length, _ in found] == [(0, 30), (30, 70)]


@given(payload=st.binary(min_size=1, max_size=_MOST), data=st.data())
def test_a_stream_is_copied_as_far_as_it_is_wanted(functions: Functions, payload: bytes, data: st.DataObject) -> None:
    """Pieces up to the end that is wanted, with their places in the stream; the last one's true length says what was not copied."""
    size = data.draw(st.integers(30, 600), label="size")
    end = data.draw(st.integers(1, len(payload)), label="end")
    offset = data.draw(st.integers(0, 2**32 - 1), label="offset")
    found = _pieces(functions, payload, size=size, end=end, offset=offset, stream=1)
    places = list(range(0, end, size))
    last = places[-1]
    expected = [(at, size, payload[at : at + size]) for at in places[:-1]]
    expected.append((last, len(payload) - last, payload[last:]))
    assert found == [((offset + at) % 2**32, length, one) for at, length, one in expected]
