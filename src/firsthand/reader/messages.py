"""The messages between a client and the reader, as msgspec packs them (MessagePack). They are typed: any other message is refused.

The client sends Hello and receives Welcome or Refused. Then it sends Question or Statement. It receives Answered for a question, Named
for a statement, then any number of Rows and File, and at last Done. Alive may come before each of these. Failed or Refused may come
instead of all.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from firsthand.ask.answer import Answer, Request


class Hello(msgspec.Struct, tag=True, frozen=True):
    """The client's version (place.build), and its history by device and inode."""

    build: str
    device: int
    inode: int


class Caller(msgspec.Struct, frozen=True):
    """The properties of the client on which the answer depends: the history's folder as an absolute path; path and text of the settings
    file in force; the time zone ($TZ).
    """

    directory: str
    settings: tuple[str, str] | None
    zone: str | None


class QuestionMessage(msgspec.Struct, tag="Question", frozen=True):
    """A question; `form` is the form of its output (-o)."""

    caller: Caller
    request: Request
    form: str = ""


class Statement(msgspec.Struct, tag=True, frozen=True):
    """One statement of SQL; `form` is the form of its output (-o)."""

    caller: Caller
    text: str
    form: str = ""


class Welcome(msgspec.Struct, tag=True, frozen=True):
    """The worker is of that version and has that history open."""

    pid: int


class Refused(msgspec.Struct, tag=True, frozen=True):
    """The reader gives no answer; the client reads the history itself."""

    why: str


class Alive(msgspec.Struct, tag=True, frozen=True):
    """The worker still works. `line` is a progress line that replaces the one before; None: no new line."""

    line: str | None = None


class Answered(msgspec.Struct, tag=True, frozen=True):
    """An answer whose rows follow."""

    answer: Answer


class Named(msgspec.Struct, tag=True, frozen=True):
    """The columns of a statement's result, whose rows follow."""

    names: list[str]


class RowsMessage(msgspec.Struct, tag="Rows", frozen=True):
    """A part of the rows, with values as values.py packs them."""

    rows: list[Any]


class File(msgspec.Struct, tag=True, frozen=True):
    """A part of a Parquet file."""

    data: bytes


class Done(msgspec.Struct, tag=True, frozen=True):
    """The end of an answer. `damage`: parts of the history that could not be read. `spilled`: bytes written to disk during the question.
    `evidence`: the judgement of what a statement read.
    """

    damage: list[str] = []
    spilled: int = 0
    evidence: str | None = None


class Failed(msgspec.Struct, tag=True, frozen=True):
    """The FirsthandError that ended the question: its class and its message."""

    kind: str
    text: str


Asked: TypeAlias = QuestionMessage | Statement
Said: TypeAlias = Welcome | Refused | Alive | Answered | Named | RowsMessage | File | Done | Failed
