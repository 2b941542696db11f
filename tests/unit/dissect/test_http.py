"""Heads of HTTP requests, in both versions, whole, cut and broken."""

from __future__ import annotations

import random

import pytest
from hpack import Encoder

from firsthand.dissect import http
from tests import packets, require
from tests.unit.dissect.test_dns import mutated

_GET = b"GET /a/b?token=1 HTTP/1.1\r\nHost: WWW.Example.org:8080\r\nUser-Agent: curl/8\r\nCookie: x\r\n\r\n"


def _version2(fields: list[tuple[str, str]], *, padded: bool = False, split: int = 0) -> bytes:
    """The preface, SETTINGS, a window update and the headers of one request."""

    def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
        return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body

    block = Encoder().encode(fields)
    head, rest = (block[:split], block[split:]) if split else (block, b"")
    flags = (0 if split else 4) | (8 if padded else 0) | (0x20 if padded else 0)
    body = b"\x03" + bytes(5) + head + bytes(3) if padded else head
    found = http.PREFACE + frame(4, 0, 0, b"\0\3\0\0\0\x64") + frame(8, 0, 0, bytes(4)) + frame(1, flags, 1, body)
    return found + (frame(9, 4, 1, rest) if split else b"")


_FIELDS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "Orders.svc:50051"),
    (":path", "/shop.Orders/Add?x=1"),
    ("user-agent", "grpc-go/1.60"),
]


def test_a_request_is_read() -> None:
    """Method, host without port in lower case, path without its query, user agent, length."""
    found = http.read(_GET)
    assert found is not None and found.whole and not found.reasons
    assert (found.protocol, found.method, found.host, found.path, found.agent) == (
        "http/1.1",
        "GET",
        "www.example.org",
        "/a/b",
        "curl/8",
    )
    assert found.length == len(_GET)
    kept = http.read(_GET, keep_query=True)
    assert kept is not None and kept.path == "/a/b?token=1"


@pytest.mark.parametrize(
    ("line", "host", "path"),
    [
        (b"GET http://user:secret@Other.example:81/x?y HTTP/1.1\r\nHost: proxy\r\n\r\n", "other.example", "/x"),
        (b"CONNECT db.example:443 HTTP/1.1\r\nHost: db.example:443\r\n\r\n", "db.example", None),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "a", "*"),
        (b"GET / HTTP/1.0\r\n\r\n", None, "/"),
        (b"GET / HTTP/1.1\nHost: [2001:db8::1]:80\n\n", "2001:db8::1", "/"),
        (b"PROPFIND /d HTTP/1.1\r\nhOsT:b.example.\r\n\r\n", "b.example", "/d"),
    ],
)
def test_targets_in_every_form(line: bytes, host: str | None, path: str | None) -> None:
    """Absolute, authority, asterisk and origin form; a user's name and password are no host."""
    found = http.read(line)
    assert found is not None and found.whole and (found.host, found.path) == (host, path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "without a Host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "2 Host headers"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno header\r\n\r\n", "a header line that is none"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", "a header line that is none"),
    ],
)
def test_what_is_wrong_is_named(line: bytes, reason: str) -> None:
    """What servers and proxies disagree about."""
    found = http.read(line)
    assert found is not None and reason in "; ".join(found.reasons)


def test_every_cut_waits_or_tells_what_is_there() -> None:
    """A head that is not whole is no other one; its lines count once they are whole."""
    for size in range(1, len(_GET)):
        data = _GET[:size]
        assert http.looks_like(data), size
        found = http.read(data)
        assert found is None or not found.whole
        if found is not None:
            assert found.host in (None, "www.example.org") and found.agent in (None, "curl/8")


def test_a_line_without_end_is_told() -> None:
    """Of a method that everybody knows; its path as far as it came, bounded."""
    found = http.read(b"GET /" + b"a" * 20_000)
    assert found is not None and not found.whole and found.protocol is None and len(found.path or "") == http.PATH


@pytest.mark.parametrize(
    "data",
    [
        b"EHLO mail\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"SSH-2.0-x\r\n",
        b"get key\r\n",
        b"GET key\r\n",
        b"\0\1\2",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_other_protocols_are_none(data: bytes) -> None:
    """SMTP, Redis, SSH, memcached, bytes, an answer."""
    assert not http.looks_like(data) and http.read(data) is None


@pytest.mark.parametrize("options", [{}, {"padded": True}, {"split": 10}])
def test_version_2_with_prior_knowledge(options: dict[str, int]) -> None:
    """Preface, then the first header block: padded, with priority, continued."""
    wire = _version2(_FIELDS, **options)  # type: ignore[arg-type]
    found = http.read(wire)
    assert found is not None and found.whole and not found.reasons
    assert (found.protocol, found.method, found.host, found.path, found.agent) == (
        "h2",
        "POST",
        "orders.svc",
        "/shop.Orders/Add",
        "grpc-go/1.60",
    )
    for size in range(1, len(wire)):
        assert http.looks_like(wire[:size])
        part = http.read(wire[:size])
        assert part is None or not part.whole


def test_version_2_that_is_broken_says_so() -> None:
    """A first frame that is not SETTINGS, a table that nobody has, more than fits."""
    for wire in (
        http.PREFACE + b"\0\0\0\x01\x04\0\0\0\1",
        http.PREFACE + b"\0\0\0\x04\0\0\0\0\0" + b"\0\0\1\x01\x04\0\0\0\1\xfe",
        _version2([(":method", "GET"), ("x", "y" * 40_000)])[: http.HEAD],
    ):
        found = http.read(wire)
        assert found is not None and found.protocol == "h2" and (found.reasons or not found.whole)


def test_curl_really_sends_this() -> None:
    """HTTP/1.1 and HTTP/2 with prior knowledge."""
    require.programs("tls", "curl")
    one = http.read(packets.sent(("curl", "-s", "-A", "agent/1", "http://127.0.0.1:{port}/p?q")))
    assert one is not None and (one.method, one.host, one.path, one.agent) == ("GET", "127.0.0.1", "/p", "agent/1")
    two = http.read(packets.sent(("curl", "-s", "--http2-prior-knowledge", "http://127.0.0.1:{port}/p?q"), 24))
    assert two is not None and two.protocol == "h2"
    if two.whole:
        assert (two.method, two.host, two.path) == ("GET", "127.0.0.1", "/p")


def test_mutated_heads_never_hurt() -> None:
    """No exception, bounded output."""
    chance = random.Random(5)
    seeds = [_GET, _version2(_FIELDS), _version2(_FIELDS, padded=True, split=10)]
    for number in range(10_000):
        wire = mutated(chance, seeds[number % len(seeds)])
        http.looks_like(wire)
        found = http.read(wire, keep_query=True)
        if found is not None:
            assert len(found.path or "") <= 4 * http.PATH and len(found.host or "") <= 4 * http.HOST
            assert len(found.method or "") <= 4 * http.METHOD and all(len(reason) < 250 for reason in found.reasons)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\r\nGET /a HTTP/1.1\r\nHost: x.example\r\n\r\n", ("http/1.1", "GET", "/a", "x.example")),
        (b"\n" * 3000 + b"GET /a HTTP/1.1\r\nHost: x.example\r\n\r\n", ("http/1.1", "GET", "/a", "x.example")),
        (b" \t\rPOST /a HTTP/1.0\r\n\r\n", ("http/1.0", "POST", "/a", None)),
        (b"get /a HTTP/1.1\nHost: x.example\n\n", ("http/1.1", "get", "/a", "x.example")),
        (b"GET   /a   HTTP/1.1  \r\nHost: x.example\r\n\r\n", ("http/1.1", "GET", "/a", "x.example")),
        (b"GET\t/a\tHTTP/1.1\r\nHost: x.example\r\n\r\n", ("http/1.1", "GET", "/a", "x.example")),
        (b"GET /a HTTP/1.9\r\nHost: x.example\r\n\r\n", ("http/1.9", "GET", "/a", "x.example")),
        (b"GET /a b HTTP/1.1\r\nHost: x.example\r\n\r\n", ("http/1.1", "GET", "/a b", "x.example")),
        (b"GET /a http/1.1\r\nHost: x.example\r\n\r\n", ("http/1.1", "GET", "/a", "x.example")),
        (b"A" * 100 + b" /a HTTP/1.1\r\nHost: x.example\r\n\r\n", ("http/1.1", "A" * http.METHOD, "/a", "x.example")),
        (b"GET /a\r\n", ("http/0.9", "GET", "/a", None)),
        (b"\r\nGET http://x.example/a\n", ("http/0.9", "GET", "/a", "x.example")),
    ],
)
def test_what_servers_accept_is_read(data: bytes, told: tuple[str | None, ...]) -> None:
    """A request that nginx, Apache, Node or Go's server would serve is no way round a row, in whatever pieces it comes."""
    found = http.read(data)
    assert found is not None and found.whole and not found.reasons and found.length == len(data)
    assert (found.protocol, found.method, found.path, found.host) == told
    assert all(http.looks_like(data[:size]) for size in range(len(data)))
    assert bool(found.notes) == (not data[:1].isalpha() or data[0:40] == b"A" * 40)


@pytest.mark.parametrize(
    ("data", "open_"),
    [
        (b"GET x" + b" " * (1 << 17) + b"\n", False),
        (b"GET x" + b" " * (1 << 17), True),
        (b"GET" + b"\t" * (1 << 17) + b"\rX", False),
        (b"GET x" + b" HTTP/1.1 " * (1 << 14) + b"\rx\n", False),
        (b"GET " + b"a " * (1 << 16) + b"\n", False),
    ],
    ids=["blanks", "blanks without an end", "tabs", "versions", "words"],
)
def test_no_blanks_keep_the_dissector_busy(data: bytes, open_: bool) -> None:
    """Law: a request line is read in linear time, whoever sent it: 128 KiB of blanks are within the budget of a test, where a time that
    grew with their square would be beyond it, and with 16 KiB beyond the dissector's patience."""
    assert http.looks_like(data) is open_
    http.read(data)


def test_blanks_in_a_target_stay_in_it() -> None:
    """Law: what stands between the first and the last blanks of a request line is its target, as nginx reads it."""
    found = http.read(b"GET  /a  b HTTP/1.0 c \t HTTP/1.1 \r\nHost: x\r\n\r\n")
    assert found is not None and (found.protocol, found.path) == ("http/1.1", "/a  b HTTP/1.0 c")
