"""Lines to an HTTP receiver, in posts of NDJSON: at least once, and each post under a key by which a repeat is known.

A batch is on disk beside the cursor before its first post, and stays until the receiver took it: after a kill the same bytes
go out again under the same keys, and while the receiver is down nothing is gathered and nothing grows.
"""

from __future__ import annotations

import http.client
import random
import ssl
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult

from firsthand.errors import ExportError
from firsthand.export import cursor
from firsthand.export.output import State

#: Seconds between tries: the first, and the longest.
SOON, LATE = 0.5, 60.0
TIMEOUT = 30.0
#: Answers that may change by themselves (RFC 9110, RFC 6585); every other one below 500 needs somebody.
_PASSING = (408, 425, 429)
_MOST_READ = 1 << 16


@dataclass(frozen=True)
class Receiver:
    """Where to post. `token` is a file that holds a bearer token, read at each connection; `ca` a file of certificates."""

    url: SplitResult
    token: Path | None = None
    ca: Path | None = None
    timeout: float = TIMEOUT
    #: Bytes of one post's body, at most (a single longer line goes alone).
    most: int = 1 << 20


class Posted:
    """Batches to a receiver. `wait` sleeps for some seconds and says whether it is time to end."""

    def __init__(self, receiver: Receiver, spool: Path, identity: str, wait: Callable[[float], bool]) -> None:
        self.receiver = receiver
        self.spool = spool
        self.identity = identity
        self._wait = wait
        self._context = _context(receiver)
        self._connection: http.client.HTTPConnection | None = None

    def open(self, state: State) -> None:
        """Batches that no cursor knows of go; the one that it waits for must be there."""
        state.setdefault("batch", 0)
        state.setdefault("pending", False)
        waiting = self._path(state["batch"])
        for path in self.spool.parent.glob(f"{self.spool.name}-*"):
            if path != waiting or not state["pending"]:
                path.unlink()
        if state["pending"] and not waiting.exists():
            raise ExportError(
                f"{waiting}: the batch that the cursor waits for is gone; put it back or remove the cursor"
            )

    def put(self, lines: Sequence[bytes], state: State) -> None:
        """Keep a batch on disk; it is posted once the cursor knows of it."""
        path = self._path(state["batch"] + 1)
        try:
            cursor.replace(path.with_name(f"{path.name}.new"), path, b"".join(lines))
        except OSError as error:
            raise ExportError(f"{path}: the batch cannot be kept ({error}); free space there") from error
        state |= {"batch": state["batch"] + 1, "pending": True}

    def settle(self, state: State, save: Callable[[], None]) -> bool:
        """Post what waits until the receiver has it. ExportError where the receiver refuses it for good."""
        if not state["pending"]:
            return True
        path = self._path(state["batch"])
        for part, body in enumerate(_parts(path, self.receiver.most), 1):
            if not self._deliver(f"{self.identity}-{state['batch']}-{part}", body):
                return False
        state["pending"] = False
        save()
        path.unlink()
        return True

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _path(self, batch: int) -> Path:
        return self.spool.with_name(f"{self.spool.name}-{batch}")

    def _deliver(self, key: str, body: bytes) -> bool:
        """One post, tried until it is taken; False where it is time to end."""
        pause = SOON
        while (why := self._try(key, body)) is not None:
            print(f"export: {self.receiver.url.netloc}: {why}; next try in {pause:.0f} s", file=sys.stderr, flush=True)
            if self._wait(pause * random.uniform(0.8, 1.2)):
                return False
            pause = min(pause * 2, LATE)
        return True

    def _try(self, key: str, body: bytes) -> str | None:
        """None where the receiver took it, else why it may later."""
        try:
            connection = self._connected()
            connection.request("POST", self._target(), body, self._headers(key))
            answer = connection.getresponse()
            answer.read(_MOST_READ)
        except ssl.SSLCertVerificationError as error:
            raise ExportError(
                f"{self.receiver.url.netloc}: its certificate is not trusted ({error.verify_message}); name its CA with --ca"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return f"no answer ({error or type(error).__name__})"
        if not answer.isclosed() or answer.status >= 300:
            self.close()
        return self._judged(answer)

    def _judged(self, answer: http.client.HTTPResponse) -> str | None:
        if answer.status < 300:
            return None
        said = f"it answered {answer.status} {answer.reason}"
        if answer.status >= 500 or answer.status in _PASSING:
            return said
        what = (
            "redirects are not followed: name the place itself"
            if answer.status < 400
            else "correct the URL or the token"
        )
        raise ExportError(f"{self.receiver.url.netloc}: {said}; {what}. What it did not take waits in {self.spool}-*")

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            host, port = self.receiver.url.hostname or "", self.receiver.url.port
            if self._context is not None:
                self._connection = http.client.HTTPSConnection(
                    host, port, timeout=self.receiver.timeout, context=self._context
                )
            else:
                self._connection = http.client.HTTPConnection(host, port, timeout=self.receiver.timeout)
        return self._connection

    def _target(self) -> str:
        return (self.receiver.url.path or "/") + (f"?{self.receiver.url.query}" if self.receiver.url.query else "")

    def _headers(self, key: str) -> dict[str, str]:
        found = {"Content-Type": "application/x-ndjson", "Idempotency-Key": key, "User-Agent": "firsthand"}
        if self.receiver.token is not None:
            found["Authorization"] = f"Bearer {_token(self.receiver.token)}"
        return found


def _token(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{path}: the token cannot be read ({error}); name another with --token-file") from error


def _context(receiver: Receiver) -> ssl.SSLContext | None:
    if receiver.url.scheme != "https":
        return None
    with suppress(OSError):
        return ssl.create_default_context(cafile=receiver.ca)
    raise ExportError(f"{receiver.ca}: expected certificates in PEM, found none; name another with --ca")


def _parts(path: Path, most: int) -> Iterator[bytes]:
    """The batch in bodies of at most `most` bytes, cut between lines: the same ones at each reading."""
    held: list[bytes] = []
    size = 0
    with path.open("rb") as file:
        for line in file:
            if held and size + len(line) > most:
                yield b"".join(held)
                held, size = [], 0
            held.append(line)
            size += len(line)
    if held:
        yield b"".join(held)
