"""The manifest: which segments there are, and up to where the log is in them. Its commit is the one hand-over point.

SQLite with a rollback journal, not WAL: readers of the group need no write access to the directory. `synchronous=EXTRA`
makes a commit durable with the journal's removal, so that a log file deleted after it is never asked for again.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from firsthand.errors import HistoryError
from firsthand.history import place
from firsthand.history.chunk import Position

_BUSY = 20.0  # seconds
_SCHEMA = """
CREATE TABLE IF NOT EXISTS segments (
    path TEXT PRIMARY KEY, table_name TEXT NOT NULL, date TEXT NOT NULL, node TEXT NOT NULL, rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    time_min INTEGER, time_max INTEGER, from_file INTEGER NOT NULL, from_offset INTEGER NOT NULL,
    to_file INTEGER NOT NULL, to_offset INTEGER NOT NULL, sha256 TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS handed_over (
    one INTEGER PRIMARY KEY CHECK (one = 1), file INTEGER NOT NULL, position INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS state (generation INTEGER NOT NULL, retired_at INTEGER);
CREATE TABLE IF NOT EXISTS damage (file INTEGER, position INTEGER, message TEXT, PRIMARY KEY (file, position));
"""


@dataclass(frozen=True)
class Segment:
    """One Parquet file. `path` is below its generation; times in microseconds; log positions from (included) and to."""

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


@dataclass(frozen=True)
class Snapshot:
    """What the manifest says at one moment. `handed_over` is None before the first hand-over."""

    generation: int
    handed_over: Position | None
    segments: tuple[Segment, ...]


#: SQLITE_READONLY_ROLLBACK (sqlite.org/rescode.html): a hot journal, and no right to roll it back.
_ROLLBACK = 776
EMPTY = Snapshot(0, None, ())


class Manifest:
    """The manifest as its one writer, the keeper, sees it. HistoryError where it cannot be opened or written."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / place.MANIFEST
        with _explained(self.path):
            self._db = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=DELETE")
            self._db.execute("PRAGMA synchronous=EXTRA")
            self._db.executescript(_SCHEMA)
            if not self._db.execute("SELECT count(*) FROM state").fetchone()[0]:
                self._db.execute("INSERT INTO state VALUES (1, NULL)")
        self.path.chmod(0o640)
        place.give(self.path)

    def snapshot(self) -> Snapshot:
        """Everything, in one transaction."""
        with _explained(self.path):
            return _snapshot(self._db)

    def hand_over(self, segments: Iterable[Segment], to: Position, damage: Sequence[tuple[Position, str]] = ()) -> None:
        """Commit: the log before `to` is in the segments, these among them. One of the same path is replaced."""
        with _explained(self.path), self._transaction():
            self._put(segments)
            self._db.execute("INSERT OR REPLACE INTO handed_over VALUES (1, ?, ?)", (to.file, to.offset))
            rows = [(*position, message) for position, message in damage]
            self._db.executemany("INSERT OR REPLACE INTO damage VALUES (?, ?, ?)", rows)

    def merge(self, generation: int, gone: Iterable[str], merged: Iterable[Segment]) -> None:
        """Commit a compaction: another generation, where the `gone` are replaced by the merged ones."""
        with _explained(self.path), self._transaction():
            self._db.executemany("DELETE FROM segments WHERE path = ?", [(path,) for path in gone])
            self._put(merged)
            self._db.execute("UPDATE state SET generation = ?", (generation,))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _put(self, segments: Iterable[Segment]) -> None:
        marks = ", ".join("?" * len(fields(Segment)))
        sql = f"INSERT OR REPLACE INTO segments VALUES ({marks})"  # noqa: S608 - question marks alone
        self._db.executemany(sql, [astuple(segment) for segment in segments])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
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
    if not path.exists():
        return EMPTY
    with _explained(path):
        try:
            return _read(path, "ro")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != _ROLLBACK:
                raise
            return _rolled_back(path)


def _read(path: Path, mode: str) -> Snapshot:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=_BUSY, isolation_level=None)
    try:
        known = db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'damage'").fetchone()[0]
        return _snapshot(db) if known else EMPTY
    finally:
        db.close()


def _rolled_back(path: Path) -> Snapshot:
    """The manifest as it was before a commit in which the keeper was killed: only its next start may put the file right,
    and a reader may not be allowed to write, so a copy is rolled back."""
    journal = path.with_name(f"{path.name}-journal")
    while True:
        try:
            before = journal.stat()
            with tempfile.TemporaryDirectory(prefix="firsthand-") as folder:
                for file in (journal, path):
                    shutil.copyfile(file, Path(folder) / file.name)
                after = journal.stat()
                if (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns):
                    return _read(Path(folder) / path.name, "rw")
        except FileNotFoundError:  # the keeper has begun again
            return _read(path, "ro")


def _snapshot(db: sqlite3.Connection) -> Snapshot:
    db.execute("BEGIN")
    try:
        state = db.execute("SELECT generation FROM state").fetchone()
        handed = db.execute("SELECT file, position FROM handed_over").fetchone()
        segments = tuple(Segment(*row) for row in db.execute("SELECT * FROM segments ORDER BY path"))
    finally:
        db.execute("COMMIT")
    return Snapshot(state[0] if state else 1, Position(*handed) if handed else None, segments)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise HistoryError(
            f"{path}: {error}; check that the disk has room and that you may read it (root or the group {place.GROUP})"
        ) from error
