"""Packets out of the record's way, and rows of `name` and `request` in their place: what the observer asks the dissector.

The observer does not read packets (law 9), and none of them reaches the disk. What was handed over and not answered waits for the
next dissector, and so does what comes while there is none. What can be read no more is counted, and the record goes on. `state` tells
whoever takes over what would be gone with this process.
"""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from firsthand.dissect import frame
from firsthand.dissect.frame import ANSWERED, ASKED, LIMITS, MOST_PACKETS, PACKET, FrameReader
from firsthand.history.log.alive import UNANSWERED
from firsthand.host import boottime
from firsthand.observe import answered
from firsthand.observe.line import Line
from firsthand.observe.source import Lost
from firsthand.wire.batch import Batch, Fixed, Text, Vector

#: The share of time that may be spent on waiting for answers, and how much of it is saved up, in seconds.
SHARE, SAVED = 0.5, 2.0
#: Packets whose rows may come with a later answer are known for so many seconds.
HELD = 15.0
#: Packets wait for the next dissector for so many seconds; so many, and bytes of them.
WAIT, MOST_WAITING, WAITING_BYTES = 30.0, 8192, 8 << 20
#: Seconds for the last dissector to begin and to answer, at the observer's end.
ENDING = 10.0
#: Seconds after which a dissector that was asked nothing is asked whether it still answers.
BEAT = 10.0
TABLES = ("name", "request")
#: By table and reason: how many, and since when (monotonic seconds).
Losses = dict[tuple[str, str], tuple[int, float]]


@dataclass
class _Held:
    """What is known of packets whose rows may come later: their numbers, rising, and their rows without the payload.

    `told`: those of which all is told, but whether a question of theirs was answered; nothing of them can be lost.
    """

    at: float
    numbers: NDArray[np.int64]
    batch: Batch
    told: NDArray[np.bool_]

    def untold(self) -> dict[str, int]:
        """How many rows of each table would be lost with the dissector that holds these."""
        return _by_table(self.batch, ~self.told)


@dataclass
class _Waiting:
    """Packets without an answer that came at `since` (monotonic seconds). `handed`: one dissector had them, and then they are asked
    about one by one."""

    batch: Batch
    since: float
    handed: bool = False

    def untold(self) -> dict[str, int]:
        """How many rows of each table would be lost with them."""
        return _by_table(self.batch, np.ones(self.batch.length, dtype=np.bool_))

    @property
    def bytes(self) -> int:
        """Bytes of their payloads."""
        payload = self.batch.columns.get("payload")
        return payload.data.nbytes if isinstance(payload, Text) else 0


@dataclass
class Packets:
    """`read` batches of packets; `losses` and `measures` tell of it. `wanted`: packets may come. `answered`: when a dissector last did,
    in monotonic seconds."""

    line: Line
    wanted: bool = True
    number: int = 0
    rows: int = 0
    seconds: float = 0.0
    answered: float = field(default_factory=time.monotonic)
    whole_since: int = field(default_factory=boottime.now_ns)
    _open: tuple[int, ...] = (0,) * len(LIMITS)
    _credit: float = SAVED
    _credited: float = field(default_factory=time.monotonic)
    _held: deque[_Held] = field(default_factory=deque)
    _waiting: deque[_Waiting] = field(default_factory=deque)
    _lost: Losses = field(default_factory=dict)
    _proven: float = field(default_factory=time.monotonic)
    _silent: bool = False

    def read(self, batch: Batch, *, last: bool = False) -> list[Batch]:
        """Rows of `name` and `request` for a batch of table `packet`, and for what waited; `last`: nothing will come that makes a
        message whole."""
        found, now = self._waited(), time.monotonic()
        for begin in range(0, max(batch.length, 1), MOST_PACKETS):
            rows = np.arange(begin, min(begin + MOST_PACKETS, batch.length))
            found += self._some(_Waiting(batch.chosen(rows), now), last)
        self.rows += sum(one.length for one in found)
        return found

    def late(self, *, last: bool = False) -> list[Batch]:
        """Rows of packets that came before and waited, for a dissector or for more, which is late now; and the beat."""
        self._forget()
        due = bool(self._held) or (self.wanted and time.monotonic() - self.answered >= BEAT)
        if last and (self._waiting or self._held):
            self.line.ready(ENDING)
        found = self.read(Batch("packet", 0), last=last) if self._waiting or (due and self.line.ready()) else []
        self._expire(0.0 if last else WAIT)
        return found

    def gap(self) -> None:
        """Packets are missing from now on, or were until now."""
        self.whole_since = boottime.now_ns()

    @property
    def waiting(self) -> int:
        """Packets that wait for a dissector."""
        return sum(one.batch.length for one in self._waiting)

    def _waited(self) -> list[Batch]:
        """What waited, in its order, as far as there is a dissector and time."""
        found: list[Batch] = []
        while self._waiting and self.line.ready() and self._spent() > 0:
            found += self._ask(self._waiting.popleft(), last=False)
        return found

    def _some(self, one: _Waiting, last: bool) -> list[Batch]:
        if self._waiting or not self.line.ready():
            self._keep(one)
        elif self._spent() > 0:
            return self._ask(one, last)
        else:
            self._lose_all(one, "more than could be read in time")
        return []

    def _keep(self, one: _Waiting) -> None:
        """Have packets wait, where there is room and somebody may come who reads them."""
        if self.line.ended:
            self._lose_all(one, self.line.why)
        elif (
            self.waiting + one.batch.length > MOST_WAITING
            or sum(other.bytes for other in self._waiting) + one.bytes > WAITING_BYTES
        ):
            self._lose_all(one, f"{self.line.why}, and too many wait for the next one")
        elif one.batch.length:
            self._waiting.append(one)

    def _expire(self, wait: float) -> None:
        """Count what has waited for so many seconds as lost."""
        while self._waiting and (self.line.ended or time.monotonic() - self._waiting[0].since >= wait):
            self._lose_all(self._waiting.popleft(), f"{self.line.why}, and no other one began in time")

    def _ask(self, one: _Waiting, last: bool) -> list[Batch]:
        began = time.monotonic()
        body = self.line.exchange(self._asked(one.batch, last))
        passed = time.monotonic() - began
        self._credit, self.seconds = self._credit - passed, self.seconds + passed
        try:
            if body is not None:
                found = self._taken(one.batch, FrameReader(body))
                self.answered = time.monotonic()
                return found
        except ValueError as error:
            self.line.give_up(f"the dissector's answer was none: {error}")
        self._unanswered(one)
        return []

    def _unanswered(self, one: _Waiting) -> None:
        """A dissector is gone, what it held with it. What it had been handed goes to the next one packet by packet; what the next one
        does not answer either is set aside."""
        for held in self._held:
            _add(self._lost, held.untold(), self.line.why, held.at)
        self._held.clear()
        self.gap()
        if not self.line.handed:
            self._waiting.appendleft(one)
        elif one.handed:
            self._lose_all(one, f"set aside after two dissectors were handed it: {self.line.why}")
        else:
            rows = range(one.batch.length)
            singles = [_Waiting(one.batch.chosen(np.array([row])), one.since, handed=True) for row in rows]
            self._waiting.extendleft(reversed(singles))

    def _spent(self) -> float:
        """Seconds that may be waited now."""
        now = time.monotonic()
        self._credit = min(SAVED, self._credit + SHARE * (now - self._credited))
        self._credited = now
        return self._credit

    def _lose_all(self, one: _Waiting, why: str) -> None:
        self.number += one.batch.length
        _add(self._lost, one.untold(), why, one.since)
        self.gap()

    def _lose(self, table: str, events: int, why: str, since: float) -> None:
        _add(self._lost, {table: events}, why, since)

    def losses(self) -> list[Lost]:
        """What was lost since this was last asked, and the time for which no dissector answered."""
        now = time.monotonic()
        found = [
            Lost("dissector", events, since - 1, now, why, table=table)
            for (table, why), (events, since) in self._lost.items()
        ]
        self._lost.clear()
        return found + self._silence(now)

    def _silence(self, now: float) -> list[Lost]:
        """The time between two answers that lie too far apart, or since the last one: reported each UNANSWERED seconds, and when it is over."""
        came = self.answered > self._proven
        since, until = self._proven, self.answered if came else now
        overdue = until - since >= UNANSWERED or (came and self._silent)
        if came or overdue:
            self._proven = until
        self._silent = overdue and not came
        if not overdue or not self.wanted:
            return []
        return [Lost("dissector", 0, since, until, "no dissector answered", table=table) for table in TABLES]

    def state(self) -> Mapping[str, Any]:
        """What whoever takes over is to count where this process ends before it could: JSON, times in microseconds since 1970."""
        lost = dict(self._lost)
        for one in self._waiting:
            _add(lost, one.untold(), "the observer ended before a dissector read it", one.since)
        for held in self._held:
            _add(lost, held.untold(), "the observer ended before a dissector had all of it", held.at)
        passed = time.time() - time.monotonic()
        told = [[*key, events, round((since + passed) * 1e6)] for key, (events, since) in lost.items()]
        return {"packets": {"lost": told, "proven": self.proven}}

    @property
    def proven(self) -> int:
        """When a dissector last answered, in microseconds since 1970."""
        return round((time.time() - time.monotonic() + self.answered) * 1e6)

    def restore(self, state: Mapping[str, Any], *, goes_on: bool) -> None:
        """Count what the observer before said last that it would lose; `goes_on`: nothing was detached since, else the record begins
        now, and no dissector is late before it does."""
        found, passed = state.get("packets", {}), time.time() - time.monotonic()
        for table, why, events, since in found.get("lost", ()):
            self._lose(table, events, why, since / 1e6 - passed)
        if not goes_on:
            self._proven = time.monotonic()
        elif "proven" in found:
            self.answered = self._proven = min(self.answered, found["proven"] / 1e6 - passed)

    def measures(self, now: float) -> dict[str, float]:
        """What is open in the dissector, each with its bound, what it cost, what waits for it, and when it last answered."""
        found: dict[str, float] = {}
        for (name, limit), used in zip(LIMITS.items(), self._open, strict=True):
            found[f"dissector_{name}"], found[f"dissector_{name}_limit"] = used, limit
        found |= {"packets": self.number, "dissector_seconds": round(self.seconds, 3)}
        found |= {"packets_waiting": self.waiting, "packets_waiting_limit": MOST_WAITING}
        return found | {"dissector_silent_seconds": round(now - self.answered, 3)}

    def _asked(self, batch: Batch, last: bool) -> bytes:
        now = boottime.now_ns()
        pieces: list[bytes | memoryview] = [ASKED.pack(self.number, self.whole_since, now, batch.length, last)]
        for name, kind in PACKET:
            pieces += _sent(batch.columns.get(name), kind, batch.length)
        return frame.framed(frame.PACKETS, pieces)

    def _taken(self, batch: Batch, reader: FrameReader) -> list[Batch]:
        """The answer's rows, with what the packets tell of them. ValueError for anything that does not fit."""
        names, requests, held, *rest = reader.numbers(ANSWERED)
        if max(names, requests) > frame.MOST_ROWS or held > batch.length or sum(rest[:2]) > batch.length:
            raise ValueError(f"{names} and {requests} rows, {held} held, {rest[:2]} unread, of {batch.length} packets")
        said = {
            table: answered.told(table, rows, reader) for table, rows in zip(TABLES, (names, requests), strict=True)
        }
        numbers = answered.numbers(reader.column("int64", held), held)
        reader.end()
        rows = numbers - self.number
        if ((rows < 0) | (rows >= batch.length)).any() or (np.diff(rows) <= 0).any():
            raise ValueError("packets are held that were not sent")
        questions = cast("Fixed", said["name"].columns["packet"]).values
        found = [one for table, told in said.items() for one in self._placed(table, told, batch)]
        self._hold(batch, rows, questions - self.number)
        for table, unread in zip(TABLES, rest[:2], strict=True):
            self._lose(table, unread, "more than could be read in time", time.monotonic())
        self.number += batch.length
        self._open = tuple(rest[2:])
        return found

    def _placed(self, table: str, said: Batch, batch: Batch) -> Iterator[Batch]:
        """Rows beside their packets' own columns: of this exchange, and of those before."""
        numbers = cast("Fixed", said.columns.pop("packet")).values
        new = numbers >= self.number
        if (numbers[new] >= self.number + batch.length).any():
            raise ValueError("a row of a packet that was not sent")
        if new.any():
            yield answered.beside(table, said.kept(new), batch, numbers[new] - self.number)
        missing = ~new
        for one in self._held if missing.any() else ():
            places = np.minimum(np.searchsorted(one.numbers, numbers), len(one.numbers) - 1)
            mine = missing & (one.numbers[places] == numbers)
            if mine.any():
                missing &= ~mine
                one.told[places[mine]] |= table == "request"  # a head has one row; a stream of DNS goes on
                yield answered.beside(table, said.kept(mine), one.batch, places[mine])
        why = "the packet that a row is of is not known any more"
        self._lose(table, int(missing.sum()), why, time.monotonic())

    def _hold(self, batch: Batch, rows: NDArray[np.int64], questions: NDArray[np.int64]) -> None:
        if len(rows):
            kept = {name: column for name, column in batch.columns.items() if name != "payload"}
            held = Batch("packet", batch.length, kept).chosen(rows)
            told = np.isin(rows, questions) & _datagrams(held)
            self._held.append(_Held(time.monotonic(), rows + self.number, held, told))
        self._forget()

    def _forget(self) -> None:
        late = time.monotonic() - HELD
        held = sum(len(one.numbers) for one in self._held)
        while self._held and (self._held[0].at < late or held > frame.MOST_HELD):
            held -= len(self._held.popleft().numbers)


def _by_table(batch: Batch, chosen: NDArray[np.bool_]) -> dict[str, int]:
    """How many of the chosen packets would have become rows of each table."""
    column = batch.columns.get("packet_kind")
    lengths = np.diff(column.offsets) if isinstance(column, Text) else np.zeros(batch.length, dtype=np.int32)
    dns = lengths == len("dns")
    return {"name": int((dns & chosen).sum()), "request": int((~dns & chosen).sum())}


def _add(lost: Losses, counts: Mapping[str, int], why: str, since: float) -> None:
    """Count what is lost of each table for one reason."""
    for table, events in counts.items():
        if events:
            before, first = lost.get((table, why), (0, since))
            lost[table, why] = (before + events, min(first, since))


def _datagrams(batch: Batch) -> NDArray[np.bool_]:
    """Which packets are datagrams of UDP: each a message of its own."""
    column = batch.columns.get("transport")
    if not isinstance(column, Text):
        return np.zeros(batch.length, dtype=np.bool_)
    return np.asarray(column.data[column.offsets[:-1]] == ord("u"))


def _sent(column: Vector | None, kind: str, rows: int) -> list[bytes | memoryview]:
    """A column of packets as frame's; null as 0 or empty."""
    if kind == "int64":
        values = column.values if isinstance(column, Fixed) else np.zeros(rows)
        return [b"\0", np.ascontiguousarray(values, dtype="<i8").tobytes()]
    if not isinstance(column, Text):
        return [b"\0", struct.pack("<I", 0) * (rows + 1)]
    offsets = column.offsets.astype("<u4")
    return [b"\0", offsets.tobytes(), column.data[: int(offsets[-1])].tobytes()]
