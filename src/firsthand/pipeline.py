"""Where the rooms meet: the way of an event from the ring to the durable log, and the processes that carry it.

The observer runs as a process of its own (`python -m firsthand.pipeline`), told by one JSON object of ObserverOptions and
answering with JSON lines on standard output. It stops, drains, detaches and unpins at SIGTERM or when its standard input is
closed.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from firsthand import __version__
from firsthand.errors import FirsthandError
from firsthand.history import schema_store
from firsthand.history.log import LogWriter, Span
from firsthand.identity.resolve import Resolver
from firsthand.probe import hierarchy as _hierarchy
from firsthand.probe import load, stats
from firsthand.probe.load import Loaded, LoadOptions
from firsthand.probe.ring import Ring
from firsthand.schema import layout as _layout
from firsthand.wire import _drain
from firsthand.wire.batch import Batch, Fixed, Lists, Text, spread
from firsthand.wire.clock import Clock
from firsthand.wire.decode import Decoder
from firsthand.wire.redact import Pattern, Redactor, compile_redactor
from firsthand.wire.scoped import ScopedModes
from firsthand.wire.sequence import Sequences

SLICE = 32768
ALIVE = 10.0
SECOND = 1.0
RING = 0
#: Failures that already show as gaps in the numbers.
_IN_GAPS = ("reserve", "scratch")


@dataclass(frozen=True)
class ObserverOptions:
    """All that the observer is told. Times in milliseconds; `ring_bytes` a power of two; `redaction` mask, hash or drop."""

    history: str
    scopes: tuple[str, ...] = ()
    instance: str = "default"
    hierarchy: str = "auto"
    ring_bytes: int = 8 << 20
    poll: int = 50
    commit: int = 250
    redaction: str = "mask"
    redaction_key: str = ""
    redaction_scopes: tuple[tuple[str, str], ...] = ()
    patterns: tuple[tuple[str, str], ...] = ()
    environment: tuple[str, ...] = ()

    @property
    def left_out(self) -> dict[str, object]:
        """Settings that leave something out of the record, for the observer table."""
        names = [name for name, _ in self.patterns]
        return {"redaction": self.redaction, "redaction_scopes": dict(self.redaction_scopes), "patterns": names}

    @property
    def read_args(self) -> bool:
        """Whether any row keeps something of its arguments; else the kernel side does not read them."""
        return any(mode != "drop" for mode in (self.redaction, *dict(self.redaction_scopes).values()))


@dataclass
class Marks:
    """When something periodic was last done, in monotonic seconds."""

    second: float = 0.0
    alive: float = 0.0
    committed: float = 0.0
    failures: dict[str, int] = field(default_factory=dict)


class Observer:
    """One ring to one log. `open`, `run` until told to stop, `close`; every method of the main thread only."""

    def __init__(self, options: ObserverOptions) -> None:
        self.options = options
        self.layout = _layout.installed()
        self.clock = Clock()
        self.sequences = Sequences()
        self.resolver = Resolver()
        self.decoder = Decoder(self.layout, tuple(name.encode() for name in options.environment))
        self.sizes = self.decoder.sizes
        self.redactor = _redactor(options)
        self.modes = ScopedModes(dict(options.redaction_scopes), options.redaction)
        self.node = os.uname().nodename
        self.boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self.incarnation = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        self.scopes = [Path(scope) for scope in options.scopes]
        self.hierarchy = _hierarchy.choose(self.scopes, options.hierarchy)
        self.marks = Marks()
        self.lost = 0
        self.read = 0

    def open(self) -> None:
        """Open the log, then load, attach and map. Nothing stays behind where a step fails."""
        load.check_machine()
        self.log = LogWriter(Path(self.options.history), self.node, self.boot)
        schema_store.save_layout(Path(self.options.history), self.layout.hash, self.layout.text)
        scopes = [_hierarchy.key(scope) for scope in self.scopes]
        settings = LoadOptions(
            self.layout,
            self.hierarchy,
            scopes,
            self.options.instance,
            self.options.ring_bytes,
            read_args=self.options.read_args,
        )
        self.loaded: Loaded = load.bring_in(settings)
        self.ring = Ring(self.loaded.maps["ring"], self.options.ring_bytes)
        self._say("start")

    def read_existing(self) -> None:
        """Take in what runs already, and make room in the ring meanwhile."""
        try:
            for _ in load.read_existing(self.loaded):
                if self.waiting * 4 > self.ring.size:
                    self.commit()
        except OSError as error:
            self.loaded.missing["existing_processes"] = str(error)
        self.commit()
        self._say("ready")

    @property
    def waiting(self) -> int:
        """Bytes in the ring that are not yet durable."""
        return int(_drain.position(self.ring.producer_page)) - self.read

    def run(self, stop: int) -> None:
        """Drain until the descriptor `stop`, or standard input, has something to say."""
        watched = [stop, sys.stdin.fileno()]
        while not select.select(watched, [], [], self.options.poll / 1000)[0]:
            self.tick()

    def tick(self) -> None:
        """One turn: commit where it is due or the ring is over a quarter full."""
        now = time.monotonic()
        waiting = self.waiting
        if waiting * 4 > self.ring.size or (waiting and now - self.marks.committed >= self.options.commit / 1000):
            self.commit()
        if now - self.marks.second >= SECOND:
            self._each_second(now)
        if now - self.marks.alive >= ALIVE:
            self._say("alive")

    def commit(self) -> None:
        """Everything that the ring holds now: decode, make durable, release."""
        self.marks.committed = time.monotonic()
        end = _drain.position(self.ring.producer_page)
        while self.read < end:
            reached, offsets, kinds, malformed = _drain.scan(
                self.ring.data, self.read, end, self.ring.size, SLICE, self.sizes
            )
            self.decoder.malformed += malformed
            if reached == self.read:
                return
            batches = self._decode(offsets, kinds)
            self.log.append(batches, [Span(RING, self.incarnation, self.read, reached)])
            self.read = reached
            _drain.release(self.ring.consumer_page, reached)

    def _decode(self, offsets: Any, kinds: Any) -> list[Batch]:
        tables = self.decoder.split(self.ring.data, offsets, kinds)
        batches = {table: self.decoder.decode(table, rows) for table, rows in tables.items()}
        if "container" in batches:
            self.resolver.cgroups.learn(batches["container"])
        for batch in batches.values():
            self._complete(batch)
        return list(batches.values())

    def _complete(self, batch: Batch) -> None:
        columns: dict[str, Any] = batch.columns
        self.sequences.take(columns["cpu"].values, columns["seq"].values, time.monotonic())
        columns["time"] = Fixed(self.clock.times(columns["ktime"].values))
        columns["pid"] = columns["exec_tgid"]
        self._stamp(batch)
        self.resolver.containers(batch)
        if batch.table == "process":
            self.resolver.binaries(batch)
            _only_containers_are_entered(columns, self.decoder)
            _redact(columns, self.redactor, self._modes(columns))

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
        counters = stats.produced(self.loaded, RING)
        self.commit()
        self.sequences.produced(counters, now)
        self._write_losses(now)
        if self.clock.resample():
            self._write("clock", [asdict(self.clock.sample)])

    def _write_losses(self, now: float) -> None:
        rows = self._gap_rows(now) + self._counted_rows()
        self.lost += sum(int(cast("int", row["events"])) for row in rows if row["cause"] == "sequence_gap")
        if rows:
            self._write("loss", rows)

    def _gap_rows(self, now: float) -> list[dict[str, object]]:
        """Gaps, one row for each CPU and second, with what the kernel counted as the reason meanwhile."""
        gaps: dict[tuple[int, float], int] = {}
        for gap in self.sequences.closed(now):
            gaps[gap.cpu, gap.since] = gaps.get((gap.cpu, gap.since), 0) + gap.events
        causes = self._grown(_IN_GAPS) if gaps else {}
        detail = ", ".join(f"{name} failed {count} times" for name, count in causes.items())
        return [
            self._loss("sequence_gap", events, now - since + SECOND, detail, cpu=cpu)
            for (cpu, since), events in gaps.items()
        ]

    def _counted_rows(self) -> list[dict[str, object]]:
        """Failed helper calls, recursion misses and malformed records since the last second."""
        names = [n.lower() for n in failure_names() if n.lower() not in (*_IN_GAPS, "count")]
        grown = self._grown(names)
        rows = [self._loss("helper_failed", count, SECOND, name) for name, count in grown.items()]
        misses = {f"recursion_miss {p.name}": p.recursion_misses for p in stats.programs(self.loaded)}
        for name, count in self._deltas(misses).items():
            rows.append(self._loss("recursion_miss", count, SECOND, name.partition(" ")[2]))
        for _, count in self._deltas({"malformed": self.decoder.malformed}).items():
            rows.append(self._loss("malformed", count, SECOND, "bytes from the ring did not fit their layout"))
        return rows

    def _grown(self, names: Sequence[str]) -> dict[str, int]:
        counted = stats.failures(self.loaded, failure_names())
        return self._deltas({name: counted[name] for name in names})

    def _deltas(self, counters: Mapping[str, int]) -> dict[str, int]:
        """What each counter grew by since it was last asked for; only those that grew."""
        grown = {name: count - self.marks.failures.get(name, 0) for name, count in counters.items()}
        self.marks.failures.update(counters)
        return {name: count for name, count in grown.items() if count > 0}

    def _loss(self, cause: str, events: int, ago: float, detail: str, **more: object) -> dict[str, object]:
        until = time.time_ns() // 1000
        since = until - int(ago * 1_000_000)
        return {"cause": cause, "events": events, "since": since, "until": until, "detail": detail, **more}

    def _say(self, event: str) -> None:
        """A row of `observer`, and with the first one a clock sample."""
        self.marks.alive = time.monotonic()
        row: dict[str, object] = {
            "event": event,
            "instance": self.options.instance,
            "version": __version__,
            "kernel": f"{os.uname().release} {os.uname().machine}",
            "scope": "\n".join(_hierarchy.path_in(self.hierarchy, scope) for scope in self.scopes) or None,
            "hooks": json.dumps(self.loaded.hooks()),
            "blind_spots": json.dumps(self.loaded.blind_spots()),
            "settings": json.dumps(self.options.left_out),
            "layout": self.layout.hash,
            "recorded": self.sequences.recorded,
            "lost": self.lost,
        }
        self._write("observer", [row])
        if event == "start":
            self._write("clock", [asdict(self.clock.sample)])

    def _write(self, table: str, rows: list[dict[str, object]]) -> None:
        common = {"time": time.time_ns() // 1000, "ktime": time.clock_gettime_ns(time.CLOCK_BOOTTIME)}
        common |= {"node": self.node, "boot": self.boot}  # type: ignore[dict-item]
        self.log.append([Batch.from_rows(table, [common | row for row in rows])], [])

    def close(self) -> None:
        """Detach, take the ring's rest, count what never came, and say that observing has ended.

        HistoryError where that cannot be written any more; nothing stays in the kernel even then.
        """
        try:
            if hasattr(self, "loaded"):
                self.loaded.detach()
                self._take_rest()
        finally:
            if hasattr(self, "ring"):
                self.ring.close()
            if hasattr(self, "loaded"):
                self.loaded.close()
            if hasattr(self, "log"):
                self.log.close()

    def _take_rest(self) -> None:
        counters = stats.produced(self.loaded, RING)
        self.commit()
        now = time.monotonic()
        self.sequences.produced(counters, now)
        self._write_losses(now + 2 * self.sequences.window)
        self._say("stop")

    def report(self, event: str) -> dict[str, object]:
        """What the parent process is told."""
        return {
            "event": event,
            "recorded": self.sequences.recorded,
            "lost": self.lost,
            "notes": self.loaded.notes,
            "missing": self.loaded.missing,
            "hierarchy": self.hierarchy.controller or "v2",
        }


def failure_names() -> dict[str, int]:
    """enum failure of kernel/include/maps.h, from the object's BTF, without its prefix."""
    return load.enumerators("failure")


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
    options = ObserverOptions(**_tuples(json.loads(arguments[0])))
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os.write(writing, b"."))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return _observe(Observer(options), reading)
    except (FirsthandError, OSError) as error:
        _tell({"event": "failed", "kind": type(error).__name__, "error": str(error)})
        return 1


def _observe(observer: Observer, stop: int) -> int:
    try:
        observer.open()
        observer.read_existing()
        gc.freeze()
        _tell(observer.report("ready"))
        observer.run(stop)
    finally:
        observer.close()
    _tell(observer.report("stopped"))
    return 0


def _tuples(raw: dict[str, Any]) -> dict[str, Any]:
    found = {k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()}
    for name in ("patterns", "redaction_scopes"):
        found[name] = tuple(tuple(pair) for pair in raw.get(name, ()))
    return found


def _tell(line: Mapping[str, object]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
