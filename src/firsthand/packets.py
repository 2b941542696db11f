"""Packets out of the record's way, and rows of `name` and `request` in their place: the observer's end of the line to the dissector.

The observer does not read packets (law 9), and none of them reaches the disk. What the dissector answers is held against every
bound and type before it is used. What is not answered in time is lost, counted, and the record goes on.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from firsthand.dissect import frame
from firsthand.dissect.frame import (
    ANSWERED,
    ASKED,
    HEAD,
    HELLO,
    LIMITS,
    MOST_PACKETS,
    PACKET,
    ROWS,
    ROWS_OF,
    Part,
    Reader,
)
from firsthand.schema.column import TYPES
from firsthand.schema.tables import TABLES
from firsthand.source import Lost
from firsthand.wire.batch import Batch, Fixed, Lists, Text, Vector, rows_of

#: Seconds for an answer, and, once, for the first dissector to begin.
PATIENCE, BEGINNING = 2.0, 10.0
#: The share of time that may be spent on waiting for answers, and how much of it is saved up, in seconds.
SHARE, SAVED = 0.5, 2.0
#: Packets whose rows may come with a later answer are known for so many seconds.
HELD = 15.0


class Line:
    """The socket to the dissector that there is now. `control` is where the supervisor sends a new one; None: never."""

    def __init__(self, control: socket.socket | None, tell: Callable[[Mapping[str, object]], None]) -> None:
        self._control, self._tell = control, tell
        self._peer: socket.socket | None = None
        self._name, self._greeted = "", False
        self._patient_until = time.monotonic() + (BEGINNING if control else 0)
        self.why = "no dissector answers"

    def ready(self) -> bool:
        """Whether there is a dissector that has begun. The first one of all is waited for."""
        self._look(self._patient_until if self._peer is None else 0.0)
        if self._peer is not None and not self._greeted:
            self._greet()
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

    def _greet(self) -> None:
        try:
            self._greeted = self._read(self._patient_until, 1)[0] == HELLO
            self._patient_until = 0.0
        except TimeoutError:
            return
        except (OSError, ValueError):
            self._drop()

    def exchange(self, whole: bytes) -> memoryview | None:
        """The answer to a frame; None, with the reason in `why`, where none comes in time, and then this dissector is given up."""
        until = time.monotonic() + PATIENCE
        try:
            self._write(whole, until)
            kind, body = self._read(until, frame.MOST_BYTES)
            if kind != ROWS:
                raise ValueError(f"a frame of kind {kind}")
            return body
        except TimeoutError:
            self.give_up(f"the dissector did not answer within {PATIENCE:g} s")
        except OSError:
            self.why = "the dissector ended"
            self._drop()
        except ValueError as error:
            self.give_up(f"the dissector's answer was none: {error}")
        return None

    def give_up(self, why: str) -> None:
        """Have the supervisor end this dissector and send another one's line."""
        self.why = why
        self._drop()
        self._tell({"event": "unanswered", "line": self._name, "error": why})

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


@dataclass
class _Held:
    """What is known of packets whose rows may come later: their numbers, rising, and their rows without the payload."""

    at: float
    numbers: NDArray[np.int64]
    batch: Batch


@dataclass
class Packets:
    """`read` batches of packets; `losses` and `measures` tell of it."""

    line: Line
    number: int = 0
    rows: int = 0
    seconds: float = 0.0
    whole_since: int = field(default_factory=lambda: _now())
    _open: tuple[int, ...] = (0,) * len(LIMITS)
    _credit: float = SAVED
    _credited: float = field(default_factory=time.monotonic)
    _held: deque[_Held] = field(default_factory=deque)
    _lost: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)

    def read(self, batch: Batch, *, last: bool = False) -> list[Batch]:
        """Rows of `name` and `request` for a batch of table `packet`; `last`: nothing will come that makes a message whole."""
        found: list[Batch] = []
        for begin in range(0, max(batch.length, 1), MOST_PACKETS):
            rows = np.arange(begin, min(begin + MOST_PACKETS, batch.length))
            found += self._some(batch.chosen(rows), last)
        self.rows += sum(one.length for one in found)
        return found

    def late(self, *, last: bool = False) -> list[Batch]:
        """Rows of packets that came before and waited for more, which is late now."""
        self._forget()
        return self.read(Batch("packet", 0), last=last) if self._held and self.line.ready() else []

    def gap(self) -> None:
        """Packets are missing from now on, or were until now."""
        self.whole_since = _now()

    def _some(self, batch: Batch, last: bool) -> list[Batch]:
        if not self.line.ready():
            return self._nothing(batch, self.line.why)
        if self._spent() <= 0:
            return self._nothing(batch, "more than could be read in time")
        began = time.monotonic()
        body = self.line.exchange(self._asked(batch, last))
        passed = time.monotonic() - began
        self._credit, self.seconds = self._credit - passed, self.seconds + passed
        if body is None:
            return self._nothing(batch, self.line.why, held=True)
        try:
            return self._taken(batch, Reader(body))
        except ValueError as error:
            self.line.give_up(f"the dissector's answer was none: {error}")
            return self._nothing(batch, self.line.why, held=True)

    def _spent(self) -> float:
        """Seconds that may be waited now."""
        now = time.monotonic()
        self._credit = min(SAVED, self._credit + SHARE * (now - self._credited))
        self._credited = now
        return self._credit

    def _nothing(self, batch: Batch, why: str, *, held: bool = False) -> list[Batch]:
        """Count what is lost: these packets, and with the dissector what it held of those before."""
        self.number += batch.length
        dns = int((_lengths(batch, "packet_kind") == len("dns")).sum())
        self._lose("name", dns, why)
        self._lose("request", batch.length - dns, why)
        if held:
            for one in self._held:
                dns = int((_lengths(one.batch, "packet_kind") == len("dns")).sum())
                self._lose("name", dns, why)
                self._lose("request", len(one.numbers) - dns, why)
            self._held.clear()
        self.gap()
        return []

    def _lose(self, table: str, events: int, why: str) -> None:
        if events:
            before, since = self._lost.get((table, why), (0, time.monotonic()))
            self._lost[table, why] = (before + events, since)

    def losses(self) -> list[Lost]:
        """What was lost since this was last asked."""
        now = time.monotonic()
        found = [
            Lost("dissector", events, since - 1, now, why, table=table)
            for (table, why), (events, since) in self._lost.items()
        ]
        self._lost.clear()
        return found

    def measures(self) -> dict[str, float]:
        """What is open in the dissector, each with its bound, and what it cost."""
        found: dict[str, float] = {}
        for (name, limit), used in zip(LIMITS.items(), self._open, strict=True):
            found[f"dissector_{name}"], found[f"dissector_{name}_limit"] = used, limit
        return found | {"packets": self.number, "dissector_seconds": round(self.seconds, 3)}

    def _asked(self, batch: Batch, last: bool) -> bytes:
        pieces: list[bytes | memoryview] = [ASKED.pack(self.number, self.whole_since, _now(), batch.length, last)]
        for name, kind in PACKET:
            pieces += _sent(batch.columns.get(name), kind, batch.length)
        return frame.framed(frame.PACKETS, pieces)

    def _taken(self, batch: Batch, reader: Reader) -> list[Batch]:
        """The answer's rows, with what the packets tell of them. ValueError for anything that does not fit."""
        names, requests, held, *rest = reader.numbers(ANSWERED)
        if max(names, requests) > frame.MOST_ROWS or held > batch.length or sum(rest[:2]) > batch.length:
            raise ValueError(f"{names} and {requests} rows, {held} held, {rest[:2]} unread, of {batch.length} packets")
        told = {table: _told(table, rows, reader) for table, rows in (("name", names), ("request", requests))}
        numbers = _numbers(reader.column("int64", held), held)
        reader.end()
        found = [one for table, rows in told.items() for one in self._placed(table, rows, batch)]
        self._hold(batch, numbers - self.number)
        for table, unread in zip(("name", "request"), rest[:2], strict=True):
            self._lose(table, unread, "more than could be read in time")
        self.number += batch.length
        self._open = tuple(rest[2:])
        return found

    def _placed(self, table: str, told: Batch, batch: Batch) -> Iterator[Batch]:
        """Rows beside their packets' own columns: of this exchange, and of those before."""
        numbers = cast("Fixed", told.columns.pop("packet")).values
        new = numbers >= self.number
        if (numbers[new] >= self.number + batch.length).any():
            raise ValueError("a row of a packet that was not sent")
        if new.any():
            yield _beside(table, told.kept(new), batch, numbers[new] - self.number)
        missing = ~new
        for one in self._held if missing.any() else ():
            places = np.minimum(np.searchsorted(one.numbers, numbers), len(one.numbers) - 1)
            mine = missing & (one.numbers[places] == numbers)
            if mine.any():
                missing &= ~mine
                yield _beside(table, told.kept(mine), one.batch, places[mine])
        self._lose(table, int(missing.sum()), "the packet that a row is of is not known any more")

    def _hold(self, batch: Batch, rows: NDArray[np.int64]) -> None:
        if ((rows < 0) | (rows >= batch.length)).any() or (np.diff(rows) <= 0).any():
            raise ValueError("packets are held that were not sent")
        if len(rows):
            kept = {name: column for name, column in batch.columns.items() if name != "payload"}
            held = Batch("packet", batch.length, kept).chosen(rows)
            self._held.append(_Held(time.monotonic(), rows + self.number, held))
        self._forget()

    def _forget(self) -> None:
        late = time.monotonic() - HELD
        held = sum(len(one.numbers) for one in self._held)
        while self._held and (self._held[0].at < late or held > frame.MOST_HELD):
            held -= len(self._held.popleft().numbers)


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _lengths(batch: Batch, name: str) -> NDArray[Any]:
    column = batch.columns.get(name)
    return np.diff(column.offsets) if isinstance(column, Text) else np.zeros(0, dtype=np.int32)


def _sent(column: Vector | None, kind: str, rows: int) -> list[bytes | memoryview]:
    """A column of packets as frame's; null as 0 or empty."""
    if kind == "int64":
        values = column.values if isinstance(column, Fixed) else np.zeros(rows)
        return [b"\0", np.ascontiguousarray(values, dtype="<i8").tobytes()]
    if not isinstance(column, Text):
        return [b"\0", struct.pack("<I", 0) * (rows + 1)]
    offsets = column.offsets.astype("<u4")
    return [b"\0", offsets.tobytes(), column.data[: int(offsets[-1])].tobytes()]


def _told(table: str, rows: int, reader: Reader) -> Batch:
    """The columns of an answer's rows, `packet` among them, checked."""
    found = Batch(table, rows)
    for name, kind in ROWS_OF[table]:
        part = reader.column(kind, rows)
        found.columns[name] = Fixed(_numbers(part, rows)) if name == "packet" else _checked(table, name, part, rows)
    return found


def _checked(table: str, name: str, part: Part, rows: int) -> Vector:
    valid = None if part.valid is None else np.frombuffer(part.valid, dtype=np.uint8).astype(bool)
    if part.kind == "text":
        found = _text(part.offsets, part.values)
        found.valid = valid
        return found
    if part.kind == "list":
        items = _text(part.items, part.values)
        return Lists(_offsets(part.offsets, len(items)), items, valid)
    kind = TYPES[TABLES[table].column(name).type][0]
    values = _numbers(part, rows)
    if len(values) and not (np.iinfo(kind).min <= values.min() and values.max() <= np.iinfo(kind).max):
        raise ValueError(f"{table}.{name} holds numbers that are no {kind}")
    return Fixed(values.astype(kind), valid)


def _numbers(part: Part, rows: int) -> NDArray[np.int64]:
    return np.frombuffer(part.values, dtype="<i8", count=rows)


def _offsets(raw: memoryview | None, most: int) -> NDArray[np.int32]:
    assert raw is not None
    found = np.frombuffer(raw, dtype="<u4").astype(np.int64)
    if found[0] != 0 or found[-1] != most or (np.diff(found) < 0).any():
        raise ValueError("offsets that do not rise from 0 to the end of what they are of")
    return found.astype(np.int32)


def _text(raw: memoryview | None, values: memoryview) -> Text:
    """UTF-8, each row by itself."""
    offsets = _offsets(raw, len(values))
    bytes(values).decode()
    data = np.frombuffer(values, dtype=np.uint8)
    begins = offsets[offsets < len(data)]
    if (data[begins] & 0xC0 == 0x80).any():
        raise ValueError("text that is cut within a character")
    return Text(offsets, data)


def _beside(table: str, told: Batch, packets: Batch, rows: NDArray[Any]) -> Batch:
    """What the dissector told, and of the packets what the table has and the dissector does not tell."""
    wanted = TABLES[table].names
    columns = {name: column for name, column in packets.columns.items() if name in wanted and name not in told.columns}
    chosen = {name: rows_of(column, rows.astype(np.intp)) for name, column in columns.items()}
    return Batch(table, told.length, {**chosen, **told.columns})
