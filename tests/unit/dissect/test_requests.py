"""Rows of `request`: heads of streams in any cuts, and names on one connection that contradict each other."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from firsthand.dissect import requests
from firsthand.dissect.packet import Packet
from firsthand.dissect.requests import Requests
from tests import packets
from tests.packets import BEGIN, rows_of

_SECOND = 1_000_000_000
_HELLO = packets.hello()
_GET = b"GET /a?b HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: x\r\n\r\n"


def _head(payload: bytes, number: int = 0, offset: int = 0, **values: Any) -> Packet:
    given = {"transport": "tcp", "packet_kind": "head", "peer_port": 443, "stream_offset": offset}
    return packets.packet(payload, number, **(given | values))


def test_a_hello_is_one_row() -> None:
    """Name, protocols, version, fingerprint."""
    (row,) = rows_of(Requests(), _head(_HELLO, 3))
    assert (row["event"], row["packet"], row["sni"], row["alpn"]) == ("tls", 3, "www.example.org", ["h2", "http/1.1"])
    assert (
        row["ja4"].startswith("t13d")
        and row["ech"] is False
        and row["marks"] is None
        and row["tls_version"] == "TLS 1.3"
    )
    assert row["message_bytes"] == len(_HELLO) - 5


def test_cut_anywhere_and_in_any_order() -> None:
    """In two at each place and in three at some, each order: one row, the same one."""
    (whole,) = rows_of(Requests(), _head(_HELLO))
    for cut in range(1, len(_HELLO)):
        for order in itertools.permutations([(0, _HELLO[:cut]), (cut, _HELLO[cut:])]):
            rows = rows_of(Requests(), *(_head(part, 0, at) for at, part in order))
            assert rows == [whole], cut
    for cut in range(2, len(_HELLO) - 2, 25):
        parts = [(0, _HELLO[: cut // 2]), (cut // 2, _HELLO[cut // 2 : cut]), (cut, _HELLO[cut:])]
        for three in itertools.permutations(parts):
            assert rows_of(Requests(), *(_head(part, 0, at) for at, part in three)) == [whole]
    assert len(rows_of(Requests(), *(_head(_HELLO[at : at + 1], 0, at) for at in range(len(_HELLO))))) == 1


def test_no_name_is_said_and_only_where_that_is_known() -> None:
    """NO_SNI of a whole ClientHello; of one that was cut it is not known."""
    bare = packets.hello(sni=None)
    (row,) = rows_of(Requests(), _head(bare))
    assert row["marks"] == "NO_SNI" and row["sni"] is None
    reader = Requests()
    (cut,) = rows_of(reader, _head(bare[:60], payload_length=len(bare)))
    assert cut["marks"] == "TRUNCATED" and cut["ech"] is None and cut.get("ja4") is None and "60 bytes" in cut["reason"]


def test_half_a_head_is_told_when_it_is_late() -> None:
    """Of the packet that it began with, once; what still comes then is passed over."""
    reader = Requests()
    assert not rows_of(reader, _head(_GET[:30], 8))
    assert not list(reader.late(BEGIN + _SECOND))
    (row,) = reader.late(BEGIN + 6 * _SECOND)
    assert (row["packet"], row["marks"], row["method"], row["url_path"]) == (8, "TRUNCATED", "GET", "/a")
    assert not rows_of(reader, _head(_GET[30:], 9, 30)) and not len(reader.streams)


def test_one_head_a_stream() -> None:
    """What comes behind it is no row, whatever it looks like."""
    reader = Requests()
    assert len(rows_of(reader, _head(_GET), _head(_GET, 1, len(_GET)))) == 1


def test_other_streams_are_no_rows_and_are_not_kept() -> None:
    """SSH, Redis, an answer of HTTP, bytes."""
    reader = Requests()
    for number, data in enumerate((b"SSH-2.0-x\r\n", b"*1\r\n$4\r\nPING\r\n", b"HTTP/1.1 200 OK\r\n\r\n", bytes(100))):
        assert not rows_of(reader, _head(data, number, cookie=number))
    assert not len(reader.streams) and not list(reader.late(BEGIN + 60 * _SECOND))


def test_fronting_is_marked_on_the_later_row() -> None:
    """A server name outside and another Host inside; the same name, or another socket, is none."""
    reader = Requests()
    (outer,) = rows_of(reader, _head(packets.hello(sni="cdn.example")))
    (inner,) = rows_of(reader, _head(_GET, 1, direction="in"))
    assert outer["marks"] is None and inner["marks"] == "FRONTED" and "cdn.example" in inner["reason"]
    (other,) = rows_of(reader, _head(_GET, 1, cookie=8))
    assert other["marks"] is None
    same = Requests()
    assert [row["marks"] for row in rows_of(same, _head(_HELLO), _head(_GET, 1, direction="in"))] == [None, None]
    turned = Requests()
    rows = rows_of(turned, _head(_GET), _head(packets.hello(sni="cdn.example"), 1, direction="in"))
    assert [row["marks"] for row in rows] == [None, "FRONTED"]


def test_what_is_malformed_says_where() -> None:
    """A ClientHello whose lengths contradict each other; a request without a host."""
    (hello,) = rows_of(Requests(), _head(_HELLO[:43] + b"\xff" + _HELLO[44:]))
    assert hello["marks"] == "MALFORMED" and hello["reason"] and hello.get("ja4") is None
    (get,) = rows_of(Requests(), _head(b"GET / HTTP/1.1\r\n\r\n"))
    assert get["marks"] == "MALFORMED" and "Host" in get["reason"]


def test_the_query_is_kept_where_it_is_wanted() -> None:
    """Cut by default."""
    assert rows_of(Requests(), _head(_GET))[0]["url_path"] == "/a"
    assert rows_of(Requests(keep_query=True), _head(_GET))[0]["url_path"] == "/a?b"


@pytest.mark.landing("thousands of connections")
def test_what_waits_is_bounded() -> None:
    """Heads that never end: the oldest go with a row; bytes and names are bounded as well."""
    reader = Requests()
    rows = []
    for number in range(requests.STREAMS + 10):
        rows += rows_of(reader, _head(_GET[:40], number, cookie=number))
    assert len(reader.streams) == requests.STREAMS and [row["packet"] for row in rows] == list(range(10))
    reader = Requests()
    for number in range(requests.STREAMS):
        for at in range(0, 12000, 4000):
            rows_of(reader, _head((b"GET /" + b"a" * 12000)[at : at + 4000], number, at, cookie=number))
    assert reader.streams.bytes <= requests.STREAM_BYTES
    for number in range(requests.REMEMBERED + 10):
        rows_of(reader, _head(_GET, number, cookie=1_000_000 + number))
    assert len(reader.named) == requests.REMEMBERED


def test_what_was_given_to_libssl_is_a_head_within_tls() -> None:
    """On the same socket as the ClientHello: both rows, and that the names differ; nothing more of it is waited for."""
    reader = Requests()
    outer, inner = rows_of(reader, _head(packets.hello(sni="cdn.example")), _head(_GET, 1, packet_kind="plain"))
    assert (outer["within_tls"], inner["within_tls"]) == (False, True) and inner["marks"] == "FRONTED"
    (cut,) = rows_of(reader, _head(_GET[:40], 2, packet_kind="plain", cookie=9))
    assert cut["marks"] == "TRUNCATED" and not len(reader.streams)
