"""Messages through a unix socket, each in a frame: its length, four bytes with the most significant first, and the message."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from typing import Any

import msgspec

_HEAD = struct.Struct(">I")
#: Bytes of a message: of one to the reader, and of one from it.
MOST_ASKED, MOST_SAID = 1 << 20, 64 << 20


class Frames:
    """Both directions of one socket. `wait`: seconds for which the other side may leave a message unread.

    Raises OSError after the socket was closed (TimeoutError after `wait`), ValueError for bytes that are no message.
    """

    def __init__(self, peer: socket.socket, wait: float) -> None:
        self._peer, self._wait = peer, wait
        self._peer.setblocking(False)
        self._one = threading.Lock()

    def send(self, message: Any) -> None:
        """Sends one message. Raises ValueError for a message that is too long, before it sends any of it."""
        data = msgspec.msgpack.encode(message)
        if len(data) > MOST_SAID:
            raise ValueError(f"a message of {len(data):,} bytes")
        with self._one:
            until = time.monotonic() + self._wait
            rest = memoryview(_HEAD.pack(len(data)) + data)
            while rest:
                self._ready(select.POLLOUT, until)
                rest = rest[self._peer.send(rest, socket.MSG_NOSIGNAL) :]

    def receive(self, decoder: msgspec.msgpack.Decoder[Any], until: float, most: int) -> Any:
        """Returns the next message; `until` is in monotonic seconds."""
        (length,) = _HEAD.unpack(self._exactly(_HEAD.size, until))
        if length > most:
            raise ValueError(f"a message of {length:,} bytes")
        return decoder.decode(self._exactly(length, until))

    def _exactly(self, size: int, until: float) -> bytearray:
        found = bytearray()
        while len(found) < size:  # memory is taken as it comes, not as it is announced
            self._ready(select.POLLIN, until)
            part = self._peer.recv(min(size - len(found), 1 << 20))
            if not part:
                raise ConnectionError("it ended")
            found += part
        return found

    def _ready(self, event: int, until: float) -> None:
        poller = select.poll()
        poller.register(self._peer, event)
        if not poller.poll(max(0.0, until - time.monotonic()) * 1000):
            raise TimeoutError("no answer in time")

    def close(self) -> None:
        """Close the socket."""
        self._peer.close()
