"""The keeper: hands the durable log over to Parquet segments (`python -m firsthand.roles.keeper --history DIR`).

A process of its own without capabilities. Each pass writes segments, then commits the manifest, and only then deletes
log files. A crash between any two of these is repaired by doing the pass again: names follow from the log position. Between passes it
merges segments (compact.py), for a bounded part of a processor's time.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from firsthand.errors import DamagedError, HistoryError
from firsthand.history import place
from firsthand.history.keep import levels
from firsthand.history.keep.compact import Compaction
from firsthand.history.keep.group import MAX_ROWS, Group
from firsthand.history.keep.patience import Complaint
from firsthand.history.keep.retention import Retention
from firsthand.history.keep.scrub import Scrub
from firsthand.history.keep.source import KeptLog
from firsthand.history.keep.steady import Steady
from firsthand.history.keep.unnamed import Unnamed, UnnamedFound
from firsthand.history.log import arrow
from firsthand.history.log.alive import Sign
from firsthand.history.names import names
from firsthand.history.names.names import Names
from firsthand.history.store import aside, chain, generations, segment
from firsthand.history.store.chain import Publisher
from firsthand.history.store.manifest import Manifest, Segment
from firsthand.history.store.shown import Shown
from firsthand.host import boottime
from firsthand.settings.sections.retention import Limits

#: Seconds between two looks at the log. A pass comes when so many bytes wait, or after so many looks: a segment costs as much as a
#: thousand rows, and readers have what waits from the log.
EVERY, ENOUGH, LOOKS = 5.0, 4 << 20, 6
#: Passes, one after another, that came though not so much waited, after which a keeper that may rest ends: its libraries take 60 MB, and
#: whoever started it starts it again when there is something to do.
FEW = 4
#: Seconds for which a log file stays after its hand-over, so that a follower that lags can open it.
LINGER = 20.0
#: Seconds for which rows wait in the log for the names of their containers; readers have them meanwhile.
GRACE = 4.0
#: The part of a processor that merges may take: what cannot wait, for readers would open ever more files, and what can, as closed days.
URGENT, LEISURE = 0.4, 0.08


class Keeper:
    """The one keeper of a history. HistoryError where another runs. `linger` and `grace` in seconds, see LINGER and GRACE.

    `many` is levels.FAN. Without `limits` nothing is ever deleted. `now` gives the time in seconds since 1970, `elapsed` one that
    nobody can set; by default it goes as a `now` of the caller's own does. `kept` is chain.KEPT. In `scrub_days` all is read again;
    None: never.
    """

    def __init__(
        self,
        directory: Path,
        *,
        linger: float = LINGER,
        max_rows: int = MAX_ROWS,
        grace: float = 0.0,
        many: int = levels.FAN,
        limits: Limits | None = None,
        now: Callable[[], float] = time.time,
        elapsed: Callable[[], float] | None = None,
        heads: Path | None = None,
        kept: int = chain.KEPT,
        scrub_days: float | None = None,
    ) -> None:
        self.directory = directory
        self._scrub_days = scrub_days
        self._kept = kept
        self.linger = linger
        self.max_rows = max_rows
        self.grace = grace
        self.now = now
        self.elapsed = elapsed or (_since_boot if now is time.time else now)
        self.many = many
        self.limits = limits
        self._heads = heads
        self.names = Names()
        self._unnamed = Unnamed()
        self._hold()

    def _hold(self) -> None:
        """Take the lock: one history has one keeper. HistoryError where another one has it."""
        directory = self.directory
        place.create(directory)
        try:
            self._lock = place.lock(directory / "keeper.lock", "keeper")
        except OSError as error:
            raise place.unwritable(directory, error) from error
        self._sign = Sign(directory / "keeper.lock", "keeper")
        self._sign.give()
        try:
            self._open()
        except OSError as error:
            os.close(self._lock)
            raise place.unwritable(directory, error) from error
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self) -> None:
        self._publisher = Publisher(self._heads, history=place.identity(self.directory, make=True))
        self._unknown = aside.unlisted(self.directory)
        self.manifest = Manifest(self.directory, self.now, self._kept)
        steady = Steady(self.now, self.elapsed, self.manifest)
        self._retention = Retention(self.directory, self.manifest, self.limits, steady) if self.limits else None
        days = self._scrub_days
        self._scrub = Scrub(self.directory, self.manifest, days, self.now, self.elapsed) if days else None
        now = self.manifest.snapshot()
        self.generation = now.generation
        place.folder(segment.generation(self.directory, self.generation))
        self.shown = Shown(self.directory, now)
        self._compaction = Compaction(
            *(self.directory, self.manifest, self.shown),
            fan=self.many,
            names=self.names,
            unnamed=self._unnamed,
            now=self.now,
        )
        self._sources = [KeptLog(self.directory, log, now.of(log)) for log in (place.NAMES, place.LOG)]
        self._recall(now.segments)

    def _recall(self, segments: Sequence[Segment]) -> None:
        """Learn the names of the last two days again: the follower tells those that live anew with each day."""
        root = segment.generation(self.directory, self.generation)
        since = segment.date_of(int(self.now() // 86400) - 1)
        for one in segments:
            if one.date < since or (
                one.table not in names.TABLES if one.log == place.NAMES else one.table != "container"
            ):
                continue
            if damage := segment.damage(root / one.path, one):
                print(f"keeper: names are not known from there: {damage}", file=sys.stderr, flush=True)
            else:
                self.names.learn(one.table, arrow.conform(one.table, pq.read_table(root / one.path, partitioning=None)))

    def pass_once(self, *, last: bool = False) -> int:
        """Hand over what is durable and old enough to be named (`last`: all), and return the rows of it.

        Nothing is lost or doubled if it is killed. Names come first, so that rows find them.
        """
        self._sign.give()
        total = 0
        before = None if last or not self.grace else int((self.now() - self.grace) * 1_000_000)
        for source in self._sources:
            while (rows := self._group(source, before if source.log == place.LOG else None)) is not None:
                total += rows
                self._sign.give()
            source.delete(self.linger, self.now())
        self._publisher.publish(self.manifest.head(), now=last)
        return total

    @property
    def settled(self) -> bool:
        """Whether nothing is due that only it knows of: names that segments wait for, a merge that is under way."""
        return self._unnamed.settled and self._compaction.idle

    @property
    def waiting(self) -> int:
        """Bytes of the logs that are not yet in segments, as far as files tell."""
        return sum(source.waiting for source in self._sources)

    @property
    def written_again(self) -> int:
        """Rows that merges have written."""
        return self._compaction.written

    def tidy(self) -> None:
        """Run all merges that are due, remove unused files, and apply the retention limits."""
        with self._changing():
            self._compaction.run(self._unnamed.late())
            self._retire()

    def look_after(self) -> None:
        """The same without the merges, which `merge` does step by step."""
        with self._changing():
            self._compaction.names_late(self._unnamed.late())
            self._compaction.remove()
            self._retire()

    def merge(self, seconds: float) -> None:
        """Steps of merges, one at least: for URGENT of so many seconds of a processor where it cannot wait, for LEISURE of them else."""
        with self._changing():
            began, spent = time.process_time(), 0.0
            while self._compaction.step(urgent=spent > 0 and spent >= seconds * LEISURE):
                self._sign.give()
                spent = time.process_time() - began
                if spent >= seconds * URGENT:
                    break

    def scrub(self) -> None:
        """Read some of the history again, as much as is due."""
        if self._scrub is None:
            return
        self._sign.give()
        before = self.manifest.head()
        try:
            self._scrub.step()
        finally:
            if self.manifest.head() != before:
                self.shown.renew(self.manifest.snapshot())

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise HistoryError(f"{self.directory}: segments cannot be changed ({error}); free space") from error
        finally:  # an act may have been committed before another failed
            self.generation = self.manifest.generation()

    def _retire(self) -> None:
        before = self.manifest.head()
        try:
            if self._retention is not None:
                self._retention.run(self.manifest.generation())
        finally:
            if self.manifest.head() != before:
                self.shown.renew(self.manifest.snapshot())

    def close(self, *, rests: bool = False) -> None:
        """Let go of the history. What is in force is left in a generation with nothing else in it, as a version before has it; one that
        `rests` leaves all for the next keeper."""
        for source in self._sources:
            source.cursor.close()
        self._compaction.abandon()
        if self._scrub is not None:
            self._scrub.close()
        if not rests:
            with contextlib.suppress(OSError, HistoryError):  # the next start puts it right
                self._leave()
        self.manifest.close()
        self._sign.end()
        os.close(self._lock)

    def _leave(self) -> None:
        now = self.manifest.snapshot()
        if self.manifest.gone_before(self.now()):
            generations.renew(self.directory, self.manifest, now, self.now())
        self.shown.end(self.manifest.generation())

    def _group(self, source: KeptLog, before: int | None) -> int | None:
        """One group from a log to a commit; its rows, or None where the log holds nothing new that was written `before`."""
        group = self._gathered(source, before)
        if group.end == group.start and not group.rows:
            return None
        try:
            made = self._write(source, group)
            self.manifest.hand_over(made, group.end, group.damage, source.log, group.digest.hexdigest())
        except BaseException:
            source.cursor.back(group.start)
            raise
        self.shown.add(segment.generation(self.directory, self.generation), made)
        source.handed_over, source.written = group.end, group.written
        return group.rows

    def _gathered(self, source: KeptLog, before: int | None) -> Group:
        start = source.cursor.position
        group = Group(start, start, written=source.written)
        if self._unknown and source.log == place.LOG:
            group.add_damage(start, DamagedError(self._unknown), int(self.now() * 1_000_000))
            self._unknown = ""
        return source.gather(group, before, self.max_rows, self.now)

    def _write(self, source: KeptLog, group: Group) -> list[Segment]:
        root = segment.generation(self.directory, self.generation)
        written: list[Segment] = []
        tables = {name: arrow.together(name, parts) for name, parts in sorted(group.tables.items())}
        for name in names.TABLES:
            if name in tables:
                self._unnamed.learned(self.names.learn(name, tables[name]))
        for name, found in tables.items():
            rows = found if source.log == place.NAMES else self.names.freeze(found)
            made = segment.write(root, name, rows, group.node, (group.start, group.end), source.log)
            self._unnamed.remember(UnnamedFound.of(rows), made)
            written += made
        return written


def _since_boot() -> float:
    return boottime.now_ns() / 1e9


def run(keeper: Keeper, every: float, stop: Sequence[int], *, rests: bool = False) -> bool:
    """Pass after pass until one of the descriptors is readable; then the last pass. `every` seconds it is seen whether one is due.

    A pass that fails (a full disk) prints one message and is tried again: the log holds its rows meanwhile. Returns True where the keeper
    `rests`: it ended by itself because there was little to do.
    """
    complaint, looks, few = Complaint("keeper"), 0, 0
    while not select.select(stop, [], [], every)[0]:
        looks += 1
        much = looks < LOOKS and keeper.waiting >= ENOUGH
        due = looks >= LOOKS or much
        try:
            if due:
                looks, few = 0, 0 if much else few + 1
                keeper.pass_once()
                keeper.look_after()
                keeper.scrub()
            keeper.merge(every)
            complaint.well()
        except HistoryError as error:
            few = 0
            complaint.say(error)
        if due:
            _give_back()
            if rests and few >= FEW and keeper.settled:
                return True
    keeper.pass_once(last=True)
    return False


def _give_back() -> None:
    """Return to the machine what a pass took: it comes some seconds later again, and costs a fault for each page then."""
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)
