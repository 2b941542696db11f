"""ask/phrase.py: what a socket did, in one line."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from firsthand.ask import phrase

_OUT = {
    "event": "close",
    "transport": "tcp",
    "local_address": "10.0.0.5",
    "local_port": 40000,
    "peer_address": "192.0.2.7",
    "peer_port": 443,
    "outcome": "closed",
    "bytes_sent": 1500,
    "bytes_received": 10,
}


@pytest.mark.parametrize(
    ("row", "way"),
    [
        ({"event": "connect"}, "out"),
        ({"event": "accept"}, "in"),
        ({"event": "close", "flag_names": "LOOPBACK,INCOMING"}, "in"),
        ({"event": "seen", "flag_names": "BEFORE"}, None),
        ({"event": "seen", "flag_names": "BEFORE,INCOMING"}, "in"),
        ({"event": "close", "flag_names": None}, "out"),
        ({"event": "packet", "direction": "in"}, "in"),
        ({"event": "connect", "flag_names": "NOT_INCOMING_AT_ALL"}, "out"),
    ],
)
def test_who_began_it(row: dict[str, Any], way: str | None) -> None:
    """Of a connection that is older than the observer nobody knows."""
    assert phrase.direction(row) == way


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({}, "→ 192.0.2.7:443 closed 1.5 kB out, 10 B in"),
        ({"bytes_received": None}, "→ 192.0.2.7:443 closed 1.5 kB out, 0 B in"),
        ({"event": "connect", "outcome": "refused"}, "→ 192.0.2.7:443 refused"),
        ({"event": "accept"}, "← 192.0.2.7:443 on 10.0.0.5:40000 closed"),
        ({"transport": "udp"}, "→ udp 192.0.2.7:443 closed 1.5 kB out, 10 B in"),
        (
            {"transport": "udp", "flag_names": "INCOMING", "bytes_sent": None},
            "← udp 192.0.2.7:443 on 10.0.0.5:40000 closed",
        ),
        ({"event": "taken"}, "→ 192.0.2.7:443 taken over"),
        ({"event": "seen", "flag_names": "BEFORE"}, "↔ 192.0.2.7:443 open before"),
        ({"event": "open", "transport": "raw"}, "opens a raw socket"),
        ({"event": "listen"}, "listens on 10.0.0.5:40000"),
        ({"event": "seen", "flag_names": "LISTENING"}, "listens on 10.0.0.5:40000"),
        ({"event": "close", "flag_names": "LISTENING"}, "stops listening on 10.0.0.5:40000"),
    ],
)
def test_a_connection(more: dict[str, Any], line: str) -> None:
    """The arrow, the peer, how it went and how much; bytes only where it has carried some."""
    assert phrase.of(_OUT | more) == line


@pytest.mark.parametrize(
    ("more", "label"),
    [
        ({"names": ["a.example", "b.example", "c.example"]}, "(a.example, b.example)"),
        ({"sni": "only.example"}, "(only.example)"),
        ({"peer_pod": "web-1", "peer_namespace": "shop"}, "(shop/web-1)"),
        ({"peer_pod": "web-1"}, "(web-1)"),
        ({"peer_kind": "service", "peer_name": "kubernetes"}, "(service kubernetes)"),
        ({"peer_kind": "node"}, "(node)"),
        ({"peer_kind": "external", "peer_name": "x"}, ""),
        ({"nat_address": "10.1.2.3", "nat_port": 8443, "names": ["a.example"]}, "(10.1.2.3:8443, a.example)"),
    ],
)
def test_who_the_peer_is(more: dict[str, Any], label: str) -> None:
    """What translated it, the pod or what else the cluster knows, two of its names."""
    assert phrase.of(_OUT | more) == " ".join(filter(None, ["→ 192.0.2.7:443", label, "closed 1.5 kB out, 10 B in"]))


def test_many_in_one_row() -> None:
    """A folded row says how many."""
    many = {"folded_count": 1200, "folded_until": datetime(2026, 5, 1, 12, 0, 59, 123456)}
    assert phrase.of(_OUT | many).endswith("x 1,200 until 12:00:59.123")


def test_unix_sockets_have_paths() -> None:
    """One that is not known is a question mark."""
    unix = {"event": "connect", "transport": "unix", "outcome": "established"}
    assert phrase.of(unix | {"path": "/run/x.sock"}) == "→ unix:/run/x.sock established"
    assert phrase.of(unix) == "→ unix:? established"


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"event": "question", "query_id": 7, "name": "a.example", "type": "A"}, "? A a.example asked"),
        (
            {"event": "answer", "query_id": 7, "name": "a.example", "type": "A", "rcode": "NOERROR",
             "addresses": ["192.0.2.1"] * 5, "marks": "SLOW,LONG"},
            "? A a.example NOERROR 192.0.2.1 192.0.2.1 192.0.2.1 192.0.2.1 SLOW LONG",
        ),
        ({"what": "asked", "names": ["b.example"], "outcome": "answered"}, "? b.example answered"),
        ({"records": [], "name": None}, "? ?"),
        ({"event": "tls", "protocol": "tls", "transport": "tcp", "sni": "a.example", "ja4": "t13"}, "» tls a.example t13"),
        (
            {"event": "http", "protocol": "http/1.1", "transport": "tcp", "host": "h", "sni": "s", "url_path": "/p", "method": "GET"},
            "» GET h/p",
        ),
    ],
)  # fmt: skip
def test_names_and_heads(row: dict[str, Any], line: str) -> None:
    """Lookups begin with a question mark, heads with an arrow of their own."""
    assert phrase.of(row) == line


@pytest.mark.parametrize("member", ["path", "names", "sni", "peer_pod", "nat_address"])
def test_what_a_process_chose_is_harmless(member: str) -> None:
    """No terminal's escape comes through, whoever wrote it."""
    hostile = "\x1b[2Jx"
    row = dict(_OUT, **{member: [hostile] if member == "names" else hostile})
    if member == "path":
        row |= {"peer_address": None}
    assert "\x1b" not in phrase.of(row) and "\\x1b[2Jx" in phrase.of(row)
