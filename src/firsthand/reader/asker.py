"""The reader's client, for a process that has loaded no large library. After NoReader the caller reads the history itself, with the same
result.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from firsthand import errors, settings
from firsthand.ask.answer import Answer, Request
from firsthand.ask.show import printable
from firsthand.errors import FirsthandError
from firsthand.reader import frames, messages, place, values
from firsthand.reader.frames import Frames

#: Seconds from the connect to the reader's first message; then seconds without a sign of life of its worker, which sends one each second.
GREETS, SILENT = 0.2, 10.0
_SAID: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(messages.Said, ext_hook=values.unpacked)
#: Errors of a closed socket, and of a message that is no answer.
_NONE = (OSError, ValueError, RecursionError, msgspec.MsgspecError)
Show = Callable[[str], None]


class NoReader(Exception):
    """The reader does not answer this question; the message is the reason."""


@dataclass(frozen=True)
class ReaderAnswer:
    """The reader's answer. `file`: the bytes of a Parquet file, if that form was requested. `spilled`: bytes. `pid`: the worker's
    process. `evidence`: as in messages.Done.
    """

    names: list[str]
    rows: list[Any]
    damage: list[str]
    file: bytes
    spilled: int
    pid: int
    evidence: str | None


def ask(directory: Path, request: Request, form: str, show: Show) -> tuple[Answer, ReaderAnswer]:
    """Returns the answer to a question, for a form of output. `show` receives progress lines; each replaces the one before.

    Raises NoReader; the question's own FirsthandError; KeyboardInterrupt, which also ends the question in the reader.
    """
    found, told = _asked(directory, lambda caller: messages.QuestionMessage(caller, request, form), show)
    if not isinstance(found, messages.Answered):
        raise NoReader("it answered something else")
    answer = found.answer
    lines = None if answer.found.lines is None else [printable(line) for line in answer.found.lines]
    return replace(answer, found=replace(answer.found, rows=told.rows, lines=lines)), told


def sql(directory: Path, text: str, form: str) -> ReaderAnswer:
    """Returns the result of a statement, with its rows as tuples. Errors as for `ask`."""
    found, told = _asked(directory, lambda caller: messages.Statement(caller, text, form), lambda _: None)
    if not isinstance(found, messages.Named):
        raise NoReader("it answered something else")
    return replace(told, names=found.names, rows=[tuple(row) for row in told.rows])


def probe(path: Path, directory: Path) -> int:
    """Returns the pid of the worker that answers at a socket. Raises NoReader."""
    with _bypassed(), _greeted(path, directory) as (_, pid):
        return pid


def _asked(directory: Path, asked: Callable[[messages.Caller], Any], show: Show) -> tuple[Any, ReaderAnswer]:
    with _bypassed(), _found(directory) as (line, pid):
        line.send(asked(_caller(directory)))
        return _heard(line, pid, show)


@contextlib.contextmanager
def _bypassed() -> Iterator[None]:
    try:
        yield
    except _NONE as error:
        raise NoReader(str(error) or type(error).__name__) from error


@contextlib.contextmanager
def _found(directory: Path) -> Iterator[tuple[Frames, int]]:
    """Returns the connection to the first reader that sends its greeting."""
    why = "there is none"
    if not directory.is_absolute():
        raise NoReader("it reads a history that is named by an absolute path alone")
    for path in place.sockets(directory):
        with contextlib.ExitStack() as stack:
            try:
                found = stack.enter_context(_greeted(path, directory))
            except (FileNotFoundError, ConnectionRefusedError):
                continue
            except (*_NONE, NoReader) as error:
                why = str(error) or type(error).__name__
                continue
            yield found
            return
    raise NoReader(why)


@contextlib.contextmanager
def _greeted(path: Path, directory: Path) -> Iterator[tuple[Frames, int]]:
    until = time.monotonic() + GREETS
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as peer:
        peer.setblocking(False)
        peer.connect(str(path))
        line = Frames(peer, GREETS)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has said why, and closed
            line.send(messages.Hello(place.build(), *place.history(directory)))
        said = line.receive(_SAID, until, frames.MOST_SAID)
        if isinstance(said, messages.Refused):
            raise NoReader(said.why)
        if not isinstance(said, messages.Welcome):
            raise ValueError("it greeted with something else")
        yield line, said.pid


def _caller(directory: Path) -> messages.Caller:
    """The properties of this process on which the answer depends."""
    try:
        given = settings.in_force(os.environ)
    except FirsthandError as error:  # which is said where the settings are used
        raise NoReader(str(error)) from error
    return messages.Caller(str(directory), given and (str(given[0]), given[1]), os.environ.get("TZ"))


def _heard(line: Frames, pid: int, show: Show) -> tuple[Any, ReaderAnswer]:
    """Returns the first message of the answer, and the messages after it."""
    first: Any = None
    rows, file = [], bytearray()
    while True:
        said = line.receive(_SAID, time.monotonic() + SILENT, frames.MOST_SAID)
        match said:
            case messages.Alive():
                if said.line is not None:
                    show(printable(said.line))
            case messages.Answered() | messages.Named():
                first = said
            case messages.RowsMessage():
                rows += said.rows
            case messages.File():
                file += said.data
            case messages.Done():
                return first, ReaderAnswer([], rows, said.damage, bytes(file), said.spilled, pid, said.evidence)
            case messages.Failed():
                raise _error(said)
            case messages.Refused():
                raise NoReader(said.why)
            case _:
                raise ValueError("it answered something else")


def _error(said: messages.Failed) -> FirsthandError:
    kind = getattr(errors, said.kind, None)
    if not isinstance(kind, type) or not issubclass(kind, FirsthandError):
        raise ValueError(f"an error of kind {said.kind!r}")
    return kind(said.text)
