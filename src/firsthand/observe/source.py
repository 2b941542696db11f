"""The rings of one kernel side as a reader sees them: where it stands in each, which numbers came, what is missing.

Nothing is released before it is durable: `take` looks ahead, `release` lets go. What a reader before had made durable, and which
numbers it had seen, stands in the log's last chunk; one that takes over goes on from there and drops nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firsthand.history.log.chunk import RingSpan
from firsthand.host import boottime
from firsthand.probe import stats
from firsthand.probe.loaded import RINGS, Loaded
from firsthand.probe.ring import Ring
from firsthand.schema import layout
from firsthand.schema.tables import TABLES
from firsthand.subjects.registry import SUBJECTS
from firsthand.wire import _drain
from firsthand.wire.batch import Batch
from firsthand.wire.decode import Decoder
from firsthand.wire.sequence import Sequences

#: Records that one append takes from a ring at most.
SLICE = 32768
#: Failures that already show as gaps in the numbers.
IN_GAPS = ("reserve", "reserve_room", "scratch", "unattended")
#: Causes of numbers that never came.
GAPS = ("sequence_gap", "open_tail")
#: In the state: what was attached; and among what was interrupted, that which is no hook (probe/shared.py).
_HOOKS, _SCOPES = "hooks", "scopes"
_LAYOUT = 8  # offset of record_header.layout
#: Looks for what is missing that are kept: a gap is told within the window of sequence.py, two looks at most.
_LOOKS = 32
#: Seconds between the taking of a number and the loss of its record, at most; and between two clocks that are read one after another.
_MARGIN = 0.1


@dataclass
class Stream:
    """One ring: `read` is where the next look begins, `durable` what may be released."""

    number: int
    ring: Ring
    sequences: Sequences
    read: int = 0
    durable: int = 0

    @property
    def end(self) -> int:
        """The producer position."""
        return int(_drain.position(self.ring.producer_page))

    @property
    def waiting(self) -> int:
        """Bytes that are not yet durable."""
        return self.end - self.durable

    def rate(self, now: float) -> float:
        """Bytes a second since this was last asked."""
        (before, at), self._asked = self._asked, (self.end, now)
        return (self._asked[0] - before) / (now - at) if at and now > at else 0.0

    _asked: tuple[int, float] = (0, 0.0)


@dataclass
class Taken:
    """A look ahead into all rings: spans, and records by table; those to `learned` from are in the record already.

    `cut`: a ring held more than SLICE records.
    """

    spans: list[RingSpan] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    learned: list[Batch] = field(default_factory=list)
    cut: bool = False


@dataclass(frozen=True)
class Lost:
    """Records or values that are missing: `since` and `until` in monotonic seconds; `events` None: how many is not known."""

    cause: str
    events: int | None
    since: float
    until: float
    detail: str
    cpu: int | None = None
    ring: int | None = None
    table: str | None = None


def _mark(hook: str) -> str:
    """What stands for a hook in the state, which is in every chunk. Two that share one are taken for each other: then a new one counts as
    cut off."""
    return hashlib.sha256(hook.encode()).hexdigest()[:4]


def _cut_off(interrupted: Sequence[str], known: Mapping[str, Any]) -> list[str]:
    """What was attached for the observer before, and was not any more. A hook that it did not have, as one of a newer version, cuts nothing
    off: its table was not recorded before, and the spans of that observer say so. Where its hooks are not known, all of these."""
    before = known.get(_HOOKS)
    return [name for name in interrupted if before is None or name == _SCOPES or _mark(name) in before]


class Source:
    """All rings of what a loader handed over. `decoders` are by layout number, the installed one first.

    `durable` gives positions by (ring, incarnation), `state` what `state()` gave to the last durable chunk.
    """

    def __init__(
        self,
        loaded: Loaded,
        decoders: Mapping[int, Decoder],
        durable: Mapping[tuple[int, int], int],
        state: Mapping[str, Any],
    ) -> None:
        self.loaded = loaded
        self.decoders = decoders
        self.incarnation = (loaded.written or loaded.control).incarnation
        self._sizes = _least(decoders)
        self._malformed = 0
        self._strange: dict[str, int] = {}
        self.learning = False
        known = state if state.get("incarnation") == self.incarnation else {}
        #: Whether all that the observer before had attached stayed so: then the time between is observed as well.
        self.goes_on = bool(known) and not _cut_off(loaded.interrupted, known)
        self.streams = [
            self._stream(number, durable, known) for number in range(len(RINGS)) if RINGS[number] in loaded.maps
        ]
        self._grown: dict[str, int] = dict(known.get("counted", {}))
        self._looks: deque[float] = deque([self._looked_before(known)], maxlen=_LOOKS)
        self.lost = int(known.get("lost", 0))

    def _stream(self, number: int, durable: Mapping[tuple[int, int], int], known: Mapping[str, Any]) -> Stream:
        name = RINGS[number]
        ring = Ring(self.loaded.maps[name], self.loaded.size(name))
        at = max(ring.consumed, durable.get((number, self.incarnation), 0))
        _drain.release(ring.consumer_page, at)
        sequences = Sequences.restored(known.get("numbers", {}).get(str(number)), time.monotonic())
        if not known and self.loaded.taken_over:  # read by another history before: what it has is not ours to count
            sequences.begin_anywhere()
        return Stream(number, ring, sequences, at, at)

    def _looked_before(self, known: Mapping[str, Any]) -> float:
        """When the reader before last looked for what is missing, in this process's monotonic seconds: now where there was none."""
        passed = boottime.now_ns() - known["looked"] if "looked" in known else 0
        return time.monotonic() - max(passed, 0) / 1e9

    @property
    def recorded(self) -> int:
        """Records read so far, by this reader and by those that it took over from."""
        return sum(stream.sequences.recorded for stream in self.streams)

    @property
    def malformed(self) -> int:
        """Records that did not fit their layout."""
        return sum(decoder.malformed for decoder in self.decoders.values())

    def state(self) -> dict[str, Any]:
        """What whoever takes over must know, as it stands with what was taken so far."""
        return {
            "incarnation": self.incarnation,
            "numbers": {str(stream.number): stream.sequences.state() for stream in self.streams},
            "counted": self._grown,
            "looked": boottime.now_ns() - round((time.monotonic() - self._before(time.monotonic())) * 1e9),
            "lost": self.lost,
            _HOOKS: [_mark(program.hook.name) for program in self.loaded.programs],
        }

    def slices(self) -> Iterator[Taken]:
        """What the rings hold now, mostly in one look. What comes meanwhile waits for the next time: a look costs as much as 50 rows."""
        ends = [stream.end for stream in self.streams]
        while (taken := self.take()).spans:
            yield taken
            if not taken.cut or all(stream.read >= end for stream, end in zip(self.streams, ends, strict=True)):
                return

    def take(self) -> Taken:
        """What the rings hold behind what was taken before: at most SLICE records of each."""
        taken = Taken()
        for stream in self.streams:
            end = stream.end
            if stream.read < end:
                self._take(stream, end, taken)
        return taken

    def _take(self, stream: Stream, end: int, taken: Taken) -> None:
        data = stream.ring.data
        reached, offsets, kinds, bad = _drain.scan(data, stream.read, end, stream.ring.size, SLICE, self._sizes)
        if reached == stream.read:
            return  # the first one is still being written
        for decoder, some_offsets, some_kinds in self._by_layout(data, offsets, kinds):
            decoder.malformed += bad
            bad = 0
            told = self._told(decoder, some_kinds)
            self._decode(stream, decoder, (data, some_offsets[told], some_kinds[told]), taken.learned)
            self._decode(stream, decoder, (data, some_offsets[~told], some_kinds[~told]), taken.batches)
        taken.cut |= len(offsets) >= SLICE
        taken.spans.append(RingSpan(stream.number, self.incarnation, stream.read, reached))
        stream.read = reached

    def _told(self, decoder: Decoder, kinds: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which records only tell again what runs, while this reader learns what the one before knew."""
        if not self.learning:
            return np.zeros(len(kinds), dtype=bool)
        seen = [r.kind for r in decoder.layout.records.values() if (r.table, r.event) == ("process", "seen")]
        return np.isin(kinds, seen)

    def _decode(self, stream: Stream, decoder: Decoder, records: tuple[Any, Any, Any], to: list[Batch]) -> None:
        if not len(records[1]):
            return
        for table, rows in decoder.split(*records).items():
            batch = decoder.decode(table, rows)
            columns: dict[str, Any] = batch.columns
            stream.sequences.take(columns["cpu"].values, columns["seq"].values, time.monotonic())
            if table in TABLES:
                to.append(batch)
            else:
                self._strange[table] = self._strange.get(table, 0) + batch.length

    def _by_layout(
        self, data: NDArray[np.uint8], offsets: NDArray[np.uint32], kinds: NDArray[np.uint8]
    ) -> Iterator[tuple[Decoder, NDArray[np.uint32], NDArray[np.uint8]]]:
        """Records by the decoder of their layout; those of a layout that nobody knows are malformed."""
        newest = next(iter(self.decoders.values()))
        if len(self.decoders) == 1 or not len(offsets):
            yield newest, offsets, kinds
            return
        at = offsets[:, None].astype(np.int64) + np.arange(_LAYOUT, _LAYOUT + 4)
        layouts = np.ascontiguousarray(data[at]).view(np.uint32)[:, 0]
        for number, decoder in self.decoders.items():
            mine = layouts == number
            if mine.any():
                yield decoder, offsets[mine], kinds[mine]
        newest.malformed += int((~np.isin(layouts, list(self.decoders))).sum())

    def release(self, spans: Sequence[RingSpan]) -> None:
        """What is durable now may be overwritten."""
        for span in spans:
            stream = self.streams[span.ring]
            stream.durable = span.end
            _drain.release(stream.ring.consumer_page, span.end)

    def produced(self) -> list[list[int]]:
        """Numbers taken so far, by ring and CPU: read before `take`, told to `missing` after it."""
        self._looks.append(time.monotonic())
        return [stats.produced(self.loaded, stream.number) for stream in self.streams]

    def missing(self, produced: Sequence[Sequence[int]], *, final: bool = False) -> list[Lost]:
        """What is now known to be lost; told once. `final`: nothing that is missing can come any more."""
        now = time.monotonic()
        for stream, counters in zip(self.streams, produced, strict=True):
            stream.sequences.produced(counters, now)
        found = self._gaps(now, final=final) + self._counted(now)
        self.lost += sum(one.events or 0 for one in found if one.cause in GAPS)
        return found

    def _gaps(self, now: float, *, final: bool) -> list[Lost]:
        """One for each ring, CPU and moment, with what the kernel counted as the reason meanwhile."""
        gaps: dict[tuple[int, int, float, str], int] = {}
        for stream in self.streams:
            late = now + 2 * stream.sequences.window if final else now
            for gap in stream.sequences.closed(late):
                key = (stream.number, gap.cpu, gap.since, GAPS[gap.tail])
                gaps[key] = gaps.get(key, 0) + gap.events
        causes = self._failures(IN_GAPS) if gaps else {}
        detail = ", ".join(f"{name} failed {count} times" for name, count in causes.items())
        return [
            Lost(cause, events, self._before(since), now, detail, cpu, ring)
            for (ring, cpu, since, cause), events in gaps.items()
        ]

    def _before(self, seen: float) -> float:
        """The last look that was over before something was seen missing: then it was not yet lost. A reader that was stopped, or dead,
        did not look meanwhile."""
        over = [look for look in self._looks if look < seen][:-1]  # the last one may be the one that saw it
        return (over[-1] if over else self._looks[0]) - _MARGIN

    def whole(self, look: float) -> float:
        """The moment before which every number that was taken has come or was reported as missing, where the last look began at `look`;
        both in monotonic seconds."""
        awaited = [since for stream in self.streams if (since := stream.sequences.awaited) is not None]
        return min([look, *map(self._before, awaited)])

    def _counted(self, now: float) -> list[Lost]:
        """Failed helper calls, recursion misses and malformed records since the last time."""
        names = [n.lower() for n in failure_names() if n.lower() not in (*IN_GAPS, "count")]
        since = self._before(now)
        found = [Lost("helper_failed", count, since, now, name) for name, count in self._failures(names).items()]
        found += self._of_subjects(since, now)
        misses = {f"recursion_miss {p.name}": p.recursion_misses for p in stats.programs(self.loaded)}
        for name, count in self._deltas(misses).items():
            found.append(Lost("recursion_miss", count, since, now, name.partition(" ")[2]))
        words = "bytes from the ring did not fit their layout"
        found += [Lost("malformed", count, since, now, words) for count in self._new_malformed()]
        words = "a table of another version, which this one cannot keep"
        found += [Lost("malformed", count, since, now, words, table=table) for table, count in self._strange.items()]
        self._strange = {}
        return found

    def _of_subjects(self, since: float, now: float) -> list[Lost]:
        """What subjects count that failed: a loss of each of the subject's tables."""
        found = []
        for subject, counted in stats.subject_failures(self.loaded).items():
            tables = [table.name for one in SUBJECTS if one.name == subject for table in one.tables]
            for name, count in self._deltas({f"{subject}_{word}": number for word, number in counted.items()}).items():
                found += [Lost("helper_failed", count, since, now, name, table=table) for table in tables]
        return found

    def _new_malformed(self) -> list[int]:
        """This reader's alone: the counter begins with it."""
        before, self._malformed = self._malformed, self.malformed
        return [self._malformed - before] if self._malformed > before else []

    def _failures(self, names: Sequence[str]) -> dict[str, int]:
        counted = stats.failures(self.loaded, failure_names())
        return self._deltas({name: counted[name] for name in names})

    def _deltas(self, counters: Mapping[str, int]) -> dict[str, int]:
        """What each counter grew by since it was last asked for; only those that grew."""
        grown = {name: count - self._grown.get(name, 0) for name, count in counters.items()}
        self._grown.update({name: count for name, count in counters.items() if count})
        return {name: count for name, count in grown.items() if count > 0}

    def close(self) -> None:
        """Unmap the rings."""
        for stream in self.streams:
            stream.ring.close()


def failure_names() -> Mapping[str, int]:
    """enum failure of kernel/include/maps.h, from the object's BTF, without its prefix."""
    return layout.enumerators("failure")


def _least(decoders: Mapping[int, Decoder]) -> NDArray[np.uint32]:
    """The least fixed part of each kind in any layout."""
    sizes = np.stack([decoder.sizes for decoder in decoders.values()]).astype(np.int64)
    sizes[sizes == 0] = 1 << 30
    least = sizes.min(axis=0)
    least[least == 1 << 30] = 0
    return np.asarray(least, dtype=np.uint32)
