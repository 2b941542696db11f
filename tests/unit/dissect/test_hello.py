"""A ClientHello gives its names and its fingerprint; one that is cut or broken says so."""

from __future__ import annotations

import random
import struct
import time

import pytest

from firsthand.dissect import hello
from firsthand.dissect.hello import ClientHello
from tests import packets, require
from tests.unit.dissect.test_dns import mutated


def _numbers(text: str) -> list[int]:
    return [int(word, 16) for word in text.split(",")]


#: The published example: JA4_ro of technical_details/JA4.md.
_CHROME = ClientHello(
    whole=True,
    version=0x0303,
    ciphers=_numbers("1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035"),
    extensions=_numbers("001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015"),
    versions=[0x0304, 0x0303],
    signatures=_numbers("0403,0804,0401,0503,0805,0501,0806,0601"),
    alpn=[b"h2", b"http/1.1"],
)


def test_ja4_of_the_published_example() -> None:
    """Byte by byte, and the same with reserved values anywhere."""
    assert _CHROME.ja4 == "t13d1516h2_8daaf6152771_e5627efa2ab1"
    greased = ClientHello(**vars(_CHROME))
    greased.ciphers = [0x0A0A, *_CHROME.ciphers]
    greased.extensions = [0x1A1A, *_CHROME.extensions, 0xFAFA]
    greased.versions = [0xBABA, *_CHROME.versions]
    greased.signatures = [*_CHROME.signatures, 0x2A2A]
    assert greased.ja4 == _CHROME.ja4


@pytest.mark.parametrize(
    ("alpn", "shown"),
    [
        ([], "00"),
        ([b""], "00"),
        ([b"h2"], "h2"),
        ([b"http/1.1"], "h1"),
        ([b"x"], "xx"),
        ([b"\xab"], "ab"),
        ([b"\xab\xcd"], "ad"),
        ([b"0\xab"], "3b"),
        ([b"01\xab\xcd"], "3d"),
        ([b"0\xab\xcd1"], "01"),
    ],
)
def test_ja4_of_alpn(alpn: list[bytes], shown: str) -> None:
    """The specification's own examples of its first and last characters."""
    found = ClientHello(**{**vars(_CHROME), "alpn": alpn})
    assert found.ja4.split("_")[0] == f"t13d1516{shown}"


def test_ja4_of_next_to_nothing() -> None:
    """No extension, no name, an old version, over 99 ciphers."""
    old = ClientHello(whole=True, version=0x0301, ciphers=list(range(1, 120)))
    assert old.ja4.startswith("t10i990000_") and old.ja4.endswith("_000000000000")
    assert ClientHello(whole=True, version=0x0300).ja4 == "ts3i000000_000000000000_000000000000"


def test_ja4_without_signature_algorithms() -> None:
    """Then the extensions' list ends without an underscore."""
    import hashlib

    found = ClientHello(**{**vars(_CHROME), "signatures": []})
    listed = ",".join(sorted(f"{one:04x}" for one in _CHROME.extensions if one not in (0, 16)))
    assert found.ja4.endswith("_" + hashlib.sha256(listed.encode()).hexdigest()[:12])


def test_pythons_hello() -> None:
    """Server name, protocols and version of a real one; its cipher and extension counts as the bytes have them."""
    found = hello.read(packets.hello())
    assert found.whole and found.reason is None and not found.ech
    assert (found.sni, found.alpn, found.version_name) == ("www.example.org", [b"h2", b"http/1.1"], "TLS 1.3")
    assert found.ja4.startswith(f"t13d{len(found.ciphers):02}{len(found.extensions):02}h2_")
    assert hello.read(packets.hello(sni=None)).sni is None
    assert hello.read(packets.hello(sni=None)).ja4.startswith("t13i")


@pytest.mark.parametrize(
    ("command", "sni", "version"),
    [
        (
            ("openssl", "s_client", "-connect", "127.0.0.1:{port}", "-servername", "Inner.Example.ORG"),
            "inner.example.org",
            "TLS 1.3",
        ),
        (("openssl", "s_client", "-connect", "127.0.0.1:{port}", "-noservername", "-tls1_2"), None, "TLS 1.2"),
        (
            ("curl", "-sk", "--resolve", "www.example.net:{port}:127.0.0.1", "https://www.example.net:{port}/"),
            "www.example.net",
            "TLS 1.3",
        ),
    ],
)
def test_real_clients(command: tuple[str, ...], sni: str | None, version: str) -> None:
    """What openssl and curl really send."""
    require.programs("tls", command[0])
    found = hello.read(packets.sent(command))
    assert found.whole and (found.sni, found.version_name) == (sni, version)
    assert found.ja4[3] == ("d" if sni else "i")


def test_ech_is_said() -> None:
    """Extension 0xfe0d: the name outside is there, and that another may be inside."""
    wire = _with_extension(packets.hello(), 0xFE0D, bytes(64))
    found = hello.read(wire)
    assert found.whole and found.ech and found.sni == "www.example.org"


def _with_extension(wire: bytes, kind: int, content: bytes) -> bytes:
    """The same ClientHello with one extension more at its end."""
    extension = struct.pack("!HH", kind, len(content)) + content
    body = bytearray(wire[9:])
    at = 34 + 1 + body[34]
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + body[at]
    length = int.from_bytes(body[at : at + 2], "big") + len(extension)
    body[at : at + 2] = length.to_bytes(2, "big")
    body += extension
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def test_every_cut_is_not_whole_and_guesses_nothing() -> None:
    """At each length: no fault, no name that is not the whole one, no end."""
    wire = packets.hello()
    for size in range(len(wire)):
        found = hello.read(wire[:size])
        assert not found.whole and found.reason is None, size
        assert found.sni in (None, "www.example.org")
        assert all(one in (b"h2", b"http/1.1") for one in found.alpn)
        assert hello.looks_like(wire[:size])


def test_records_of_any_size() -> None:
    """One handshake in many records, down to a byte each."""
    wire = packets.hello()
    message = wire[5:]
    for size in (1, 2, 3, 7, 100, 511):
        parts = [message[at : at + size] for at in range(0, len(message), size)]
        split = b"".join(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for part in parts)
        found = hello.read(split)
        assert found.whole and found.sni == "www.example.org" and found.ja4 == hello.read(wire).ja4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda wire: wire[:5] + b"\x02" + wire[6:], "handshake message 2"),
        (lambda wire: wire[:3] + b"\0\0" + wire[5:], "record of type 1"),
        (lambda wire: wire[:43] + b"\xff" + wire[44:], "are told at byte"),
        (lambda wire: wire[:3] + b"\0\x20" + wire[5 : 5 + 32] + b"\x17\x03\x03\0\1x" + wire[37:], "record of type 23"),
    ],
)
def test_contradictions_are_named(change: object, reason: str) -> None:
    """Lengths that do not fit, other messages, other records in between."""
    found = hello.read(change(packets.hello()))  # type: ignore[operator]
    assert not found.whole and found.reason is not None and reason in found.reason


def test_other_protocols_are_not_taken_for_it() -> None:
    """SSH, HTTP, a ServerHello, an alert that is none."""
    for data in (b"SSH-2.0-x\r\n", b"GET / HTTP/1.1\r\n", b"\x16\x03\x03\0\x40\x02\0", b"\x15\x03\x03\0\x09\x01\0"):
        assert not hello.looks_like(data)


def test_ten_thousand_mutated_hellos_never_hurt() -> None:
    """No exception, bounded output, bounded time."""
    chance = random.Random(20260302)
    seeds = [packets.hello(), packets.hello(sni=None, alpn=()), _with_extension(packets.hello(), 0xFE0D, bytes(300))]
    began, slowest = time.process_time(), 0.0
    for number in range(10_000):
        wire = mutated(chance, seeds[number % len(seeds)])
        before = time.process_time()
        found = hello.read(wire)
        ja4 = found.ja4
        slowest = max(slowest, time.process_time() - before)
        assert len(ja4) == 36 and len(found.sni or "") <= 4 * 255 and len(found.alpn) <= hello.PROTOCOLS
        assert not (found.whole and found.reason)
        assert len(found.extensions) <= hello.HELLO // 4 and len(found.reason or "") < 200
    assert slowest < 0.25 and time.process_time() - began < 60


def test_what_may_come_before_it() -> None:
    """Empty records, which OpenSSL takes, and alerts, which Go's TLS takes: the ClientHello behind them is read as ever."""
    wire = packets.hello()
    for before in (
        b"\x16\x03\x01\0\0",
        b"\x15\x03\x01\0\x02\x01\x5a",
        b"\x16\x03\x01\0\0" * 30 + b"\x15\x03\x01\0\x02\x01\0",
    ):
        assert all(hello.looks_like((before + wire)[:size]) for size in range(1, len(before + wire)))
        found = hello.read(before + wire)
        assert found.whole and (found.sni, found.ja4) == ("www.example.org", hello.read(wire).ja4)
