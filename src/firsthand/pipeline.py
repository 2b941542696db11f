"""Where the rooms meet: the way of an event from the ring to the durable log.

The observer runs as a process of its own (`python -m firsthand.pipeline OPTIONS SOCKET CONTROL`), told by one JSON object of
ObserverOptions, handed what the loader brought into the kernel through the socket, and a line to each new dissector through the
other one, and answering with JSON lines on standard output. The word `stop` on its standard input, or SIGTERM, ends it: it takes
the ring's rest and says so in the record. `keep`, or the input's end, is as a crash would be: what is attached goes on, and the
next observer takes over.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from firsthand import __version__, boottime, machine, measures
from firsthand.canary import MOST_ROUNDS, Canaries
from firsthand.errors import FirsthandError, HistoryError
from firsthand.history import schema_store
from firsthand.history.log import LogWriter, Span
from firsthand.identity.resolve import CGROUPS, IMAGES, Resolver
from firsthand.identity.resolved import ADDRESSES, Resolved
from firsthand.measures import bound
from firsthand.options import ObserverOptions, tuples
from firsthand.packets import Line, Packets
from firsthand.probe import hierarchy as _hierarchy
from firsthand.probe import load
from firsthand.probe.load import Loaded
from firsthand.schema import layout as _layout
from firsthand.source import Lost, Source
from firsthand.wire.batch import Batch, Fixed, Lists, Text, spread
from firsthand.wire.clock import SET, Clock
from firsthand.wire.decode import Decoder
from firsthand.wire.redact import Pattern, Redactor, compile_redactor, redact_texts
from firsthand.wire.scoped import ScopedModes
from firsthand.wire.translation import MOST as TRANSLATIONS
from firsthand.wire.translation import Translations

ALIVE = 10.0
SECOND = 1.0
#: An urgent record is made durable at once, but not more often than this, in seconds.
URGENT = 0.02
#: Images whose binary is kept known after their end: a child's withheld fork may still come.
LATE = 16384
#: Seconds for which `ready` waits for the first canary.
PROOF = 2.0


@dataclass
class Pending:
    """One append: rows, the ring positions they came from, and what the source knows with them."""

    batches: list[Batch]
    spans: list[Span]
    state: Mapping[str, Any]


@dataclass
class Marks:
    """When something periodic was last done, in monotonic seconds, and what was measured since the last sign of life."""

    second: float = 0.0
    alive: float = 0.0
    committed: float = 0.0
    recorded: int = 0
    slowest: float = 0.0
    failing: float = 0.0
    failed: list[tuple[float, float]] = field(default_factory=list)


class Observer:
    """The rings to one log. `open`, `run` until told to end, `close`; every method of the main thread only."""

    def __init__(self, options: ObserverOptions, control: socket.socket | None = None) -> None:
        self.options = options
        self.layout = _layout.installed()
        self.clock = Clock()
        self.resolver = Resolver(late=LATE)
        self.redactor = _redactor(options)
        self.modes = ScopedModes(dict(options.redaction_scopes), options.redaction)
        self.node, self.boot = machine.node(), machine.boot()
        self.scopes = [Path(scope) for scope in options.scopes]
        self.hierarchy = _hierarchy.choose(self.scopes, options.hierarchy)
        self.canaries = Canaries(self.hierarchy, options.canary, self._hear)
        self.tables = measures.KernelTables()
        self.word = ""
        self.folded = {"process": 0, "connection": 0}
        self.marks = Marks()
        self.waiting: Pending | None = None
        self.packets = Packets(Line(control, _tell))
        self.resolved = Resolved()

    def open(self, loaded: Loaded) -> None:
        """Open the log, empty the rings that were replaced, and take over or begin."""
        self.loaded = loaded
        directory = Path(self.options.history)
        self.log = LogWriter(directory, self.node, self.boot)
        schema_store.save_layout(directory, self.layout.hash, self.layout.text)
        self.decoders = self._decoders(directory)
        self.decoder = self.decoders[self.layout.number]
        self.translations = Translations(loaded.translations)
        if loaded.previous is not None:
            self._empty(loaded.previous)
        self.source = Source(loaded, self.decoders, self.log.last_spans(), self.log.state)
        self.sweeper = loaded.sweeper
        if loaded.unswept:
            self._flush()
        if loaded.taken_over:
            self.resolver.cgroups.seed(_hierarchy.paths(self.hierarchy, self.scopes))
        self._say("resume" if self._goes_on else "start")

    @property
    def _goes_on(self) -> bool:
        """Whether every hook stayed attached since the observer before: then the time between is observed as well."""
        return self.source.resumed and not self.loaded.interrupted

    def _decoders(self, directory: Path) -> dict[int, Decoder]:
        """By layout number: the installed one, and those whose records a ring that is taken over may still hold."""
        layouts = [self.layout]
        if self.loaded.taken_over or self.loaded.previous is not None:
            saved = schema_store.saved(directory)
            layouts += [_layout.parse(text) for hash_, text in saved.items() if hash_ != self.layout.hash]
        names = tuple(name.encode() for name in self.options.environment)
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
        self.source.learning = self._goes_on and not self.loaded.unattended
        try:
            for _ in load.read_existing(self.loaded):
                if any(stream.waiting * 4 > stream.ring.size for stream in self.source.streams):
                    self.commit()
        except OSError as error:
            self.loaded.missing["existing_processes"] = str(error)
        self.commit()
        self.source.learning = False

    def prove(self) -> None:
        """Go on until the first canary has come back by every hook, or is late; then say that observing is ready."""
        until = time.monotonic() + PROOF
        while not self.canaries.all_proven(self._attached()) and time.monotonic() < until:
            select.select([self.loaded.maps["urgent"]], [], [], self.options.poll / 1000)
            self.commit()
        self._say("ready")

    def run(self, stop: int) -> str:
        """Drain until the descriptor `stop` or the supervisor says how to end: `stop` or `keep`."""
        poller = select.epoll()
        for descriptor in (stop, 0):
            poller.register(descriptor, select.EPOLLIN)
        poller.register(self.loaded.maps["urgent"], select.EPOLLIN | select.EPOLLET)
        while not self.word:
            ready = {descriptor for descriptor, _ in poller.poll(self.options.poll / 1000)}
            if stop in ready:
                self.word = "stop"
            self._hear()
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
                elif kind == "canaries":
                    self.canaries.recall(rest.split())
                else:
                    self.word = line.strip()

    def tick(self) -> None:
        """One turn: commit where it is due or a ring is over a quarter full."""
        now = time.monotonic()
        if self.waiting is not None and now - self.marks.committed < SECOND:
            return  # the disk takes nothing now: the rings hold what they can
        if self._due(now):
            self.commit()
        if now - self.marks.second >= SECOND and self.waiting is None:
            self._each_second(now)
        if now - self.marks.alive >= ALIVE and self.waiting is None:
            self._say("alive")

    def _due(self, now: float) -> bool:
        since = now - self.marks.committed
        ordinary, urgent = self.source.streams
        if any(stream.waiting * 4 > stream.ring.size for stream in self.source.streams):
            return True
        if urgent.waiting and since >= URGENT:
            return True
        return bool(ordinary.waiting or self.waiting) and since >= self.options.commit / 1000

    def commit(self) -> None:
        """Everything that the rings hold now: decode, make durable, release."""
        self.marks.committed = time.monotonic()
        for _ in range(self._slices()):
            if self.waiting is not None and not self._append(self.waiting):
                return
            taken = self.source.take()
            if not taken.spans:
                return
            self.resolver.binaries(taken.learned)
            if not self._append(Pending(self._complete(taken.batches), taken.spans, self.source.state())):
                return

    def _slices(self) -> int:
        """Enough for what is there now; what comes meanwhile waits for the next turn."""
        return 2 + sum(stream.waiting for stream in self.source.streams) // (32 * 1024)

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
            _tell({"event": "blocked", "error": f"{error} Until then the rings hold what they can."})

    def _resumed(self) -> None:
        now = time.monotonic()
        self.marks.failed.append((self.marks.failing, now))
        _tell({"event": "unblocked", "seconds": round(now - self.marks.failing, 1)})
        self.marks.failing = 0.0

    def _complete(self, batches: list[Batch]) -> list[Batch]:
        self.translations.hear()  # told before the connection is established, so before any row that is here
        for batch in batches:
            if batch.table == "container":
                self.resolver.cgroups.learn(batch)
        found = [self._placed(batch) for batch in sorted(batches, key=_order)]
        self.resolver.binaries([batch for batch in found if batch.table == "process"])
        for batch in found:
            self._owned(batch)
        return self._read([batch for batch in found if batch.length])

    def _read(self, batches: list[Batch]) -> list[Batch]:
        """Packets replaced by what they say, and connections with the names that they are known by."""
        found = [one for batch in batches for one in self._unpacked(batch)]
        for batch in found:
            if batch.table == "name":
                self.resolved.learn(batch)
        for batch in found:
            if batch.table == "connection":
                self.resolved.fill(batch)
        return found

    def _unpacked(self, batch: Batch) -> list[Batch]:
        return [batch] if batch.table != "packet" else self._told(self.packets.read(batch))

    def _told(self, batches: list[Batch]) -> list[Batch]:
        """What the dissector told, redacted."""
        for batch in batches:
            if batch.table == "request":
                redact_texts(batch, ("url_path", "user_agent"), self.redactor, self._modes(batch.columns))
        return batches

    def _placed(self, batch: Batch) -> Batch:
        """With its time and its container, once all cgroups are learned; without canaries."""
        batch = self.canaries.take(batch, self.decoder)
        columns: dict[str, Any] = batch.columns
        columns["time"] = Fixed(self.clock.times(columns["ktime"].values))
        if "folded_last" in columns:
            self._fold(batch.table, columns)
        columns["pid"] = columns["exec_tgid"]
        self._stamp(batch)
        self.resolver.containers(batch)
        return batch

    def _owned(self, batch: Batch) -> None:
        """What takes the binaries of all processes to be known, and the secrets out of arguments."""
        columns: dict[str, Any] = batch.columns
        if batch.table == "process":
            _only_containers_are_entered(columns, self.decoder)
            _redact(columns, self.redactor, self._modes(columns))
        elif batch.table in ("connection", "packet"):
            self.resolver.owners(batch)
            self.translations.fill(batch)

    def _fold(self, table: str, columns: dict[str, Any]) -> None:
        """When the last one of each fold began; and how many there were in all."""
        last: Fixed = columns["folded_last"]
        columns["folded_until"] = Fixed(self.clock.times(last.values), last.valid)
        counts: Fixed = columns["folded_count"]
        self.folded[table] += int(counts.values.sum() if counts.valid is None else counts.values[counts.valid].sum())

    def _modes(self, columns: dict[str, Any]) -> NDArray[np.int8] | None:
        """How each row's arguments are kept, where that differs between cgroups."""
        if not self.modes:
            return None
        return self.modes.rows(columns["cgroup_id"].values, lambda key: self.resolver.cgroups.words(key)[1])

    def _stamp(self, batch: Batch) -> None:
        rows = np.zeros(batch.length, dtype=np.int64)
        for name, word in (("node", self.node.encode()), ("boot", self.boot.encode())):
            batch.columns[name] = spread(rows, np.array([word]), np.array([len(word)], dtype=np.int32))

    def _each_second(self, now: float) -> None:
        self.marks.second = now
        self.source.beat()
        self.sweeper.run()
        produced = self.source.produced()
        self.commit()
        self._late_packets()
        self._write_losses(self._missing(produced))
        if self.translations.overflowed:
            words = "conntrack told more at once than could be read: some translated addresses are missing"
            self._write_losses([Lost("translation_overflow", self.translations.overflowed, now - SECOND, now, words)])
            self.translations.overflowed = 0
        silent = self.canaries.silent(now, self._attached())
        if silent:
            self._write_losses(
                [Lost("canary_silent", 0, now - SECOND, now, f"hook {name} did not answer") for name in silent]
            )
        self._sample_clock()

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

    def _missing(self, produced: Sequence[Sequence[int]], *, final: bool = False) -> list[Lost]:
        """What was lost on the way from the kernel and on the way through the dissector."""
        found = self.source.missing(produced, final=final)
        if any(loss.cause == "sequence_gap" for loss in found):
            self.packets.gap()
        return found + self.packets.losses()

    def _late_packets(self, *, last: bool = False) -> None:
        """Rows of packets whose rest did not come."""
        batches = self._read(self._told(self.packets.late(last=last)))
        if batches:
            self._add(batches)

    def _attached(self) -> set[str]:
        return {program.hook.name for program in self.loaded.programs}

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
            "instance": self.options.instance,
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
        found |= bound("cgroups", len(self.resolver.cgroups), CGROUPS)
        found |= bound("images", len(self.resolver.images), IMAGES)
        found |= bound("canary_rounds", self.canaries.rounds, MOST_ROUNDS)
        found |= bound("translations", len(self.translations), TRANSLATIONS)
        found |= bound("resolved", len(self.resolved), ADDRESSES)
        if self.loaded.folding:
            found["folded"], found["folded_connections"] = self.folded["process"], self.folded["connection"]
            for map_, held in self.sweeper.held.items():
                found |= bound(map_, held, self.loaded.size(map_))
        return found | bound("log_bytes", self.log.held, self.log.limit) | self.packets.measures()

    def _write(self, table: str, rows: list[dict[str, object]]) -> None:
        """Rows of our own, made durable with what the source knows."""
        common = {"time": self.clock.now(), "ktime": boottime.now_ns()}
        common |= {"node": self.node, "boot": self.boot}  # type: ignore[dict-item]
        self._add([Batch.from_rows(table, [common | row for row in rows])])

    def _add(self, batches: list[Batch]) -> None:
        """Rows that no ring holds: made durable now, or with what waits already."""
        if self.waiting is not None:
            self.waiting = Pending([*self.waiting.batches, *batches], self.waiting.spans, self.source.state())
        else:
            self._append(Pending(batches, [], self.source.state()))

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
        self._write_losses(self._missing(produced, final=True))

    def forget(self) -> None:
        """Let go of rings and log."""
        with contextlib.suppress(AttributeError):
            self.source.close()
        with contextlib.suppress(AttributeError):
            self.loaded.forget()
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


def _order(batch: Batch) -> int:
    """Cgroups are learned first, then binaries: what comes behind names both."""
    return {"container": 0, "process": 1}.get(batch.table, 2)


def _redactor(options: ObserverOptions) -> Redactor:
    patterns = [Pattern(name, expression) for name, expression in options.patterns]
    return compile_redactor(patterns, cast("Any", options.redaction), options.redaction_key.encode() or None)


def _only_containers_are_entered(columns: dict[str, Any], decoder: Decoder) -> None:
    """The host has no inside to be brought into: the flags ENTERED and RUNTIME stay on container rows only."""
    words = decoder.layout.enums["process_flag"]
    bit = words["ENTERED"] | words["RUNTIME"]
    flags: Fixed = columns["flags"]
    container: Text = columns["container"]
    host = np.zeros(len(flags.values), dtype=bool) if container.valid is None else ~container.valid
    cleared = host & ((flags.values & bit) != 0)
    if cleared.any():
        flags.values[cleared] &= ~bit
        columns["flag_names"] = decoder.flag_names(flags, "process_flag")


def _redact(columns: dict[str, Any], redactor: Redactor, modes: NDArray[np.int8] | None) -> None:
    args: Lists = columns["args"]
    done = redactor.apply(args, modes)
    columns["args"] = done.args
    columns["redacted"] = Fixed(done.redacted.astype(np.uint8), args.valid)
    columns["redaction"] = done.patterns
    if "args_bytes" in columns:
        columns["args_bytes"] = redactor.apply_text(columns["args_bytes"], modes).column


def main(arguments: list[str]) -> int:
    """The observer process: 0 after an orderly end, 1 with an error line where it could not observe."""
    options = ObserverOptions(**tuples(json.loads(arguments[0])))
    source = socket.socket(fileno=int(arguments[1]))
    control = socket.socket(fileno=int(arguments[2])) if len(arguments) > 2 else None
    reading, writing = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(writing, b"stop\n"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return _observe(options, (source, control), reading)
    except (FirsthandError, OSError) as error:
        _tell({"event": "failed", "kind": type(error).__name__, "error": str(error)})
        return 1


def _observe(options: ObserverOptions, sockets: tuple[socket.socket, socket.socket | None], stop: int) -> int:
    source, control = sockets
    observer = Observer(options, control)
    try:
        observer.open(load.receive(source))
        source.close()
        _tell(observer.report("reading"))
        observer.read_existing()
        observer.prove()
        gc.freeze()
        _tell(observer.report("ready"))
        word = observer.run(stop)
        observer.close(word)
        _tell(observer.report("stopped"))
    finally:
        observer.forget()
    return 0


def _tell(line: Mapping[str, object]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
