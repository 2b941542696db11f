"""Where the rooms meet: the way of an event from the ring to the durable log.

The observer runs as a process of its own (`python -m firsthand.roles.observer OPTIONS SOCKET CONTROL`), told by one JSON object of
ObserverOptions, handed what the loader brought into the kernel through the socket, and a line to each new dissector through the
other one, and answering with JSON lines on standard output. The word `stop` on its standard input, or SIGTERM, ends it: it takes
the ring's rest and says so in the record. `keep`, or the input's end, is as a crash would be: what is attached goes on, and the
next observer takes over.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from firsthand import __version__
from firsthand.errors import HistoryError
from firsthand.history.log import schema_store
from firsthand.history.log.asked import Bell
from firsthand.history.log.log import LogWriter, RingSpan
from firsthand.host import boottime, machine
from firsthand.identity.resolve import CGROUPS, IMAGES
from firsthand.identity.resolved import ADDRESSES
from firsthand.observe import measures
from firsthand.observe.canaries import Canaries
from firsthand.observe.checks import Checks
from firsthand.observe.enrich import Completion
from firsthand.observe.floods import Floods
from firsthand.observe.line import Line
from firsthand.observe.measures import bound
from firsthand.observe.options import ObserverOptions
from firsthand.observe.packets import Packets
from firsthand.observe.source import Lost, Source
from firsthand.probe import handover, stats
from firsthand.probe import hierarchy as _hierarchy
from firsthand.probe.guard import Guard
from firsthand.probe.loaded import Loaded
from firsthand.probe.rounds import MOST_ROUNDS
from firsthand.schema import layout as _layout
from firsthand.settings.sections.environment import Environment
from firsthand.wire.batch import Batch
from firsthand.wire.clock import SET, Clock
from firsthand.wire.decode import Decoder
from firsthand.wire.translation import MOST as TRANSLATIONS
from firsthand.wire.translation import Translations

ALIVE = 10.0
SECOND = 1.0
#: Whoever asks what happened until this moment has an answer at once, but not more often than this, in seconds.
ASKED = 0.1
#: An urgent record is made durable at once, but not more often than this, in seconds.
URGENT = 0.02
#: Ordinary records that come faster than this, in bytes a second, are made durable each so many times `commit`, or when an eighth of the ring
#: waits: a commit costs as much as 1,500 rows, however many it holds.
FAST, STRETCH = 3 << 20, 2.5
#: Looks at the rings, once the first canary was caused, within which it is to come back by every hook: 2 s on an idle machine.
PROOF = 40


@dataclass
class Pending:
    """One append: rows, the ring positions they came from, and what the source knows with them."""

    batches: list[Batch]
    spans: list[RingSpan]
    state: Mapping[str, Any]


@dataclass
class Marks:
    """When something periodic was last done, in monotonic seconds, and what was measured since the last sign of life; `behind`: whether
    it said that packets wait."""

    second: float = 0.0
    looked: float = 0.0
    compared: float = 0.0
    alive: float = 0.0
    committed: float = 0.0
    recorded: int = 0
    slowest: float = 0.0
    behind: bool = False
    failing: float = 0.0
    failed: list[tuple[float, float]] = field(default_factory=list)


class Observer:
    """The rings to one log. `open`, `run` until told to end, `close`; every method of the main thread only."""

    def __init__(
        self, options: ObserverOptions, control: socket.socket | None = None, checks: socket.socket | None = None
    ) -> None:
        self.options = options
        self.checks = Checks(checks)
        self.layout = _layout.installed()
        self.clock = Clock()
        self.node, self.boot = machine.node(), machine.boot()
        self.scopes = [Path(scope) for scope in options.scopes]
        self.hierarchy = _hierarchy.choose(self.scopes, options.top.hierarchy)
        self.canaries = Canaries(self.hierarchy, options.canary, self._hear)
        self.tables = measures.KernelTables()
        self.word = ""
        self.marks = Marks()
        self.waiting: Pending | None = None
        self.asked, self.signed = False, False
        self.through, self.flows = (0, 0), (0, 0)
        self.packets = Packets(Line(control, tell), wanted=options.network.packets)
        self.rows = Completion(options, (self.node, self.boot), self.clock, self.canaries, self.packets)

    def open(self, loaded: Loaded) -> None:
        """Open the log, empty the rings that were replaced, and take over or begin."""
        self.loaded = loaded
        directory = Path(self.options.history)
        self.log = LogWriter(directory, self.node, self.boot)
        self.bell = Bell(directory)
        schema_store.save_layout(directory, self.layout.hash, self.layout.text)
        self.decoders = self._decoders(directory)
        self.rows.decoder = self.decoders[self.layout.number]
        self.rows.translations = Translations(loaded.translations)
        self.floods = Floods(loaded, self._path_of, self.log.state.get("looked", 0))
        if loaded.previous is not None:
            self._empty(loaded.previous)
        self.source = Source(loaded, self.decoders, self.log.last_spans(), self.log.state)
        self.guard, self.marks.compared = Guard(loaded, self.options.observed), time.monotonic()
        self.packets.restore(self.log.state, goes_on=self.source.goes_on)
        self.sweeper = loaded.sweeper
        if loaded.unswept:
            self._flush()
        if loaded.taken_over:
            self.rows.resolver.cgroups.seed(_hierarchy.paths(self.hierarchy, self.scopes))
        if self.source.goes_on:
            self._say("resume")
        else:
            self._say("start", self._began())

    def _began(self) -> int | None:
        """When the kernel side began to record, every hook attached, in microseconds; None where that was for a reader before."""
        if self.loaded.taken_over or self.loaded.previous is not None:
            return None
        return int(self.clock.times(np.array([self.source.incarnation]))[0])

    def _decoders(self, directory: Path) -> dict[int, Decoder]:
        """By layout number: the installed one, and those whose records a ring that is taken over may still hold."""
        layouts = [self.layout]
        if self.loaded.taken_over or self.loaded.previous is not None:
            saved = schema_store.saved(directory)
            layouts += [_layout.parse(text) for hash_, text in saved.items() if hash_ != self.layout.hash]
        names = tuple(name.encode() for name in self.options.settings[Environment].allow)
        return {layout.number: Decoder(layout, names) for layout in layouts}

    def _empty(self, previous: Loaded) -> None:
        """Take in what rings of another shape held when their programs were detached."""
        self.source = Source(previous, self.decoders, self.log.last_spans(), self.log.state)
        self.sweeper = previous.sweeper
        self._flush()
        self._take_rest()
        self._say("stop")
        self.source.close()
        previous.forget()

    def read_existing(self) -> None:
        """Take in what runs already, and make room in the ring meanwhile."""
        self.commit()  # what waits goes first: a ring that is full takes nothing of what runs
        self.source.learning = self.source.goes_on and not self.loaded.unattended
        try:
            for _ in handover.read_existing(self.loaded):
                if any(stream.waiting * 4 > stream.ring.size for stream in self.source.streams):
                    self.commit()
        except OSError as error:
            self.loaded.missing["existing_processes"] = str(error)
        self.guard.settle()
        self.commit()
        self.source.learning = False

    def prove(self) -> None:
        """Go on until the first canary has come back by every hook, or has not though it was caused; then say that observing is ready.

        How long the supervisor takes to cause it does not count: on a saturated machine that is long.
        """
        looks = 0
        while not self.canaries.all_proven(self._attached()) and looks < PROOF and not self.word:
            select.select([self.loaded.maps["urgent"]], [], [], self.options.top.poll_ms / 1000)
            self._hear()
            self.commit()
            looks += self.canaries.complete
        self._say("ready")

    def run(self, stop: int) -> str:
        """Drain until the descriptor `stop` or the supervisor says how to end: `stop` or `keep`."""
        poller = select.epoll()
        for descriptor in (stop, 0):
            poller.register(descriptor, select.EPOLLIN)
        poller.register(self.loaded.maps["urgent"], select.EPOLLIN | select.EPOLLET)
        if self.bell.fileno() >= 0:
            poller.register(self.bell, select.EPOLLIN)
        while not self.word:
            ready = {descriptor for descriptor, _ in poller.poll(self._pause())}
            if stop in ready:
                self.word = "stop"
            if 0 in ready:
                self._hear()
            if self.bell.fileno() in ready:
                self.bell.heard()
                self.asked = True
            self.tick()
        poller.close()
        return self.word

    def _hear(self) -> None:
        """Take in what the supervisor said; its end is as the word `keep`."""
        while not self.word and select.select([0], [], [], 0)[0]:
            said = os.read(0, 4096).decode(errors="replace")
            for line in said.splitlines() or ["keep"]:
                kind, _, rest = line.partition(" ")
                if kind == "canary":
                    self.canaries.announce(rest, time.monotonic())
                elif kind == "caused":
                    self.canaries.caused(rest, time.monotonic())
                elif kind == "canaries":
                    self.canaries.recall(rest.split())
                else:
                    self.word = line.strip()

    def _pause(self) -> float:
        """Seconds until the next look: while nothing waits it may come twice as late, and what comes then is committed at once."""
        looks = 1 if self.waiting is not None or any(stream.waiting for stream in self.source.streams) else 2
        pause = looks * self.options.top.poll_ms / 1000
        if not self.asked or self.waiting is not None:
            return pause
        return min(pause, max(0.0, self.marks.looked + ASKED - time.monotonic()))

    def tick(self) -> None:
        """One turn: commit where it is due or a ring is over a quarter full."""
        now = time.monotonic()
        if self.waiting is not None and now - self.marks.committed < SECOND:
            return  # the disk takes nothing now: the rings hold what they can
        if self._due(now):
            self.commit()
        looks = now - self.marks.looked >= (ASKED if self.asked else SECOND) and self.waiting is None
        if looks:
            self._look(now)
        behind = bool(self.packets.waiting)
        if (now - self.marks.alive >= ALIVE or behind != self.marks.behind) and self.waiting is None:
            self.marks.behind = behind
            self._say("alive")
        if looks:
            self._sign()

    def _due(self, now: float) -> bool:
        since = now - self.marks.committed
        ordinary, urgent = (stream.waiting for stream in self.source.streams)
        if any(
            waiting * 4 > stream.ring.size
            for waiting, stream in zip((ordinary, urgent), self.source.streams, strict=True)
        ):
            return True
        if urgent and since >= URGENT:
            return True
        if since < self.options.top.commit_ms / 1000 or not (ordinary or self.waiting):
            return False
        fast = ordinary > FAST * since and ordinary * 8 < self.source.streams[0].ring.size
        return not fast or since >= STRETCH * self.options.top.commit_ms / 1000

    def commit(self) -> None:
        """Everything that the rings hold now: decode, make durable, release. One chunk, but where a ring holds more than a slice."""
        self.marks.committed = time.monotonic()
        if self.waiting is not None and not self._append(self.waiting):
            return
        for taken in self.source.slices():
            self.rows.resolver.binaries(taken.learned)
            if not self._append(Pending(self.rows.complete(taken.batches), taken.spans, self._state())):
                return

    def _state(self) -> Mapping[str, Any]:
        """What whoever takes over must know, as it stands with what was taken so far."""
        return {**self.source.state(), **self.packets.state()}

    def _append(self, pending: Pending) -> bool:
        """Make durable, then release; False where the log takes nothing, and then nothing is released."""
        began = time.monotonic()
        try:
            self.log.append(pending.batches, pending.spans, pending.state)
        except HistoryError as error:
            self._blocked(pending, error)
            return False
        self.waiting = None
        self.source.release(pending.spans)
        self.marks.slowest = max(self.marks.slowest, time.monotonic() - began)
        if self.marks.failing:
            self._resumed()
        return True

    def _blocked(self, pending: Pending, error: HistoryError) -> None:
        self.waiting = pending
        if not self.marks.failing:
            self.marks.failing = time.monotonic()
            tell({"event": "blocked", "error": f"{error} Until then the rings hold what they can."})

    def _resumed(self) -> None:
        now = time.monotonic()
        self.marks.failed.append((self.marks.failing, now))
        tell({"event": "unblocked", "seconds": round(now - self.marks.failing, 1)})
        self.marks.failing = 0.0

    def _look(self, now: float) -> None:
        """Each second, and for whoever asks: what is lost, and up to when the record is whole."""
        self.marks.looked, boot = now, boottime.now_ns()
        begun = self._untold(boot) if self._answers else None
        self._compare()
        if now - self.marks.second >= SECOND:
            self.marks.second = now
            self.sweeper.run()
        produced = self.source.produced()
        self.commit()
        self._late_packets()
        self._write_checks()
        self._write_losses(self._missing(produced))
        if self.rows.translations.overflowed:
            words = "conntrack told more at once than could be read: some translated addresses are missing"
            self._write_losses(
                [Lost("translation_overflow", self.rows.translations.overflowed, now - SECOND, now, words)]
            )
            self.rows.translations.overflowed = 0
        proven = self.canaries.judged
        silent = self.canaries.silent(now, self._attached())
        if silent:
            since = now - SECOND if proven is None else proven
            self._write_losses([Lost("canary_silent", 0, since, now, f"hook {name} did not answer") for name in silent])
        self._sample_clock()
        if self.waiting is None:
            late = now - self.source.whole(now)
            self.through = boot - round(late * 1e9), self.clock.now() - round((time.monotonic() - now + late) * 1e6)
            if begun is not None:
                self.flows = min(self.through, (begun, self.through[1] - max(0, self.through[0] - begun) // 1000))

    @property
    def _answers(self) -> bool:
        """Whether somebody asked; where nobody can be heard, each second."""
        return self.asked or self.bell.fileno() < 0

    def _untold(self, now: int) -> int:
        """When the first flow of datagrams or attempt to connect began that has no row yet, by the kernel's clock; `now` if each has one; 0 if
        it is not known."""
        try:
            found = stats.untold(self.loaded)
        except OSError:
            return 0
        return now if found is None else min(found, now)

    def _sign(self) -> None:
        """The sign of life; at once where somebody asked, and the first one that says up to when the record is whole."""
        if self._answers or not self.signed:
            self.log.sign.due()
        if not self.marks.failing:
            told = {"dissected": self.packets.proven, "through": self.through, "flows": self.flows}
            self.log.sign.give(**told, checked=self.checks.heard)
            self.asked, self.signed = False, True

    def _compare(self) -> None:
        """Whether the kernel side is told what this observer told it; how many events a change has cost is not known."""
        before, self.marks.compared = self.marks.compared, time.monotonic()
        changed = self.guard.beat()
        self._write_losses([Lost(one.cause, None, before, time.monotonic(), one.detail) for one in changed])

    def _sample_clock(self) -> None:
        """A new sample where one is due. Where the wall clock was set, signs of life by the old time and by the new one say which
        part of either was observed."""
        until, offset = self.clock.now(), self.clock.sample.offset
        if not self.clock.resample():
            return
        was_set = abs(self.clock.sample.offset - offset) > SET
        if was_set:
            self._say("alive", until)
        self._write("clock", [asdict(self.clock.sample)])
        if was_set:
            self._say("alive")

    def _path_of(self, cgroup: int) -> str:
        """A cgroup's path by its id; empty where it is not known."""
        return self.rows.resolver.cgroups.words(cgroup)[1].decode()

    def _missing(self, produced: Sequence[Sequence[int]], *, final: bool = False) -> list[Lost]:
        """What was lost on the way from the kernel and on the way through the dissector."""
        found = self.floods.explained(self.source.missing(produced, final=final))
        if any(loss.cause == "sequence_gap" for loss in found):
            self.packets.gap()
        return found + self.packets.losses()

    def _late_packets(self, *, last: bool = False) -> None:
        """Rows of packets whose rest did not come."""
        batches = self.rows.late(last=last)
        if batches:
            self._add(batches)

    def _attached(self) -> set[str]:
        return {program.hook.name for program in self.loaded.programs}

    def _write_checks(self) -> None:
        """What the checker reported. While the disk takes nothing it waits."""
        if self.waiting is None and (rows := self.checks.rows()):
            self._write("content", rows)

    def _write_losses(self, losses: Sequence[Lost]) -> None:
        now = time.monotonic()
        rows = [self._loss(loss, now) for loss in losses]
        if rows:
            self._write("loss", rows)
        self.marks.failed = [(begin, end) for begin, end in self.marks.failed if now - end < 2 * SECOND]

    def _loss(self, loss: Lost, now: float) -> dict[str, object]:
        """A row; what was lost while the disk took nothing says so."""
        wall_now, since, detail = self.clock.now(), loss.since, loss.detail
        for begin, _ in self.marks.failed:
            since = min(since, begin)
            detail = ", ".join(filter(None, (detail, "the history could not be written")))
        row: dict[str, object] = {
            "cause": loss.cause,
            "events": loss.events,
            "detail": detail,
            "table_name": loss.table,
        }
        row |= {"since": wall_now - int((now - since) * 1e6), "until": wall_now - int((now - loss.until) * 1e6)}
        return row | {name: value for name, value in (("cpu", loss.cpu), ("ring", loss.ring)) if value is not None}

    def _say(self, event: str, moment: int | None = None) -> None:
        """A row of `observer`, at a `moment` in microseconds or now, and with the first one a clock sample."""
        now = time.monotonic()
        row: dict[str, object] = {
            "time": self.clock.now() if moment is None else moment,
            "event": event,
            "instance": self.options.top.instance,
            "version": __version__,
            "kernel": f"{os.uname().release} {os.uname().machine}",
            "scope": "\n".join(_hierarchy.path_in(self.hierarchy, scope) for scope in self.scopes) or None,
            "hooks": json.dumps(self.loaded.hooks() | self.canaries.verdicts(self._attached())),
            "blind_spots": json.dumps(self.loaded.blind_spots(self.canaries.dumb)),
            "settings": json.dumps(self.options.left_out(self.loaded.refused)),
            "layout": self.layout.hash,
            "recorded": self.source.recorded - self.canaries.dropped,
            "lost": self.source.lost,
            "measures": json.dumps(self._measures(now)),
        }
        self._write("observer", [row])
        self.marks.alive, self.marks.recorded, self.marks.slowest = now, self.source.recorded, 0.0
        if event in ("start", "resume"):
            self._write("clock", [asdict(self.clock.sample)])

    def _measures(self, now: float) -> dict[str, float]:
        """What the observer measures of itself; see measures.py."""
        passed = max(now - self.marks.alive, 0.001)
        found = measures.rings(self.source, now) | self.tables.measures(self.loaded) | measures.failures(self.loaded)
        found["events_per_second"] = round((self.source.recorded - self.marks.recorded) / passed, 1)
        found["lag_seconds"] = round(now - self.marks.failing, 1) if self.marks.failing else 0
        found["commit_seconds_max"] = round(self.marks.slowest, 4)
        found |= bound("cgroups", len(self.rows.resolver.cgroups), CGROUPS)
        found |= bound("images", len(self.rows.resolver.images), IMAGES)
        found |= bound("canary_rounds", self.canaries.rounds, MOST_ROUNDS) | self._proven(now)
        found |= bound("translations", len(self.rows.translations), TRANSLATIONS)
        found |= bound("resolved", len(self.rows.resolved), ADDRESSES)
        found["held_back"] = self.floods.held_back
        if self.loaded.folding:
            found["folded"], found["folded_connections"] = self.rows.folded["process"], self.rows.folded["connection"]
            for map_, held in self.sweeper.held.items():
                found |= bound(map_, held, self.loaded.size(map_))
        return found | bound("log_bytes", self.log.held, self.log.limit) | self.packets.measures(now)

    def _proven(self, now: float) -> dict[str, float]:
        """When the last round of canaries began of which the hooks' answers are known, and how often one is due. Monotonic seconds: a
        suspended machine is not late."""
        if not self.options.canary or self.canaries.judged is None:
            return {}
        told = {
            "monotonic": now,
            "proven_monotonic": self.canaries.judged,
            "canary_seconds": self.options.top.canary_seconds,
        }
        return {name: round(value, 3) for name, value in told.items()}

    def _write(self, table: str, rows: list[dict[str, object]]) -> None:
        """Rows of our own, made durable with what the source knows."""
        common = {"time": self.clock.now(), "ktime": boottime.now_ns()}
        common |= {"node": self.node, "boot": self.boot}  # type: ignore[dict-item]
        self._add([Batch.from_rows(table, [common | row for row in rows])])

    def _add(self, batches: list[Batch]) -> None:
        """Rows that no ring holds: made durable now, or with what waits already."""
        if self.waiting is not None:
            self.waiting = Pending([*self.waiting.batches, *batches], self.waiting.spans, self._state())
        else:
            self._append(Pending(batches, [], self._state()))

    def close(self, word: str) -> None:
        """After `stop` take the rings' rest, count what never came and say that observing has ended; else leave all as it is.

        HistoryError where that cannot be written.
        """
        if word == "stop":
            self.loaded.detach()
            self._flush()
            self._take_rest()
            self._say("stop")
        else:
            self.commit()
            self._say("alive")
        if self.waiting is not None:
            raise HistoryError(
                f"{self.options.history}: the last rows could not be written: what the rings hold waits there until "
                "the next `firsthand run` with this history, or is lost with a restart of the machine"
            )

    def _flush(self) -> None:
        """Take in what was withheld, now that no program withholds any more."""
        left = self.sweeper.flush(self.commit)
        if left and self.waiting is None:
            now = time.monotonic()
            self._write_losses([Lost("withheld", left, now - SECOND, now, "what was withheld could not be written")])

    def _take_rest(self) -> None:
        produced = self.source.produced()
        self.commit()
        self._late_packets(last=True)
        self._write_checks()
        self._write_losses(self._missing(produced, final=True))

    def forget(self) -> None:
        """Let go of rings and log."""
        with contextlib.suppress(AttributeError):
            self.source.close()
        with contextlib.suppress(AttributeError):
            self.loaded.forget()
        with contextlib.suppress(AttributeError):
            self.bell.close()
        with contextlib.suppress(AttributeError):
            self.log.close()

    def report(self, event: str) -> dict[str, object]:
        """What the parent process is told."""
        return {
            "event": event,
            "recorded": self.source.recorded - self.canaries.dropped,
            "lost": self.source.lost,
            "notes": self.loaded.notes,
            "missing": self.loaded.missing,
            "hierarchy": self.hierarchy.controller or "v2",
        }


def tell(line: Mapping[str, object]) -> None:
    """Say it to the supervisor. One that was killed hears nothing, and what the observer does is the same."""
    try:
        print(json.dumps(line), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the end flushes once more
