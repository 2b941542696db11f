"""The checker's rounds: all files of the list compared one after the other, and what is reported of them.

Reports are JSON objects, one a datagram, through a socket to the observer, which writes them (observe/checks.py). The checker reads no
history and writes nothing. What it uses of a processor is bounded by SHARE: a round that takes more lasts longer, and says so.
"""

from __future__ import annotations

import json
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from firsthand.content import watched
from firsthand.content.compare import Compared, Comparer, Difference, Unchecked
from firsthand.content.watched import WatchedFile

#: The part of a processor that it uses at most, and seconds of one that it may use at once after it has rested.
SHARE, BURST = 0.0025, 0.15
#: Seconds between two searches for files, between two tries of one that is being written, and between two signs of life.
SEARCH, AGAIN, BEAT = 600.0, 10.0, 5.0
#: Tries of a file that is being written, in one round.
TRIES = 3
_DAY = 86_400


@dataclass(frozen=True)
class CheckerOptions:
    """What the checker is given: the settings of [content], and whether the default list is checked."""

    every: float
    roots: tuple[str, ...]
    files: tuple[str, ...]
    default: bool = True

    def encode(self) -> str:
        """As JSON, for the process's argument."""
        return json.dumps(self.__dict__)

    @classmethod
    def decode(cls, text: str) -> CheckerOptions:
        """Options that `encode` gave."""
        raw = json.loads(text)
        return cls(raw["every"], tuple(raw["roots"]), tuple(raw["files"]), raw["default"])


class Reports:
    """The socket to the observer. `send` waits for as long as it takes nothing, which it does while the disk takes nothing."""

    def __init__(self, peer: socket.socket, stops: Sequence[int]) -> None:
        self._peer, self._stops = peer, stops
        self._peer.setblocking(False)
        self.ended = False
        self._wakes: list[Any] = [*stops, peer]
        self._beat = 0.0

    def send(self, report: dict[str, Any]) -> None:
        """One report. Where the observer has gone, or it is time to end, `ended` is set."""
        data = json.dumps(report).encode()
        while not self.ended:
            try:
                self._peer.send(data, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                self.ended = bool(select.select(self._stops, [self._peer], [])[0])
            except OSError:
                self.ended = True
            else:
                return

    def rest(self, seconds: float) -> bool:
        """Wait so long, with signs of life; False where it is time to end."""
        until = time.monotonic() + seconds
        while not self.ended:
            now = time.monotonic()
            if now >= self._beat:
                self.send({"event": "beat"})
                self._beat = now + BEAT
            wait = min(until, self._beat) - now
            self.ended |= bool(select.select(self._wakes, [], [], max(wait, 0.0))[0])
            if time.monotonic() >= until:
                break
        return not self.ended


class Pace:
    """How long to rest after some work, so that no more than BURST and `share` of a processor is used in any time."""

    def __init__(
        self,
        share: float = SHARE,
        used: Callable[[], float] = time.process_time,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._share, self._used, self._now = share, used, now
        self._seen, self._credit = (now(), used()), BURST

    def due(self) -> float:
        """Seconds to rest now."""
        before, self._seen = self._seen, (self._now(), self._used())
        passed, used = self._seen[0] - before[0], self._seen[1] - before[1]
        self._credit = min(BURST, self._credit + self._share * passed) - used
        return max(0.0, -self._credit / self._share)


@dataclass
class Known:
    """What was reported of a file: its state with reason and day, what differed, and when it was compared last (microseconds)."""

    state: tuple[str, str | None, int] | None = None
    difference: tuple[str, int, Difference] | None = None
    same: int | None = None
    day: int = 0


@dataclass
class Checker:
    """`run` until told to end."""

    options: CheckerOptions
    line: Reports
    comparer: Comparer
    pace: Pace = field(default_factory=Pace)
    files: dict[str, WatchedFile] = field(default_factory=dict)
    known: dict[str, Known] = field(default_factory=dict)
    over: int = 0
    _search_due: float = 0.0

    def run(self) -> None:
        """Round after round."""
        while not self.line.ended:
            begun = time.monotonic()
            self.round()
            self.line.rest(begun + self.options.every - time.monotonic())

    def round(self) -> None:
        """Compare every file once; those that are being written some more times."""
        began = _now()
        if time.monotonic() >= self._search_due:
            self._search()
        tally, later = Counter[tuple[str, str | None]](), list(self.files.values())
        for number in range(TRIES):
            if not later or (number and not self.line.rest(AGAIN)):
                break
            later = self._pass(later, tally, last=number == TRIES - 1)
        if not self.line.ended:
            self._report_round(began, tally)

    def _search(self) -> None:
        """Which files there are now."""
        files: dict[str, WatchedFile] = {}
        over = 0
        for one in watched.found(self.options.roots, self.options.files, default=self.options.default):
            if one is None:
                if not self._paced():
                    return
            elif len(files) < watched.MOST:
                files[one.path] = one
            else:
                over += 1
        for path in self.files.keys() - files.keys():
            self._state(self.files[path], "off")
            del self.known[path]
        self.files, self.over, self._search_due = files, over, time.monotonic() + SEARCH

    def _paced(self) -> bool:
        """Rest where it is time to, and give signs of life; False where it is time to end."""
        return self.line.rest(self.pace.due())

    def _pass(
        self, files: Iterable[WatchedFile], tally: Counter[tuple[str, str | None]], *, last: bool
    ) -> list[WatchedFile]:
        """Compare some files; those that are being written, but in the last pass, which counts them as not checked."""
        later = []
        for one in files:
            try:
                state = self._check(one)
            except FileNotFoundError:
                state = ("absent", None)
            except Unchecked as error:
                if error.passing and not last:
                    later.append(one)
                    continue
                state = ("unchecked", str(error))
            if state[0] != "differs":
                self._over(one, state)
            self._state(one, *state)
            tally[state] += 1
            if not self._paced():
                break
        return later

    def _check(self, one: WatchedFile) -> tuple[str, str | None]:
        if one.reason is not None:
            raise Unchecked(one.reason)
        found = self.comparer.compare(one.path)
        known = self.known.setdefault(one.path, Known())
        if found.difference is None:
            known.same = _now()
            return "checked", None
        self._differs(one, known, found, found.difference)
        return "differs", None

    def _differs(self, one: WatchedFile, known: Known, found: Compared, difference: Difference) -> None:
        """A row where it is new, and each day."""
        key = (found.stamp.device, found.stamp.inode, difference)
        if known.difference == key and known.day == _today():
            return
        known.difference, known.day = key, _today()
        report = self._about(one, "differs") | {
            "filesystem": found.filesystem,
            "file_device": found.stamp.device,
            "file_inode": found.stamp.inode,
            "size": found.stamp.size,
            "resident": found.resident,
            "changed": found.stamp.changed // 1000,
            "modified": found.stamp.modified // 1000,
            "cached_sha256": difference.cached,
            "disk_sha256": difference.disk,
            "first_offset": difference.first,
            "bytes_differ": difference.count,
            "since": known.same,
        }
        self.line.send(report)

    def _over(self, one: WatchedFile, state: tuple[str, str | None]) -> None:
        """What differed does so no longer: it is the same again, was replaced, or cannot be checked any more."""
        known = self.known.get(one.path)
        if known is not None and known.difference is not None and state[0] in ("checked", "absent"):
            known.difference = None
            self.line.send(self._about(one, "same"))

    def _state(self, one: WatchedFile, state: str, reason: str | None = None) -> None:
        """A row where it is new, and each day."""
        known = self.known.setdefault(one.path, Known())
        if known.state == (state, reason, _today()):
            return
        known.state = (state, reason, _today())
        report = self._about(one, "listed") | {"state": state, "reason": reason}
        del report["until"]
        self.line.send(report)

    def _about(self, one: WatchedFile, event: str) -> dict[str, Any]:
        return {"event": event, "path": _text(one.path), "kind": one.kind, "until": _now()}

    def _report_round(self, began: int, tally: Counter[tuple[str, str | None]]) -> None:
        reasons = {
            str(reason): number for (state, reason), number in sorted(tally.items(), key=str) if state == "unchecked"
        }
        if self.over:
            reasons[f"more than {watched.MOST:,} files are on the list"] = self.over
        differing, checked = tally["differs", None], tally["checked", None]
        self.line.send(
            {
                "event": "round",
                "since": began,
                "until": _now(),
                "checked": checked + differing,
                "differing": differing,
                "unchecked": sum(reasons.values()),
                "every": int(self.options.every),
                "reasons": json.dumps(reasons),
            }
        )


def _now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def _today() -> int:
    return int(time.time()) // _DAY


def _text(path: str) -> str:
    """A path as rows have it: bytes that are no UTF-8 as \\xNN."""
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")
