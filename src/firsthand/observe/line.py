"""The observer's line to the dissector: one question, one answer, over the socket that the supervisor sent last."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Mapping

from firsthand.dissect import frame
from firsthand.dissect.frame import HEAD, HELLO, ROWS

#: Seconds for an answer; and, once, for the first dissector to begin: until then it is the rings that hold what came.
PATIENCE, BEGINNING = 2.0, 10.0


class Line:
    """The socket to the dissector that there is now. `control` is where the supervisor sends a new one; None: never. `beginning`: until
    when, in monotonic seconds, the first one is waited for."""

    def __init__(self, control: socket.socket | None, tell: Callable[[Mapping[str, object]], None]) -> None:
        self._control, self._tell = control, tell
        self._peer: socket.socket | None = None
        self._name, self._greeted = "", False
        self.handed = False
        self.beginning = time.monotonic() + BEGINNING
        self.why = "no dissector answers"

    @property
    def ended(self) -> bool:
        """Whether no dissector will ever come."""
        return self._control is None and self._peer is None

    def ready(self, patience: float = 0.0) -> bool:
        """Whether there is a dissector that has begun and lives, within so many seconds. The first one of all is waited for."""
        until = max(time.monotonic() + patience, self.beginning)
        self._look(until if self._peer is None else 0.0)
        if self._greeted and self._peer is not None and _wait(self._peer, select.POLLIN, 0.0):
            self._gone()  # it is asked nothing: this is its end, or no answer
            self._look(until)
        if self._peer is not None and not self._greeted:
            self._greet(until)
        return self._greeted

    def _look(self, until: float) -> None:
        """Take the newest line that the supervisor sent."""
        while self._control is not None and _wait(self._control, select.POLLIN, until):
            text, descriptors, _, _ = socket.recv_fds(self._control, 16, 1)
            if not text:
                self._control = None
                return
            self._drop()
            self._name, self._peer = text.decode(), socket.socket(fileno=descriptors[0])
            self._peer.setblocking(False)
            until = 0.0

    def _greet(self, until: float) -> None:
        try:
            self._greeted = self._read(until, 1)[0] == HELLO
            self.beginning = 0.0
        except TimeoutError:
            return
        except (OSError, ValueError):
            self._gone()

    def exchange(self, whole: bytes) -> memoryview | None:
        """The answer to a frame; None, with the reason in `why`, where none comes in time, and then this dissector is given up.

        `handed` afterwards: whether it had the whole frame.
        """
        until = time.monotonic() + PATIENCE
        self.handed = False
        try:
            self._write(whole, until)
            self.handed = True
            kind, body = self._read(until, frame.MOST_BYTES)
            if kind != ROWS:
                raise ValueError(f"a frame of kind {kind}")
            return body
        except TimeoutError:
            self.give_up(f"the dissector did not answer within {PATIENCE:g} s")
        except OSError:
            self._gone()
        except ValueError as error:
            self.give_up(f"the dissector's answer was none: {error}")
        return None

    def give_up(self, why: str) -> None:
        """Have the supervisor end this dissector and send another one's line."""
        self.why = why
        self._drop()
        self._tell({"event": "unanswered", "line": self._name, "error": why})

    def _gone(self) -> None:
        self.why = "the dissector ended"
        self._drop()

    def _drop(self) -> None:
        if self._peer is not None:
            self._peer.close()
        self._peer, self._greeted = None, False

    def _write(self, whole: bytes, until: float) -> None:
        assert self._peer is not None
        rest = memoryview(whole)
        while rest:
            if not _wait(self._peer, select.POLLOUT, until):
                raise TimeoutError
            rest = rest[self._peer.send(rest, socket.MSG_NOSIGNAL) :]

    def _read(self, until: float, most: int) -> tuple[int, memoryview]:
        length, kind = HEAD.unpack(self._exactly(HEAD.size, until))
        if not 0 < length <= most:
            raise ValueError(f"a frame of {length} bytes")
        return kind, self._exactly(length - 1, until)

    def _exactly(self, size: int, until: float) -> memoryview:
        assert self._peer is not None
        found, at = memoryview(bytearray(size)), 0
        while at < size:
            if not _wait(self._peer, select.POLLIN, until):
                raise TimeoutError
            got = self._peer.recv_into(found[at:])
            if not got:
                raise ConnectionError
            at += got
        return found


def _wait(one: socket.socket, event: int, until: float) -> bool:
    poller = select.poll()
    poller.register(one, event)
    return bool(poller.poll(max(0.0, until - time.monotonic()) * 1000))
