"""One question, in a process that the reader forked for it. Its memory and its failures end with it."""

from __future__ import annotations

import contextlib
import os
import resource
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from firsthand import settings
from firsthand.ask import forms, queried
from firsthand.errors import FirsthandError
from firsthand.history.store.connection import History
from firsthand.history.store.effort import Effort
from firsthand.reader import frames, messages, place, values
from firsthand.reader.frames import Frames

#: Seconds for the client's first message, for its question, and for which the client may leave an answer unread.
GREETED, ASKED, READ = 1.0, 5.0, 30.0
#: Seconds between two signs of life.
ALIVE = 1.0
#: Bytes that a worker may use beyond those at its start: DuckDB has its own limit within them (connection.MEMORY).
MEMORY = 1 << 30
#: Rows and bytes of one message, about.
_ROWS, _PART = 2_000, 16 << 20
_HELLO: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(messages.Hello)
_ASKED: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(messages.Asked)


def serve(line: Frames, build: str) -> bool:
    """Receives a question and answers it. Returns whether there was a question to answer. Raises OSError if the client closed the socket,
    ValueError for bytes that are no message.
    """
    hello = line.receive(_HELLO, time.monotonic() + GREETED, frames.MOST_ASKED)
    if hello.build != build:
        line.send(messages.Refused(f"it is of another version, {build.partition(' ')[0]}"))
        return False
    if (hello.device, hello.inode) != place.history("."):
        line.send(messages.Refused("it is the reader of another history"))
        return False
    line.send(messages.Welcome(os.getpid()))
    asked = line.receive(_ASKED, time.monotonic() + ASKED, frames.MOST_ASKED)
    bound()
    with _alive(line):
        _answer(line, asked)
    return True


def bound() -> None:
    """Limits this process to MEMORY more bytes, and to no core dump."""
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@contextlib.contextmanager
def _alive(line: Frames) -> Iterator[None]:
    """Sends signs of life."""
    end = threading.Event()

    def beat() -> None:
        with contextlib.suppress(OSError):
            while not end.wait(ALIVE):
                line.send(messages.Alive())

    thread = threading.Thread(target=beat, name="alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _answer(line: Frames, asked: messages.Asked) -> None:
    """Sends the whole answer. For an unexpected error it sends Refused: the client then meets the error itself."""
    try:
        _take(asked.caller)
        if isinstance(asked, messages.QuestionMessage):
            _question(line, asked)
        else:
            _statement(line, asked)
    except FirsthandError as error:
        line.send(messages.Failed(type(error).__name__, str(error)))
    except OSError:
        raise
    except Exception as error:
        line.send(messages.Refused(f"it failed: {type(error).__name__}: {error}"))


def _take(caller: messages.Caller) -> None:
    """Takes over the client's settings and time zone for one answer."""
    if place.history(caller.directory) != place.history("."):
        raise ValueError("the history's folder is another one there")
    settings.take(caller.settings and (Path(caller.settings[0]), caller.settings[1]))
    if caller.zone != os.environ.get("TZ"):
        os.environ.pop("TZ", None)
        if caller.zone is not None:
            os.environ["TZ"] = caller.zone
        time.tzset()


class _Told(Effort):
    """Sends the progress of a long question to the client."""

    def __init__(self, line: Frames) -> None:
        super().__init__(None)
        self._line_to = line

    def show(self, line: str) -> None:
        with contextlib.suppress(OSError):
            self._line_to.send(messages.Alive(line))


def _question(line: Frames, asked: messages.QuestionMessage) -> None:
    with _Told(line) as effort:
        history = History(Path(asked.caller.directory), effort=effort)
        answer = forms.answer(history, asked.request, asked.form)
    rows = [{name: values.packed(value) for name, value in row.items()} for row in answer.found.rows]
    file = b""
    if asked.form == forms.PARQUET:
        file = forms.parquet_of(answer)
    answer.found.rows = []
    line.send(messages.Answered(answer))
    _send_rows(line, rows)
    _send_file(line, file)
    line.send(messages.Done(spilled=effort.spilled))


def _statement(line: Frames, asked: messages.Statement) -> None:
    settings.load()
    history = History(Path(asked.caller.directory))
    with history.sql(asked.text) as result:
        line.send(messages.Named(result.names))
        if asked.form == forms.PARQUET:
            _send_file(line, forms.parquet(result.names, list(result.rows())))
        else:
            part: list[Any] = []
            for row in result.rows():
                part.append([values.packed(value) for value in row])
                if len(part) == _ROWS:
                    _send_rows(line, part)
                    part = []
            _send_rows(line, part)
        evidence = queried.evidence(result.connection, asked.text, history.damage)
    line.send(messages.Done(damage=history.damage, evidence=evidence))


def _send_rows(line: Frames, rows: Sequence[Any]) -> None:
    """Sends rows in parts of limited size."""
    for begin in range(0, len(rows), _ROWS):
        _send_part(line, list(rows[begin : begin + _ROWS]))


def _send_part(line: Frames, rows: list[Any]) -> None:
    """Sends rows as one message, or as two halves if it is too long."""
    try:
        line.send(messages.RowsMessage(rows))
    except ValueError:
        if len(rows) == 1:
            raise
        _send_part(line, rows[: len(rows) // 2])
        _send_part(line, rows[len(rows) // 2 :])


def _send_file(line: Frames, data: bytes) -> None:
    for begin in range(0, len(data), _PART):
        line.send(messages.File(data[begin : begin + _PART]))
