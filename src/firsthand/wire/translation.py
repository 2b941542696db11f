"""Translated destinations: what conntrack told, by the connection as its socket knows it (bounded, the oldest first to go)."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, cast

from firsthand.wire.batch import Batch, Fixed, Text, text

MOST = 65_536
#: Bytes of one read, and reads of one turn: what more there is waits for the next.
_READ, _READS = 1 << 17, 64
_CONNTRACK, _DELETE = 1, 2
#: enum ctattr_type, ctattr_tuple, ctattr_ip, ctattr_l4proto; enum ip_conntrack_status.
_ORIGINAL, _REPLY, _STATUS = 1, 2, 3
_IP, _PROTOCOL = 1, 2
_ADDRESSES = {1: "source", 2: "target", 3: "source", 4: "target"}
_DESTINATION_TRANSLATED = 1 << 5
_TRANSPORTS = {socket.IPPROTO_TCP: b"tcp", socket.IPPROTO_UDP: b"udp"}

#: transport, local address and port, peer address and port.
Key = tuple[bytes, bytes, int, bytes, int]


class Translations:
    """`hear` what the sockets hold, then `fill` the rows of connections. `overflowed` counts reads that found events missing."""

    def __init__(self, sockets: Sequence[int], most: int = MOST) -> None:
        self._sockets = list(sockets)
        self._most = most
        self._known: OrderedDict[Key, tuple[bytes, int]] = OrderedDict()
        self.overflowed = 0

    def __len__(self) -> int:
        return len(self._known)

    def hear(self) -> None:
        """Take in what came since the last time; never waits."""
        for descriptor in self._sockets:
            for _ in range(_READS):
                try:
                    data = os.read(descriptor, _READ)
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                    self.overflowed += 1
                    continue
                self.learn(data)

    def learn(self, data: bytes) -> None:
        """The messages of one read. What is not a translated connection's is left."""
        for kind, body in _messages(data):
            if kind >> 8 != _CONNTRACK:
                continue
            attributes = dict(_attributes(body[4:]))
            if not struct.unpack(">I", attributes.get(_STATUS, b"\0\0\0\0"))[0] & _DESTINATION_TRANSLATED:
                continue
            original, reply = _tuple(attributes.get(_ORIGINAL, b"")), _tuple(attributes.get(_REPLY, b""))
            if original is None or reply is None:
                continue
            if kind & 0xFF == _DELETE:
                self._known.pop(original, None)
                continue
            self._known[original] = (reply[1], reply[2])
            self._known.move_to_end(original)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def fill(self, batch: Batch) -> None:
        """nat_address and nat_port of a batch of `connection`."""
        if not self._known:
            return
        columns = cast("dict[str, Any]", batch.columns)
        addresses: list[bytes] = [b""] * batch.length
        ports = columns["peer_port"].values.copy()
        found = False
        for row in range(batch.length):
            told = self._known.get(_key(columns, row))
            if told is not None:
                addresses[row], ports[row] = told
                found = True
        if found:
            column = text(addresses, None)
            known = column.offsets[1:] > column.offsets[:-1]
            batch.columns["nat_address"] = Text(column.offsets, column.data, known)
            batch.columns["nat_port"] = Fixed(ports.astype("int32"), known)

    def close(self) -> None:
        """Let go of the sockets."""
        for descriptor in self._sockets:
            os.close(descriptor)
        self._sockets = []


def _key(columns: dict[str, Any], row: int) -> Key:
    ends = (columns[name] for name in ("local_address", "local_port", "peer_address", "peer_port"))
    local, local_port, peer, peer_port = ends
    ports = int(local_port.values[row]), int(peer_port.values[row])
    return columns["transport"].row(row), local.row(row), ports[0], peer.row(row), ports[1]


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 16 or at + length > len(data):
            return
        if length >= 20:
            yield kind, data[at + 16 : at + length]
        at += (length + 3) & ~3


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4 or at + length > len(data):
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3


def _tuple(data: bytes) -> Key | None:
    """Protocol, source and its port, target and its port; None for what has no ports."""
    parts = dict(_attributes(data))
    addresses = {_ADDRESSES[kind]: raw for kind, raw in _attributes(parts.get(_IP, b"")) if kind in _ADDRESSES}
    numbers = dict(_attributes(parts.get(_PROTOCOL, b"")))
    transport = _TRANSPORTS.get(numbers.get(1, b"\0")[0])
    if transport is None or len(addresses) != 2 or not {2, 3} <= numbers.keys():
        return None
    source, target = _shown(addresses["source"]), _shown(addresses["target"])
    source_port, target_port = (struct.unpack(">H", numbers[key])[0] for key in (2, 3))
    return transport, source, source_port, target, target_port


def _shown(raw: bytes) -> bytes:
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw).encode()
