"""The hash chain over the manifest's entries: each change of what the history holds, and the hash of the one before it.

An entry's hash is SHA-256 over the JSON array [sequence, kind, time, body, previous] without blanks, body being JSON text with
sorted keys. The newest entry's number and hash are the head: published outside of the history, they prove everything before them.

genesis     what a manifest held when its chain began: segments and log positions
hand_over   a part of a log became segments: positions, a digest over its chunks' places and checksums, the segments
merge       segments were merged, or written again with names that came later: inputs and outputs
retire      retention's tombstone: what is no longer held, and why
checkpoint  what the manifest holds, after so many entries: those before the checkpoint before it are let go
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firsthand.errors import UsageError
from firsthand.host import machine

NOTHING = "0" * 64
#: A checkpoint comes after so many entries, so that between one and two times as many are held (some 0.6 kB each).
KEPT = 50_000
#: The most entries that are held, with the two checkpoints.
MOST = 2 * KEPT + 1
GENESIS, CHECKPOINT = "genesis", "checkpoint"
#: Seconds between two publications of the head.
EVERY = 60.0
_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")
_JOURNAL = "/run/systemd/journal/socket"


@dataclass(frozen=True)
class Entry:
    """One link. `time` in microseconds since 1970; `body` canonical JSON."""

    sequence: int
    kind: str
    time: int
    body: str
    previous: str
    hash: str

    @property
    def content(self) -> dict[str, Any]:
        """The body, read."""
        found: dict[str, Any] = json.loads(self.body)
        return found


def canonical(body: Mapping[str, Any]) -> str:
    """JSON with sorted keys and no blanks: one text for one content."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(sequence: int, kind: str, moment: int, body: str, previous: str) -> str:
    """An entry's hash, 64 hexadecimal digits."""
    text = json.dumps([sequence, kind, moment, body, previous], separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def following(last: Entry | None, kind: str, moment: int, body: Mapping[str, Any]) -> Entry:
    """The entry behind the last one."""
    sequence = last.sequence + 1 if last else 1
    previous = last.hash if last else NOTHING
    text = canonical(body)
    return Entry(sequence, kind, moment, text, previous, digest(sequence, kind, moment, text, previous))


@dataclass(frozen=True)
class Head:
    """The newest entry's number and hash, as text SEQUENCE:HASH."""

    sequence: int
    hash: str

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """UsageError where the text is none."""
        found = _HEAD.fullmatch(text.strip())
        if found is None:
            raise UsageError(
                f"{text!r:.200} is no head: expected SEQUENCE:HASH with 64 hexadecimal digits, as published"
            )
        return cls(int(found[1]), found[2])


def file_of(path: Path, history: str | None) -> Path:
    """The file of one history's heads, where the setting names `path`: two histories on a machine share none."""
    return path.with_name(f"{path.stem}-{history}{path.suffix}") if history else path


def heads(path: Path, history: str | None = None) -> list[Head]:
    """The heads in a file of them, oldest first; lines that are none, or another history's, are left out."""
    return heads_in(path.read_text(encoding="utf-8", errors="replace"), history)


def heads_in(text: str, history: str | None = None) -> list[Head]:
    """The heads in the lines of a file of them; of one history where that is named. A line of a version before names none."""
    return [head for line in text.splitlines() if of_history(line, history) and (head := head_of(line)) is not None]


def of_history(line: str, history: str | None) -> bool:
    """Whether a line may be of a history: it names that one, or none."""
    try:
        found = json.loads(line).get("history")
    except (ValueError, AttributeError, RecursionError):
        return True
    return history is None or found in (None, history)


def head_of(line: str) -> Head | None:
    """The head in a line as the publisher writes it; None where it has none."""
    try:
        return Head.parse(json.loads(line)["head"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError):
        return None


@dataclass
class Publisher:
    """Sends the head to the journal and appends it to a file outside the history. What cannot be done is said once."""

    file: Path | None
    node: str = field(default_factory=machine.node)
    history: str | None = None
    _last: Head | None = None
    _due: float = 0.0
    _said: set[str] = field(default_factory=set)

    def publish(self, head: Head | None, *, now: bool = False) -> None:
        """Where it is a new one and the last is a minute old; with `now` at once."""
        if head is None or head == self._last or (time.monotonic() < self._due and not now):
            return
        self._last, self._due = head, time.monotonic() + EVERY
        told = {"time": time.time_ns() // 1000, "node": self.node, "history": self.history, "head": str(head)}
        line = json.dumps({name: value for name, value in told.items() if value is not None})
        if os.path.exists(_JOURNAL):  # noqa: PTH110 - there may be none on this machine
            self._try("the journal", lambda: _to_journal(f"firsthand: head {head}"))
        if self.file is not None:
            self._try(str(self.file), lambda: _append(self.file, line))

    def _try(self, where: str, send: Any) -> None:
        try:
            send()
        except OSError as error:
            if where not in self._said:
                print(f"keeper: the chain's head cannot be published to {where}: {error}", file=sys.stderr, flush=True)
            self._said.add(where)


def _to_journal(text: str) -> None:
    """systemd's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram of FIELD=value lines."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.connect(_JOURNAL)
        journal.send(f"MESSAGE={text}\nPRIORITY=5\nSYSLOG_IDENTIFIER=firsthand\n".encode())


def _append(path: Path | None, line: str) -> None:
    assert path is not None
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        os.write(descriptor, f"{line}\n".encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rows_of(segments: Iterable[Any]) -> list[list[Any]]:
    """[path, sha256, rows] of each segment, by path."""
    return sorted([one.path, one.sha256, one.rows] for one in segments)
