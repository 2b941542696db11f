"""Whether a history is what its chain says: what was changed, removed, re-ordered or cut."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from firsthand.errors import DamagedError, HistoryError
from firsthand.history import place
from firsthand.history.log import arrow, schema_store
from firsthand.history.log.chunk import Chunk, Position
from firsthand.history.log.log import LogReader, files
from firsthand.history.store import chain, holders, manifest, observing, rounds, segment, shown, summary
from firsthand.history.store.chain import Entry, Head
from firsthand.history.store.manifest import Segment

#: What an entry's body raises that is none.
UNREADABLE = (ValueError, TypeError, AttributeError, RecursionError)
#: SHA-256 and rows of segments, by path.
Held = dict[str, tuple[str, int]]


@dataclass
class Verdict:
    """What verifying found. `damage` empty: whole. `proven` is the entry up to which a head proves it, 0 without one."""

    entries: int = 0
    segments: int = 0
    rows: int = 0
    chunks: int = 0
    head: Head | None = None
    proven: int = 0
    damage: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not self.damage


def verify(directory: Path, known: Sequence[Head] = ()) -> Verdict:
    """Read everything once. `known` are heads that were published. HistoryError where there is no history."""
    if not (directory / place.MANIFEST).exists() and not files(directory):
        raise HistoryError(f"{directory}: there is no history here; name one with --history")
    found = Verdict()
    try:
        entries, snapshot = manifest.chained(directory)
    except (HistoryError, sqlite3.Error) as error:
        found.damage.append(f"manifest.db cannot be read: {error}")
        return found
    held = replay(entries, found.damage)
    found.entries = len(entries)
    found.head = Head(entries[-1].sequence, entries[-1].hash) if entries else None
    if not entries:
        found.damage.append(
            "manifest.db has no chain: it was removed, or no keeper has opened this history since it is kept"
        )
    elif entries[0].sequence != 1 and entries[0].kind != chain.CHECKPOINT:
        found.damage.append(f"entry {entries[0].sequence} ({entries[0].kind}): entries before it are missing")
    _heads(entries, known, found)
    _manifest(snapshot, held, found)
    _segments(directory, snapshot, found)
    _schemas(directory, found)
    for log in (place.LOG, place.NAMES):
        _log(directory, log, snapshot.of(log), found)
    return found


def replay(entries: Sequence[Entry], damage: list[str]) -> Held:
    """Go through a chain, or its end, and return what it says is held; what does not fit goes to `damage`.

    Where the first entry is neither the chain's first nor a checkpoint, what was held before it is not known, and nothing is said of
    that.
    """
    walk = _Walk(damage)
    for entry in entries:
        walk.take(entry)
    return walk.held


class _Walk:
    """Entry after entry. `known`: all that is held is known, not only what came since the first entry."""

    def __init__(self, damage: list[str]) -> None:
        self.held: Held = {}
        self.damage = damage
        self.known = False
        self.before: Entry | None = None

    def take(self, entry: Entry) -> None:
        """The next entry."""
        self.where = f"entry {entry.sequence} ({entry.kind})"
        if self.before is None:
            self.known = entry.sequence == 1
            if self.known and entry.previous != chain.NOTHING:
                self._say("it does not follow on the entry before it")
        else:
            self._follows(entry, self.before)
        if chain.digest(entry.sequence, entry.kind, entry.time, entry.body, entry.previous) != entry.hash:
            self._say("it was changed: its hash is another one's")
        self._apply(entry)
        self.before = entry

    def _say(self, what: str) -> None:
        self.damage.append(f"{self.where}: {what}")

    def _follows(self, entry: Entry, before: Entry) -> None:
        if entry.sequence != before.sequence + 1:
            self._say("entries before it are missing or out of order")
        if entry.previous != before.hash:
            self._say("it does not follow on the entry before it")

    def _apply(self, entry: Entry) -> None:
        try:
            body = entry.content
            gone = {path: (sha, rows) for path, sha, rows, *_ in body.get("gone", [])}
            new = segments_of(entry)
            in_, out = sum(rows for _, rows in gone.values()), sum(rows for _, rows in new.values())
        except UNREADABLE:
            self._say("its body is unreadable")
            return
        for path, told in gone.items():
            if self.held.pop(path, None if self.known else told) != told:
                self._say(f"{path} is not what the chain held")
        if entry.kind == "merge":
            self._merged(gone, new, in_, out)
        if entry.kind == chain.CHECKPOINT:
            self._checkpoint(new)
        self.held.update(new)

    def _merged(self, gone: Held, new: Held, in_: int, out: int) -> None:
        if gone and in_ != out:
            self._say(f"{in_} rows went in and {out} came out")
        if not gone and new and (self.before.kind != "retire" if self.before else self.known):
            self._say("segments without inputs")

    def _checkpoint(self, new: Held) -> None:
        """It lists all that is held, so from here on that is known."""
        if self.held != new and (self.known or self.held.items() - new.items()):
            self._say("it does not list what the chain held")
        self.held, self.known = {}, True


def segments_of(entry: Entry) -> Held:
    """The segments that an entry brings. An error of UNREADABLE where its body is none."""
    return {path: (sha, rows) for path, sha, rows in entry.content.get("segments", [])}


def _heads(entries: Sequence[Entry], known: Sequence[Head], found: Verdict) -> None:
    by_number = {entry.sequence: entry.hash for entry in entries}
    first = entries[0].sequence if entries else 1
    for head in known:
        if by_number.get(head.sequence) == head.hash:
            found.proven = max(found.proven, head.sequence)
        elif head.sequence in by_number:
            found.damage.append(f"the chain was rewritten: entry {head.sequence} is not the one that was published")
        elif head.sequence >= first:
            found.damage.append(f"the chain is cut: published head {head.sequence} lies behind its last entry")
    if known and max(head.sequence for head in known) < first:
        found.damage.append(
            f"no given head is in the chain: the newest is {max(head.sequence for head in known)}, and the chain's first entry is the "
            f"checkpoint {first}; give a newer one, and if there is none, the chain was made anew"
        )


def _manifest(snapshot: manifest.Snapshot, held: Held, found: Verdict) -> None:
    told = {one.path: (one.sha256, one.rows) for one in snapshot.segments}
    for path in sorted(set(told) | set(held)):
        if path not in held:
            found.damage.append(f"{path}: the manifest lists a segment that the chain does not know")
        elif path not in told:
            found.damage.append(f"{path}: removed from the manifest without a tombstone")
        elif told[path] != held[path]:
            found.damage.append(f"{path}: the manifest's word of it differs from the chain's")


def _segments(directory: Path, snapshot: manifest.Snapshot, found: Verdict) -> None:
    root = segment.generation(directory, snapshot.generation)
    for one in snapshot.segments:
        _segment(directory, root / one.path, one, found)
    listed = {one.path: one for one in snapshot.segments}
    known = {*listed, *manifest.gone(directory)}
    under_way = f"-m{snapshot.generation + (found.head.sequence if found.head else 0) + 1}.parquet"
    for below in (root, shown.shown(directory)):
        for path in sorted(below.rglob("*")) if below.is_dir() else []:
            name = str(path.relative_to(below))
            if path.is_file() and name not in known and not name.endswith(under_way):
                found.damage.append(f"{name}: a file that the manifest does not know")
            elif below != root and name in listed and not path.samefile(root / name):
                _shown(path, listed[name], found)


def _shown(path: Path, one: Segment, found: Verdict) -> None:
    """What other engines read in place of a segment."""
    if (what := segment.damage(path, one)) is not None:
        found.damage.append(f"{one.path}: other engines read another file: {what}")


def _segment(directory: Path, path: Path, one: Segment, found: Verdict) -> None:
    try:
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        found.damage.append(f"{one.path}: it cannot be read ({error.strerror})")
        return
    if actual != one.sha256:
        found.damage.append(f"{one.path}: it was changed: its SHA-256 is not the recorded one")
    elif not _says_when(path, one):
        found.damage.append(f"{one.path}: the manifest says otherwise than its rows when was observed: it was changed")
    elif not _says_what(directory, path, one):
        found.damage.append(f"{one.path}: the manifest says otherwise than its rows what it holds: it was changed")
    elif one.table == "loss":
        found.damage += _lost(path)
    found.segments += 1
    found.rows += one.rows


#: Causes of rows that are lost by damage: an answer about their time is not complete, and no more is a history that lacks them.
_DAMAGED = ("log_damaged", "segment_damaged")


def _lost(path: Path) -> list[str]:
    """What was found damaged before, and is no longer held, by rows of `loss`."""
    return _told(pq.ParquetFile(path).read())


def _lost_of(chunk: Chunk) -> list[str]:
    """The same of a chunk that is in no segment yet."""
    try:
        return [text for _, rows in arrow.tables(chunk, ("loss",)) for text in _told(rows)]
    except DamagedError as error:
        return [str(error)]


def _told(rows: pa.Table) -> list[str]:
    known = arrow.conform("loss", rows).select(["cause", "table_name", "events", "since", "until", "detail"])
    return [_worded(**row) for row in known.to_pylist() if row["cause"] in _DAMAGED]


def _worded(
    cause: str, table_name: str | None, events: int | None, since: datetime | None, until: datetime | None, detail: str
) -> str:
    number = "an unknown number of rows" if events is None else f"{events:,} {'row' if events == 1 else 'rows'}"
    between = " ".join(
        f"{word} {moment:%Y-%m-%dT%H:%M:%S}Z" for word, moment in (("from", since), ("to", until)) if moment
    )
    return f"lost before: {number} of {table_name or 'any table'} {between} ({cause}: {detail})"


def _says_what(directory: Path, path: Path, one: Segment) -> bool:
    """Whether the summary of a segment, by which questions leave it out, is that of its rows. What fails its checksum says nothing."""
    kept = manifest.summary_of(directory, one)
    made = segment.summarised(path, one.table, one.sha256) if kept else {}
    return all(data == made.get(name) or summary.opened(data, one.sha256, name) is None for name, data in kept.items())


def _says_when(path: Path, one: Segment) -> bool:
    """Whether the manifest's `runs` and `rounds` of a segment, by which answers are complete, are those of its rows: the chain has the
    rows alone."""
    if one.runs is None and one.rounds is None:
        return True
    rows = pq.ParquetFile(path).read()
    runs, proofs = segment.runs(one.table, rows), segment.proofs(one.table, rows)
    try:
        same = one.runs is None or observing.decode(one.runs) == observing.decode(runs or "")
        return same and (one.rounds is None or rounds.decode(one.rounds) == rounds.decode(proofs or ""))
    except (ValueError, TypeError, LookupError):
        return False


def _schemas(directory: Path, found: Verdict) -> None:
    """A record layout is named by the hash of its text."""
    found.damage += schema_store.damage(directory)


def _log(directory: Path, log: str, start: Position | None, found: Verdict) -> None:
    """What is in no segment yet: every chunk by its checksum, and no file missing."""
    numbers = [number for number in files(directory, log) if start is None or number >= start.file]
    if numbers and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        found.damage.append(f"{log}: log files are missing between {numbers[0]:016d} and {numbers[-1]:016d}")
    if start is not None and (not numbers or numbers[0] != start.file):
        found.damage.append(
            f"{log}/{start.file:016d}.log: missing, and its rows behind {start.offset} are in no segment"
        )
    end = start or Position(0, 0)
    for one in LogReader(directory, log).walk(start):
        if isinstance(one, DamagedError):
            found.damage.append(f"{log}: {one}")
        else:
            found.chunks += 1
            end = one.next
            found.damage += _lost_of(one)
    if rest := holders.torn(directory, log, end):
        found.damage.append(rest)
