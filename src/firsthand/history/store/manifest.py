"""The manifest: which segments there are, and up to where the log is in them. Its commit is the one hand-over point.

SQLite with a rollback journal, not WAL: readers of the group need no write access to the directory. `synchronous=EXTRA`
makes a commit durable with the journal's removal, so that a log file deleted after it is never asked for again.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from firsthand.errors import DamagedError, HistoryError, UnwritableError
from firsthand.history import fault, place
from firsthand.history.log.chunk import Position
from firsthand.history.store import chain
from firsthand.history.store.chain import Entry, Head

_Found = TypeVar("_Found")
Parts = Mapping[str, bytes]
_BUSY = 20.0  # seconds
SCHEMA = """
CREATE TABLE IF NOT EXISTS segments (
    path TEXT PRIMARY KEY, table_name TEXT NOT NULL, date TEXT NOT NULL, node TEXT NOT NULL, rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    time_min INTEGER, time_max INTEGER, from_file INTEGER NOT NULL, from_offset INTEGER NOT NULL,
    to_file INTEGER NOT NULL, to_offset INTEGER NOT NULL, sha256 TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS handed_over (
    one INTEGER PRIMARY KEY CHECK (one = 1), file INTEGER NOT NULL, position INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS names_handed_over (
    one INTEGER PRIMARY KEY CHECK (one = 1), file INTEGER NOT NULL, position INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS state (generation INTEGER NOT NULL, retired_at INTEGER);
CREATE TABLE IF NOT EXISTS chain (
    sequence INTEGER PRIMARY KEY, kind TEXT NOT NULL, time INTEGER NOT NULL, body TEXT NOT NULL, previous TEXT NOT NULL,
    hash TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS whole ON chain (sequence) WHERE kind IN ('genesis', 'checkpoint');
CREATE TABLE IF NOT EXISTS doubt (one INTEGER PRIMARY KEY CHECK (one = 1), since INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS gone (path TEXT PRIMARY KEY, bytes INTEGER NOT NULL, at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS damage (file INTEGER, position INTEGER, message TEXT, PRIMARY KEY (file, position));
CREATE TABLE IF NOT EXISTS summaries (name TEXT, path TEXT, data BLOB, PRIMARY KEY (name, path)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Segment:
    """One Parquet file. `path` is below its generation; times in microseconds; positions in `log` from (included) and to.

    `unnamed` counts rows of containers whose name was not known; None: written before names were counted. `runs`, `rounds`: of
    `observer`, its rows as observing.py and rounds.py keep them; None: of another table, or written before there were such. `written`:
    when its file was, as the file system has it (ns since 1970); `crc`: CRC-32 of its file, by which readers know damage; None: not
    known. `summary`: what summary.py made of it, as it is
    written; readers ask `summaries` for it.
    """

    path: str
    table: str
    date: str
    node: str
    rows: int
    bytes: int
    time_min: int | None
    time_max: int | None
    from_file: int
    from_offset: int
    to_file: int
    to_offset: int
    sha256: str
    log: str = place.LOG
    unnamed: int | None = None
    runs: str | None = None
    rounds: str | None = None
    written: int | None = None
    crc: int | None = None
    summary: Parts = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Snapshot:
    """What the manifest says at one moment. `handed_over` is None before the first hand-over, `head` where there is no chain."""

    generation: int
    handed_over: Position | None
    segments: tuple[Segment, ...]
    names_handed_over: Position | None = None
    head: Head | None = None

    def of(self, log: str) -> Position | None:
        """Up to where a log is in the segments."""
        return self.names_handed_over if log == place.NAMES else self.handed_over


#: The columns of `segments` by Segment's fields, in order.
_FIELDS = tuple(one.name for one in fields(Segment) if one.name != "summary")
_NAMES = ", ".join({"table": "table_name"}.get(name, name) for name in _FIELDS)
#: Columns that came later, as SQL adds them, and what stands for them where they are not there yet.
_ADDED = {
    "log": "log TEXT NOT NULL DEFAULT 'log'",
    "unnamed": "unnamed INTEGER",
    "runs": "runs TEXT",
    "rounds": "rounds TEXT",
    "written": "written INTEGER",
    "crc": "crc INTEGER",
}
_ABSENT = {"log": "'log'", "unnamed": "NULL", "runs": "NULL", "rounds": "NULL", "written": "NULL", "crc": "NULL"}

#: A segment's path: TABLE/date=DAY/FILE, and nothing that leads out of its generation.
_PATH = re.compile(r"[a-z_]+/date=\d{4}-\d\d-\d\d/[A-Za-z0-9._-]+\.parquet")
#: SQLITE_ERROR (a table or column is not there), SQLITE_CORRUPT, SQLITE_NOTADB.
_DAMAGED = (1, 11, 26)
#: SQLITE_READONLY, SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN.
_UNWRITABLE = (8, 10, 13, 14)
#: SQLITE_READONLY_ROLLBACK (sqlite.org/rescode.html): a hot journal, and no right to roll it back.
_ROLLBACK = 776
EMPTY = Snapshot(0, None, ())


class Manifest:
    """The manifest as its one writer, the keeper, sees it; `now` dates the chain's entries, in seconds since 1970.

    After `kept` entries of the chain comes a checkpoint. HistoryError where it cannot be opened or written.
    """

    def __init__(self, directory: Path, now: Callable[[], float] = time.time, kept: int = chain.KEPT) -> None:
        self.path = directory / place.MANIFEST
        self._now = now
        self._kept = kept
        with _explained(self.path):
            self._db = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=DELETE")
            self._db.execute("PRAGMA synchronous=EXTRA")
            self._db.executescript(SCHEMA)
            for column in _ADDED.keys() - _columns(self._db):
                self._db.execute(f"ALTER TABLE segments ADD COLUMN {_ADDED[column]}")
            if not self._db.execute("SELECT count(*) FROM state").fetchone()[0]:
                self._db.execute("INSERT INTO state VALUES (1, NULL)")
            if self._last() is None:
                self._begin_chain()
        self.path.chmod(0o640)
        place.give(self.path)

    def snapshot(self) -> Snapshot:
        """Everything, in one transaction."""
        with _explained(self.path):
            return _snapshot(self._db)

    def generation(self) -> int:
        """The generation in force."""
        with _explained(self.path):
            return int(self._db.execute("SELECT generation FROM state").fetchone()[0])

    def hand_over(
        self,
        segments: Iterable[Segment],
        to: Position,
        damage: Sequence[tuple[Position, str]] = (),
        log: str = place.LOG,
        digest: str = "",
    ) -> None:
        """Commit: the log before `to` is in the segments, these among them. One of the same path is replaced.

        `digest` is the SHA-256 over the places and checksums of the chunks that were handed over.
        """
        table = "names_handed_over" if log == place.NAMES else "handed_over"
        segments = list(segments)
        body = {"log": log, "to": to, "chunks": digest, "segments": chain.rows_of(segments), "damage": damage}
        with _explained(self.path), self._change("hand_over"):
            self._append("hand_over", body)
            self._put(segments)
            self._db.execute(f"INSERT OR REPLACE INTO {table} VALUES (1, ?, ?)", (to.file, to.offset))  # noqa: S608
            rows = [(*position, message) for position, message in damage]
            self._db.executemany("INSERT OR REPLACE INTO damage VALUES (?, ?, ?)", rows)

    def merge(self, generation: int, gone: Iterable[str], merged: Iterable[Segment]) -> None:
        """Commit a compaction: the `gone` are replaced by the merged ones, in the generation in force or another.

        Those that leave the generation in force stay as files: `gone_before` names them when their readers' time is over.
        """
        gone, merged = list(gone), list(merged)
        with _explained(self.path), self._change("merge"):
            body = {"generation": generation, "gone": self._told(gone), "segments": chain.rows_of(merged)}
            self._append("merge", body)
            if generation == self._db.execute("SELECT generation FROM state").fetchone()[0]:
                self._leave(gone)
            self._remove(gone)
            self._put(merged)
            self._db.execute("UPDATE state SET generation = ?", (generation,))

    def retire(self, generation: int, gone: Iterable[str], reason: str, now: int) -> None:
        """Commit: another generation, in which the `gone` are no longer held, for a `reason`, at `now` (microseconds)."""
        gone = list(gone)
        with _explained(self.path), self._change("retire"):
            self._append("retire", {"generation": generation, "gone": self._told(gone), "reason": reason}, now)
            self._remove(gone)
            self._db.execute("UPDATE state SET generation = ?", (generation,))

    def set_aside(self, gone: Iterable[str], told: Iterable[Segment], damage: Iterable[str]) -> None:
        """Commit: the `gone` are damaged and no longer held, as the segments `told` say."""
        gone, told = list(gone), list(told)
        with _explained(self.path), self._change("set_aside"):
            body = {"gone": self._told(gone), "segments": chain.rows_of(told), "damage": list(damage)}
            self._append("damage", body)
            self._remove(gone)
            self._put(told)

    def amend(self, one: Segment) -> None:
        """Keep of a segment that is held what the chain does not have: `runs`, `rounds`, `written` and `crc`."""
        with _explained(self.path), self._transaction():
            sql = "UPDATE segments SET runs = ?, rounds = ?, written = ?, crc = ? WHERE path = ? AND sha256 = ?"
            self._db.execute(sql, (one.runs, one.rounds, one.written, one.crc, one.path, one.sha256))

    def bytes(self) -> int:
        """Of all segments."""
        with _explained(self.path):
            return int(self._db.execute("SELECT coalesce(sum(bytes), 0) FROM segments").fetchone()[0])

    def held(self, path: str) -> Segment | None:
        """A segment, if it is held."""
        return self._first("path = ?", path)

    def following(self, path: str) -> Segment | None:
        """The first segment behind a path, in the order of paths."""
        return self._first("path > ? ORDER BY path LIMIT 1", path)

    def _first(self, where: str, path: str) -> Segment | None:
        with _explained(self.path):
            row = self._db.execute(f"SELECT {_NAMES} FROM segments WHERE {where}", (path,)).fetchone()  # noqa: S608
            return _segment(row) if row else None

    def renew(self, generation: int) -> None:
        """Commit another generation that holds the same; what was gone stays behind in the one before."""
        with _explained(self.path), self._transaction():
            self._db.execute("UPDATE state SET generation = ?", (generation,))
            self._db.execute("DELETE FROM gone")

    def act(self) -> int:
        """A number for the names of what the next commit brings, which no file has had: it rises with each."""
        with _explained(self.path):
            last = self._last()
        return self.generation() + (last.sequence if last else 0) + 1

    def gone_before(self, moment: float) -> list[str]:
        """Segments that were merged before a moment (seconds since 1970), or after now: a clock was set back."""
        sql = "SELECT path FROM gone WHERE (at <= ? OR at > ?) AND path NOT IN (SELECT path FROM segments)"
        with _explained(self.path):
            return [row[0] for row in self._db.execute(sql, (int(moment * 1e6), int(self._now() * 1e6)))]

    def forget(self, paths: Iterable[str]) -> None:
        """Those are removed."""
        with _explained(self.path), self._transaction():
            self._db.executemany("DELETE FROM gone WHERE path = ?", [(path,) for path in paths])

    def _leave(self, paths: Sequence[str]) -> None:
        now = int(self._now() * 1_000_000)
        sql = "INSERT OR REPLACE INTO gone SELECT path, bytes, ? FROM segments WHERE path = ?"
        self._db.executemany(sql, [(now, path) for path in paths])

    def head(self) -> Head | None:
        """The newest entry of the chain."""
        with _explained(self.path):
            last = self._last()
        return Head(last.sequence, last.hash) if last else None

    def last_change(self) -> float:
        """When the newest entry was made, in seconds since 1970."""
        with _explained(self.path):
            last = self._last()
        return last.time / 1_000_000 if last else self._now()

    def doubt(self, since: float | None) -> None:
        """Keep that the wall clock is not believed since it showed this (seconds since 1970; None: it is); see steady.py."""
        with _explained(self.path), self._transaction():
            self._db.execute("DELETE FROM doubt")
            if since is not None:
                self._db.execute("INSERT INTO doubt VALUES (1, ?)", (int(since),))

    def doubted(self) -> float | None:
        """What `doubt` kept last; None where it never did."""
        with _explained(self.path):
            found = self._db.execute("SELECT since FROM doubt").fetchone()
        return float(found[0]) if found else None

    def _begin_chain(self) -> None:
        """A manifest that has none yet, new or of a version before: what it holds now is where its chain begins."""
        with self._transaction():
            self._append_whole(chain.GENESIS)

    def _append_whole(self, kind: str) -> None:
        """An entry of all that is held, within a transaction."""
        now = _held(self._db)
        positions = {"handed_over": now.handed_over, "names_handed_over": now.names_handed_over}
        self._append(kind, {**positions, "segments": chain.rows_of(now.segments)})

    def _bound_chain(self) -> None:
        """A checkpoint where it is time, and nothing before the last one any more; within a transaction."""
        newest = "SELECT max(sequence) FROM chain WHERE kind IN ('genesis', 'checkpoint')"
        (whole,), (last,) = (self._db.execute(sql).fetchone() for sql in (newest, "SELECT max(sequence) FROM chain"))
        if last - (whole or 0) >= self._kept:
            self._append_whole(chain.CHECKPOINT)
            self._db.execute("DELETE FROM chain WHERE sequence < ?", (whole or 0,))

    def _append(self, kind: str, body: Mapping[str, Any], moment: int | None = None) -> None:
        """One more entry, within a transaction."""
        entry = chain.following(self._last(), kind, int(self._now() * 1_000_000) if moment is None else moment, body)
        self._db.execute("INSERT INTO chain VALUES (?, ?, ?, ?, ?, ?)", astuple(entry))

    def _last(self) -> Entry | None:
        row = self._db.execute("SELECT * FROM chain ORDER BY sequence DESC LIMIT 1").fetchone()
        return _entry(row) if row else None

    def _told(self, paths: Iterable[str]) -> list[list[Any]]:
        """[path, sha256, rows, first and last time] of segments that are listed."""
        sql = "SELECT path, sha256, rows, time_min, time_max FROM segments WHERE path = ?"
        return sorted(list(row) for path in paths for row in self._db.execute(sql, (path,)))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make the changes within it one commit, all or none."""
        with _explained(self.path), self._transaction():
            yield

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _put(self, segments: Iterable[Segment]) -> None:
        segments = list(segments)
        marks = ", ".join("?" * len(_FIELDS))
        sql = f"INSERT OR REPLACE INTO segments ({_NAMES}) VALUES ({marks})"  # noqa: S608 - names of Segment
        self._db.executemany(sql, [[getattr(one, name) for name in _FIELDS] for one in segments])
        self._forget([one.path for one in segments if one.summary])
        said = [(name, one.path, data) for one in segments for name, data in one.summary.items()]
        self._db.executemany("INSERT INTO summaries VALUES (?, ?, ?)", said)

    def _remove(self, paths: Iterable[str]) -> None:
        """Segments that are no longer held."""
        paths = list(paths)
        self._db.executemany("DELETE FROM segments WHERE path = ?", [(path,) for path in paths])
        self._forget(paths)

    def _forget(self, paths: Sequence[str]) -> None:
        names = [name for (name,) in self._db.execute("SELECT DISTINCT name FROM summaries")] if paths else []
        keys = [(name, path) for path in paths for name in names]
        self._db.executemany("DELETE FROM summaries WHERE name = ? AND path = ?", keys)

    @contextmanager
    def _change(self, what: str) -> Iterator[None]:
        with self._transaction():
            yield
            self._bound_chain()
            fault.reached(f"{what}.before_commit")
        fault.reached(f"{what}.after_commit")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._db.in_transaction:  # of `together`, which ends it
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def load(directory: Path) -> Snapshot:
    """The manifest for a reader: read only, in one transaction; EMPTY where the keeper has not begun."""
    path = directory / place.MANIFEST
    return _reading(path, _known) if path.exists() else EMPTY


def summaries(directory: Path, table: str, names: Collection[str]) -> dict[str, dict[str, bytes]]:
    """What is kept of a table's segments by the names of columns (summary.py): by name and path. Nothing where it cannot be read: it saves
    time alone."""
    path = directory / place.MANIFEST
    nothing: dict[str, dict[str, bytes]] = {name: {} for name in names}
    try:
        return nothing | _reading(path, lambda db: _summaries(db, table, names)) if path.exists() else nothing
    except HistoryError:
        return nothing


def _summaries(db: sqlite3.Connection, table: str, names: Collection[str]) -> dict[str, dict[str, bytes]]:
    if not _has(db, "summaries"):
        return {}
    sql = "SELECT path, data FROM summaries WHERE name = ? AND path >= ? AND path < ?"
    return {name: dict(db.execute(sql, (name, f"{table}/", f"{table}0"))) for name in names}


def summary_of(directory: Path, one: Segment) -> dict[str, bytes]:
    """All that is kept of one segment, by column."""

    def read(db: sqlite3.Connection) -> dict[str, bytes]:
        return (
            dict(db.execute("SELECT name, data FROM summaries WHERE path = ?", (one.path,)))
            if _has(db, "summaries")
            else {}
        )

    return _reading(directory / place.MANIFEST, read)


def gone(directory: Path) -> dict[str, int]:
    """Segments of the generation in force that were merged, whose files stay a while: path and bytes."""
    path = directory / place.MANIFEST
    return _reading(path, _gone) if path.exists() else {}


def _gone(db: sqlite3.Connection) -> dict[str, int]:
    return dict(db.execute("SELECT path, bytes FROM gone")) if _has(db, "gone") else {}


def chained(directory: Path) -> tuple[list[Entry], Snapshot]:
    """The chain's entries and what the manifest holds, of one moment. HistoryError where it cannot be read."""
    path = directory / place.MANIFEST
    return _reading(path, lambda db: ([*_entries(db, "ASC")], _held(db))) if path.exists() else ([], EMPTY)


def chain_length(directory: Path) -> int:
    """How many entries the chain has; 0 where there is none, or the manifest cannot be read: `verify` tells why."""
    path = directory / place.MANIFEST
    try:
        return _reading(path, _chain_length) if path.exists() else 0
    except HistoryError:
        return 0


def _chain_length(db: sqlite3.Connection) -> int:
    found = db.execute("SELECT max(sequence) - min(sequence) + 1 FROM chain").fetchone()[0] if _has(db, "chain") else 0
    return found if type(found) is int else 0


def chain_back(directory: Path, head: Head | None, enough: Callable[[Entry], bool]) -> list[Entry]:
    """The chain's entries in order, up to a head: from the newest one for which `enough` says so, else from the first.

    `enough` is asked from the newest entry on. HistoryError where the manifest cannot be read.
    """
    path = directory / place.MANIFEST
    return _reading(path, lambda db: _back(db, head, enough)) if head is not None and path.exists() else []


def _back(db: sqlite3.Connection, head: Head | None, enough: Callable[[Entry], bool]) -> list[Entry]:
    found: list[Entry] = []
    for entry in _entries(db, "DESC"):
        if head is not None and entry.sequence <= head.sequence:
            found.append(entry)
            if enough(entry):
                break
    return found[::-1]


def _entries(db: sqlite3.Connection, order: str) -> Iterator[Entry]:
    """None in a manifest of before there was a chain."""
    if _has(db, "chain"):
        for row in db.execute(f"SELECT * FROM chain ORDER BY sequence {order}"):  # noqa: S608 - ASC or DESC
            yield _entry(row)


def _entry(row: tuple[Any, ...]) -> Entry:
    """SQLite keeps whatever a damaged page holds, as in `_segment`."""
    found = Entry(*row)
    if [type(value) for value in row] != [int, str, int, str, str, str]:
        raise sqlite3.DataError(f"an entry of the chain holds {row!r}")
    return found


def _known(db: sqlite3.Connection) -> Snapshot:
    return _held(db) if _has(db, "damage") else EMPTY


def _reading(path: Path, read: Callable[[sqlite3.Connection], _Found]) -> _Found:
    """What `read` finds in the file, in one transaction; read only."""
    with _explained(path):
        try:
            return _read(path, "ro", read)
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorcode", None) != _ROLLBACK:  # none: Python could not read a text
                raise
            return _rolled_back(path, read)


def _read(path: Path, mode: str, read: Callable[[sqlite3.Connection], _Found]) -> _Found:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=_BUSY, isolation_level=None)
    try:
        db.execute("BEGIN")
        return read(db)
    finally:
        db.close()


def _rolled_back(path: Path, read: Callable[[sqlite3.Connection], _Found]) -> _Found:
    """The manifest as it was before a commit in which the keeper was killed: only its next start may put the file right,
    and a reader may not be allowed to write, so a copy is rolled back."""
    import tempfile

    journal = path.with_name(f"{path.name}-journal")
    while True:
        try:
            before = journal.stat()
            with tempfile.TemporaryDirectory(prefix="firsthand-") as folder:
                for file in (journal, path):
                    shutil.copyfile(file, Path(folder) / file.name)
                after = journal.stat()
                if (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns):
                    return _read(Path(folder) / path.name, "rw", read)
        except FileNotFoundError:  # the keeper has begun again
            return _read(path, "ro", read)


def _snapshot(db: sqlite3.Connection) -> Snapshot:
    db.execute("BEGIN")
    try:
        return _held(db)
    finally:
        db.execute("COMMIT")


def _held(db: sqlite3.Connection) -> Snapshot:
    """Everything, within a transaction."""
    state = db.execute("SELECT generation FROM state").fetchone()
    handed = _position(db, "handed_over")
    names = _position(db, "names_handed_over")
    known = _columns(db)
    lacking = {column for column in _NAMES.split(", ") if column not in known} - _ABSENT.keys()
    if lacking:
        raise sqlite3.DataError(f"the table segments lacks {', '.join(sorted(lacking))}")
    held = [column if column in known else _ABSENT[column] for column in _NAMES.split(", ")]
    sql = f"SELECT {', '.join(held)} FROM segments ORDER BY path"  # noqa: S608 - names of Segment
    segments = tuple(_segment(row) for row in db.execute(sql))
    generation = state[0] if state else 1
    if type(generation) is not int:
        raise sqlite3.DataError(f"the generation is {generation!r}")
    return Snapshot(generation, handed, segments, names, _head(db))


def _head(db: sqlite3.Connection) -> Head | None:
    """The newest entry's; None without a chain, and where it is unreadable: that is for `verify` to tell."""
    rows = db.execute("SELECT sequence, hash FROM chain ORDER BY sequence DESC LIMIT 1") if _has(db, "chain") else ()
    return next((Head(*row) for row in rows if [type(value) for value in row] == [int, str]), None)


def _segment(row: tuple[Any, ...]) -> Segment:
    """SQLite keeps whatever a damaged page holds: a number may have become text."""
    found = Segment(*row)
    texts = (found.path, found.table, found.date, found.node, found.sha256, found.log)
    numbers = (found.rows, found.bytes, found.from_file, found.from_offset, found.to_file, found.to_offset)
    times = (found.time_min, found.time_max, found.unnamed, found.written, found.crc)
    if not all(type(text) is str for text in texts) or not all(type(number) is int for number in numbers):
        raise sqlite3.DataError(f"a segment's line holds {row!r}")
    if not all(time is None or type(time) is int for time in times) or not _PATH.fullmatch(found.path):
        raise sqlite3.DataError(f"a segment's line holds {row!r}")
    if not all(text is None or type(text) is str for text in (found.runs, found.rounds)):
        raise sqlite3.DataError(f"a segment's line holds {row!r}")
    return found


def _position(db: sqlite3.Connection, table: str) -> Position | None:
    """Up to where a log was handed over; None before the first time, and in a manifest of before there was that log."""
    if not _has(db, table):
        return None
    found = db.execute(f"SELECT file, position FROM {table}").fetchone()  # noqa: S608 - one of two names
    if found and [type(number) for number in found] != [int, int]:
        raise sqlite3.DataError(f"{table} holds {found!r}")
    return Position(*found) if found else None


def _has(db: sqlite3.Connection, table: str) -> bool:
    return bool(db.execute("SELECT count(*) FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0])


def _columns(db: sqlite3.Connection) -> set[str]:
    return {row[1] for row in db.execute("PRAGMA table_info(segments)")}


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        known = getattr(error, "sqlite_errorcode", None)  # none: Python could not read a text, or we a line
        if known is None or known & 0xFF in _DAMAGED:
            raise _damaged(path, str(error)) from error
        raise _failed(path, error, UnwritableError if (known or 0) & 0xFF in _UNWRITABLE else HistoryError) from error
    except (sqlite3.Error, OSError) as error:
        raise _failed(path, error) from error
    except (UnicodeDecodeError, OverflowError) as error:  # SQLite's own message holds what a damaged page does
        raise _damaged(path, str(error)) from error


def _failed(path: Path, error: Exception, kind: type[HistoryError] = HistoryError) -> HistoryError:
    return kind(
        f"{path}: {error}; check that the disk has room and that you may read it (root or the group {place.GROUP})"
    )


def _damaged(path: Path, what: str) -> DamagedError:
    return DamagedError(
        f"{path} is damaged: {what}; put it back from a backup, or move the history away and begin another. The log keeps "
        "what is recorded meanwhile"
    )
