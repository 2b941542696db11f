"""Packets as the observer has them, made from payloads: for tests and benchmarks of what is read from them."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import dns.flags
import dns.message
import dns.rrset

from firsthand.dissect.packet import Packet
from firsthand.wire.batch import Batch

POD = "0b1c2d3e-0000-4000-8000-00000000000a"
RESOLVER = "10.96.0.10"
#: ktime of the first packet, ns.
BEGIN = 1_000_000_000_000


def row(payload: bytes, **values: Any) -> dict[str, Any]:
    """One packet of a pod's socket, a datagram to its resolver where nothing else is said."""
    found: dict[str, Any] = {"event": "packet", "ktime": BEGIN, "cookie": 7, "stream_offset": 0}
    found |= {"payload_length": len(payload), "payload": payload, "ns_net": 4026532000, "pod_uid": POD}
    found |= {"direction": "out", "transport": "udp", "packet_kind": "dns", "peer_address": RESOLVER, "peer_port": 53}
    found |= {"local_address": "10.0.0.5", "local_port": 40000, "exec_tgid": 100, "exec_start": 5, "exec_number": 2}
    return found | {"cgroup_id": 4000, "container": "ab" * 32} | values


def batch(rows: Sequence[dict[str, Any]]) -> Batch:
    """These packets as the decoder and the resolver leave them."""
    return Batch.from_rows("packet", rows)


def packet(payload: bytes, number: int = 0, **values: Any) -> Packet:
    """One packet as the dissector has it."""
    one = row(payload, **values)
    names = ("ktime", "cookie", "stream_offset", "payload_length", "ns_net", "pod_uid")
    ends = ("direction", "transport", "packet_kind", "peer_address", "peer_port", "payload")
    return Packet(number, *(one[name] for name in (*names, *ends)))


class Taking(Protocol):
    """What reads packets one by one."""

    def take(self, one: Packet, /) -> Iterable[dict[str, Any]]: ...


def rows_of(reader: Taking, *given: Packet) -> list[dict[str, Any]]:
    """What a reader makes of packets, one after another."""
    return [row for one in given for row in reader.take(one)]


def question(name: str = "www.example.org.", kind: str = "A", number: int = 1, **options: Any) -> bytes:
    """A question's message."""
    made = dns.message.make_query(name, kind, **options)
    made.id = number
    return made.to_wire()


def answer(asked: bytes, *sets: tuple[str, int, str, Sequence[str]], rcode: int = 0, flags: int = 0) -> bytes:
    """The answer to a question: (name, ttl, type, data...) of each set of records."""
    made = dns.message.make_response(dns.message.from_wire(asked))
    made.set_rcode(rcode)  # type: ignore[arg-type]
    made.flags |= dns.flags.Flag(flags)
    for name, ttl, kind, data in sets:
        made.answer.append(dns.rrset.from_text(name, ttl, "IN", kind, *data))
    return made.to_wire(max_size=65535)


def prefixed(*messages: bytes) -> bytes:
    """Messages as they stand in a TCP stream."""
    return b"".join(len(message).to_bytes(2, "big") + message for message in messages)


def hello(sni: str | None = "www.example.org", alpn: Sequence[str] = ("h2", "http/1.1")) -> bytes:
    """The ClientHello that Python's own TLS sends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=sni)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without a peer")


def sent(command: Sequence[str], wanted: int = 6) -> bytes:
    """What a client sends first to a server on loopback that never answers: `{port}` in its words is the server's."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        words = [word.format(port=server.getsockname()[1]) for word in command]
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as client:
            peer, _ = server.accept()
            with peer:
                found = b""
                while len(found) < wanted:
                    found += peer.recv(65536)
                    if found[:1] == b"\x16":
                        wanted = 5 + int.from_bytes(found[3:5], "big")
            client.kill()
    return found
