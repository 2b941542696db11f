"""What the kernel's connection tracking (conntrack) tells of translated addresses, by netlink.

Only who has CAP_NET_ADMIN may ask and listen: the loader does, in each wanted network namespace, and hands the sockets on. Facts:
include/uapi/linux/netfilter/nfnetlink_conntrack.h and nfnetlink.h, netlink(7).
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from firsthand.errors import UsageError

_NETLINK_NETFILTER, _CLONE_NEWNET = 12, 0x40000000
#: Groups NFNLGRP_CONNTRACK_NEW and _DESTROY, as bits.
_GROUPS = 1 << 0 | 1 << 2
_SO_RCVBUFFORCE, _BUFFER = 33, 4 << 20
_SUBSYSTEM, _GET = 1 << 8, 1
_REQUEST, _DUMP = 1, 0x300


class ConntrackSockets(NamedTuple):
    """Descriptors of sockets; `notes` on namespaces that cannot be heard, and `refused`: why the own one may not be."""

    sockets: list[int]
    notes: list[str]
    refused: str


def listen(namespaces: Sequence[str]) -> ConntrackSockets:
    """Sockets that hear of every new and every ended entry, and first of those that are there.

    `namespaces` are files such as /run/netns/NAME; the own namespace always comes first. UsageError for one that is none; a kernel
    without conntrack gives no socket and a note.
    """
    found: list[int] = []
    notes: list[str] = []
    refused = ""
    for path in ("", *namespaces):
        try:
            with _within(path):
                found.append(_socket())
        except OSError as error:
            if isinstance(error, PermissionError) and not path:
                refused = f"{error.strerror}; CAP_NET_ADMIN is needed"
                continue
            notes.append(f"translated addresses are not known{f' in {path}' if path else ''}: {error.strerror}")
    return ConntrackSockets(found, notes, refused)


@contextmanager
def _within(path: str) -> Iterator[None]:
    if not path:
        yield
        return
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        _enter(_opened(path), path)
        yield
    finally:
        _enter(own, "/proc/self/ns/net")


def _opened(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        raise UsageError(
            f"network.translated_namespaces: {path}: {error.strerror}; name files such as /run/netns/NAME"
        ) from error


def _enter(descriptor: int, path: str) -> None:
    """setns(2); Python has it from 3.12 on."""
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
            if ctypes.get_errno() == errno.EPERM:
                raise PermissionError(errno.EPERM, "CAP_SYS_ADMIN is needed to enter it")
            raise UsageError(
                f"network.translated_namespaces: {path} is no network namespace; name one, as `ip netns` makes"
            )
    finally:
        os.close(descriptor)


def _socket() -> int:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as made:
        made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        made.bind((0, _GROUPS))
        header = struct.pack("=IHHII", 20, _SUBSYSTEM | _GET, _REQUEST | _DUMP, 1, 0)
        made.send(header + struct.pack("=BBH", socket.AF_UNSPEC, 0, 0))
        made.setblocking(False)
        return os.dup(made.fileno())
