"""The dissector: a process that reads what others wrote, and can do nothing else (`python -m firsthand.roles.dissector OPTIONS SOCKET`).

It takes frames of packets from the observer through the socket that it was given and answers with rows. Once it has begun it
opens nothing, starts nothing and has no more memory than it was given: a message that would break a parser breaks this process
alone. It ends with its standard input, not with the observer, for which the supervisor gives a new one a new line.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import socket
import sys
from pathlib import Path
from typing import Any

import dns.rdata

from firsthand.confine import rights, seccomp
from firsthand.dissect import frame
from firsthand.dissect.dissector import Dissector

#: Bytes of address space beyond those that it begins with.
MEMORY = 192 << 20


class FrameLine:
    """Frames over the socket."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer

    def read(self) -> tuple[int, memoryview] | None:
        """Kind and body of the next frame, None at the line's end. ValueError for one that is too long."""
        head = self._exactly(frame.HEAD.size)
        if head is None:
            return None
        length, kind = frame.HEAD.unpack(head)
        if not 0 < length <= frame.MOST_BYTES:
            raise ValueError(f"a frame of {length} bytes")
        body = self._exactly(length - 1)
        return None if body is None else (kind, body)

    def _exactly(self, size: int) -> memoryview | None:
        found, at = memoryview(bytearray(size)), 0
        while at < size:
            got = self._peer.recv_into(found[at:])
            if not got:
                return None
            at += got
        return found

    def write(self, whole: bytes) -> None:
        """One frame."""
        self._peer.sendall(whole)


def close_up() -> None:
    """From here on: no files, no programs, no sockets, no threads, little memory, and no trace on a disk."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    rights.leave_no_core()
    seccomp.apply(seccomp.DISSECTING)


def begin(options: dict[str, Any]) -> Dissector:
    """A dissector whose code is all loaded: a module that is wanted later could not be opened."""
    dns.rdata.load_all_types()  # type: ignore[no-untyped-call]
    for word in ("ascii", "utf-8"):
        b"\xff".decode(word, "backslashreplace")
    return Dissector(options["resolvers"], keep_query=options["keep_query"])


def main(arguments: list[str]) -> int:
    """0 at the end of standard input."""
    options, peer = json.loads(arguments[0]), socket.socket(fileno=int(arguments[1]))
    dissector = begin(options)
    close_up()
    line = FrameLine(peer)
    with contextlib.suppress(OSError):  # the observer is gone: a new one has another line
        line.write(frame.framed(frame.HELLO, ()))
        _watched(line, peer, dissector)
    while os.read(0, 4096):
        pass
    return 0


def _watched(line: FrameLine, peer: socket.socket, dissector: Dissector) -> None:
    """Serve, and look for the supervisor's end meanwhile."""
    poller = select.poll()
    poller.register(peer, select.POLLIN)
    poller.register(0, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poller.poll()}
        if 0 in ready and not os.read(0, 4096):
            return
        if peer.fileno() in ready:
            found = line.read()
            if found is None:
                return
            line.write(dissector.read(_of_packets(*found)))


def _of_packets(kind: int, body: memoryview) -> memoryview:
    if kind != frame.PACKETS:
        raise ValueError(f"a frame of kind {kind}")
    return body


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
