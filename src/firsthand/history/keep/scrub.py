"""The scrub: the keeper reads all of the history again and again, slowly, and holds each segment against its checksum.

One round takes the days of the setting `integrity.scrub_days`, from the first segment's path to the last one's, at a steady rate and at
most CORE of a processor. Where it stands is in HISTORY/scrub.json: it goes on there after a restart. A segment that is damaged is set
aside (aside.py). Pages are dropped from the cache before they are read, so that it is the disk that is looked at.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow.parquet as pq

from firsthand.history import _crc, place
from firsthand.history.keep import scrubbed
from firsthand.history.keep.scrubbed import DAY, FILE, ScrubProgress
from firsthand.history.store import aside, intact, observing, segment
from firsthand.history.store.manifest import Manifest, Segment

#: What of a processor it may use; for how many seconds without a step that is saved up, and how much of that one step may use.
CORE, SAVED, ONCE = 0.005, 900.0, 60.0
#: Bytes that are read at once; between two reads it may stop.
BLOCK = 1 << 20
#: Seconds between two looks at the size and time of every file.
LOOK = 3600.0


class _Reading:
    """One segment that is being read; `block` by block until it returns False."""

    def __init__(self, path: Path, one: Segment) -> None:
        self.one = one
        self.path = path
        self._hash, self.crc = hashlib.sha256(), 0
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)

    def block(self) -> int:
        """Read on; how many bytes there were. OSError where the disk does not give them."""
        data = os.read(self._file, BLOCK)
        self._hash.update(data)
        self.crc = _crc.crc32(data, self.crc)
        return len(data)

    def damage(self) -> str | None:
        """After the last block."""
        return intact.compared(self.path, self.one, self._hash.hexdigest())

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


class Scrub:
    """The scrub of one history; `step` now and then. `now`: the wall clock; `elapsed`: one that nobody sets; `used`: processor seconds."""

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        days: float,
        now: Callable[[], float],
        elapsed: Callable[[], float],
        used: Callable[[], float] = time.thread_time,
    ) -> None:
        self.directory = directory
        self.manifest = manifest
        self.days = days
        self._now, self._elapsed, self._used = now, elapsed, used
        self._at, self._looked = elapsed(), -LOOK
        self._left = CORE * min(max(now() - scrubbed.written(directory), 0.0), SAVED)  # a keeper that rests comes back
        self._reading: _Reading | None = None
        self._read = 0
        self.progress = scrubbed.load(directory) or ScrubProgress()

    def step(self) -> None:
        """Read what is due since the last step, as far as the processor's share goes. HistoryError where damage cannot be set aside."""
        at = self._elapsed()
        self._left = min(self._left + CORE * (at - self._at), CORE * SAVED)
        self._at, began = at, self._used()
        try:
            self.progress = replace(self.progress, bytes=self.manifest.bytes())
            if at - self._looked >= LOOK:
                self._looked = at
                self._look()
            while self._used() - began < min(self._left, CORE * ONCE) and self._behind():
                self._go_on()
        finally:
            self._left -= self._used() - began

    def close(self) -> None:
        """Close the file that is being read; the next scrub starts it again."""
        if self._reading is not None:
            self._reading.close()
        self._reading = None

    def _look(self) -> None:
        """Files that are missing, or not as they were written by size or time, at once."""
        root = self._root()
        for one in self.manifest.snapshot().segments:
            if found := intact.damage(root / one.path, one, by_size=True):
                self._set_aside(one, found)

    def _behind(self) -> bool:
        """Whether the round should be further by now; begins the next one where that is due."""
        now, one = self._now(), self.progress
        if not one.began or now < one.began:  # the first round, or a clock that was set back
            self._keep(replace(one, began=now))
        elif one.path == _END and now - one.began >= self.days * DAY:
            self._keep(ScrubProgress(now, one.finished, bytes=one.bytes))
        one = self.progress
        share = min((now - one.began) / (self.days * DAY), 1.0)
        return one.path != _END and (share == 1.0 or one.done + self._read <= share * one.bytes)

    def _go_on(self) -> None:
        if self._reading is None and not self._begin():
            return
        reading = self._reading
        assert reading is not None
        try:
            read = reading.block()
            self._read += read
            if read and self._read < reading.one.bytes:
                return
            damage = reading.damage()
        except OSError as error:
            damage = f"{reading.path}: cannot be read ({error})"
        self.close()
        self._finish(reading.one, damage, reading.crc)

    def _begin(self) -> bool:
        """Open the next segment; False at the end of the round, and where it is not there or cannot be read."""
        one = self.manifest.following(self.progress.path)
        self._read = 0
        if one is None:
            self._end()
            return False
        try:
            self._reading = _Reading(self._root() / one.path, one)
        except OSError:
            self._finish(one, intact.damage(self._root() / one.path, one))
            return False
        return True

    def _finish(self, one: Segment, damage: str | None, crc: int | None = None) -> None:
        """After one segment: it is whole, or set aside; one that is no longer held by now says nothing."""
        held = self.manifest.held(one.path)
        if held is not None and held.sha256 == one.sha256:
            if damage and intact.damage(self._root() / one.path, one):
                self._set_aside(one, damage)
            elif not damage:
                self._migrate(held, crc)
        self._read = 0
        self._keep(replace(self.progress, path=one.path, done=self.progress.done + one.bytes))
        if self.manifest.following(one.path) is None:
            self._end()

    def _end(self) -> None:
        self._keep(replace(self.progress, path=_END, finished=self._now(), done=self.progress.bytes))

    def _set_aside(self, one: Segment, damage: str) -> None:
        aside.put(self.directory, self.manifest, [(one, damage)], self._now())
        self._keep(replace(self.progress, damaged=self.progress.damaged + 1))

    def _migrate(self, one: Segment, crc: int | None) -> None:
        """A whole segment that was written by a version before gets what the manifest now keeps of it."""
        path = self._root() / one.path
        written = path.stat().st_mtime_ns
        told = one.table != observing.TABLE or None not in (one.runs, one.rounds)
        if written == one.written and one.crc is not None and told:
            return
        one = replace(one, written=written, crc=crc)
        if one.table == observing.TABLE:
            rows = pq.ParquetFile(path).read()
            one = replace(one, runs=segment.runs(one.table, rows), rounds=segment.proofs(one.table, rows))
        self.manifest.amend(one)

    def _root(self) -> Path:
        return segment.generation(self.directory, self.manifest.generation())

    def _keep(self, progress: ScrubProgress) -> None:
        """What cannot be written is read again after a restart."""
        self.progress = progress
        path = self.directory / f".{FILE}.new"
        with contextlib.suppress(OSError):
            path.write_text(f"{json.dumps(asdict(progress))}\n")
            path.chmod(0o640)
            place.give(path)
            path.replace(self.directory / FILE)


#: Behind every path: the round is over.
_END = "\x7f"
