"""Making a bundle from a history: which rows, what they are from, what proves it, in one file."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from firsthand import __version__
from firsthand.ask import completeness, selector
from firsthand.ask.answer import Window, iso
from firsthand.errors import DamagedError, HistoryError, UsageError
from firsthand.evidence import archive, documents, readme, record, selection
from firsthand.evidence.documents import About, Origin
from firsthand.evidence.question import BundleQuestion
from firsthand.evidence.selection import Selection
from firsthand.evidence.sources import RowSource, Stored, Tail, of_view
from firsthand.history import place
from firsthand.history.log import schema_store
from firsthand.history.store import chain, manifest, segment
from firsthand.history.store.chain import Entry
from firsthand.history.store.connection import History, explained
from firsthand.history.store.verify import UNREADABLE, segments_of
from firsthand.schema.tables import KEPT

_DAY = 86_400_000_000


@dataclass(frozen=True)
class Wish:
    """What is asked for, as `ask` takes it; None: everything. `arguments` as typed."""

    window: Window
    namespace: str | None = None
    pod: str | None = None
    node: str | None = None
    selector: str | None = None
    arguments: tuple[str, ...] = ()
    segments: bool = True
    days: bool = False


@dataclass(frozen=True)
class Made:
    """A bundle that was written. `held`: rows of all sources inside, the others' with them."""

    path: Path
    digest: str
    about: About
    judged: dict[str, Any]
    origins: list[Origin]
    held: int


@dataclass
class _Content:
    """A file of the bundle: its size and hash, and how to read it."""

    size: int
    sha256: str
    opened: Callable[[], IO[bytes]]


def make(directory: Path, wish: Wish, to: Path, now: datetime, heads: Path | None = None) -> Made:
    """Write the bundle to a file that is not there yet. HistoryError where it cannot be, UsageError for a wrong selector.

    What is damaged in the history is left out, and said in the bundle. `heads` is the file of published heads.
    """
    if to.exists() or to.is_symlink():
        raise UsageError(f"{to} is there already, and no evidence is written over: name another file with -o")
    try:
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=".firsthand-evidence-") as folder:
            return _Maker(directory, wish, now, heads, Path(folder)).write(to)
    except duckdb.Error as error:
        raise explained(error) from error
    except OSError as error:
        raise HistoryError(
            f"{to}: the bundle cannot be written ({error}); free space there, or name another place"
        ) from error


class _Maker:
    def __init__(self, directory: Path, wish: Wish, now: datetime, heads: Path | None, folder: Path) -> None:
        self.directory, self.wish, self.now, self.folder = directory, wish, now, folder
        self.heads = heads
        self.history = History(directory, check=0)  # what is used is looked at whole, below
        self.view = self.history.view(flows=True)
        self.question = self._question()

    def write(self, to: Path) -> Made:
        """The bundle's file."""
        used, found = self._used()
        entries = self._chain(used)
        judged = self._judge(used, found)
        origins = [self._origin(source, entries) for source in used]
        rows = {table: self._rows(table, used, found) for table in KEPT}
        about = self._about(entries, rows, used, found)
        contents = self._contents(about, judged, origins, entries)
        contents |= {f"rows/{table}.parquet": _of_file(self._staged(table)) for table in KEPT}
        if self.wish.segments:
            contents |= {source.name: _of_source(source) for source in used}
        sums = documents.sums({name: one.sha256 for name, one in contents.items()})
        _write(to, contents | {archive.SUMS: _of_bytes(sums)})
        held = sum(one.rows for one in origins)
        return Made(to, hashlib.sha256(sums).hexdigest(), about, judged, origins, held)

    def _question(self) -> BundleQuestion:
        wish = self.wish
        since, until = (_micro(moment) for moment in (wish.window.since, wish.window.until))
        found = BundleQuestion(
            since, until, wish.namespace, wish.pod, wish.node, wish.selector, arguments=wish.arguments
        )
        if wish.selector is None:
            return found
        with self.history.connection(of=self.view) as connection:
            chosen = selector.choose(connection, wish.selector)
        return replace(found, pods=tuple(sorted(chosen.pods)), containers=tuple(sorted(chosen.containers)))

    def _used(self) -> tuple[list[RowSource], Selection]:
        """The sources that go in, each whole, and what of them alone is chosen."""
        while True:
            sources = of_view(self.view)
            try:
                wanted = selection.select(sources, self.question).sources
            except DamagedError:  # of one that is held against its hash only once it is chosen
                if not self._damaged(sources):
                    raise
                continue
            used = [source for source in sources if source.name in wanted or (self.wish.days and self._of_days(source))]
            if not self._damaged(used):
                return used, selection.select(used, self.question)

    def _of_days(self, source: RowSource) -> bool:
        days = {
            segment.date_of(moment // _DAY) for moment in range(self.question.since, self.question.until + _DAY, _DAY)
        }
        days.add(segment.date_of(self.question.until // _DAY))
        return isinstance(source, Tail) or (
            isinstance(source, Stored) and source.segment is not None and source.segment.date in days
        )

    def _damaged(self, used: Iterable[RowSource]) -> bool:
        """Put damaged segments aside, and say so; whether there were any."""
        root = self.view.root
        held = [source.segment for source in used if isinstance(source, Stored) and source.segment is not None]
        found = {one.path: damage for one in held if (damage := segment.damage(root / one.path, one))}
        if found and self.view.outdated(found):
            raise HistoryError(f"{self.directory}: its segments were merged and removed meanwhile; try again")
        self.view.aside |= found.keys()
        self.view.damage += [f"a segment is left out: {damage}" for damage in found.values()]
        return bool(found)

    def _chain(self, used: Sequence[RowSource]) -> list[Entry]:
        """The entries from before the window on, or as far back as the oldest of the segments needs."""
        missing = {source.name.rpartition("/")[2].partition(".")[0] for source in used if isinstance(source, Stored)}

        def enough(entry: Entry) -> bool:
            with contextlib.suppress(*UNREADABLE):
                missing.difference_update(sha256 for sha256, _ in segments_of(entry).values())
            return not missing and entry.time < self.question.since

        try:
            return manifest.chain_back(self.directory, self.view.manifest.head, enough)
        except DamagedError as error:
            self.view.damage.append(f"the chain is left out: {error}")
            return []

    def _judge(self, used: Sequence[RowSource], found: Selection) -> dict[str, Any]:
        """As `ask` judges, and by what the bundle's own rows say: completeness.json."""
        with self.history.connection(of=self.view) as connection:
            spans = completeness.spans(connection, self.now)
            judged = completeness.judge(
                connection,
                spans,
                self.question.window,
                record.TABLES,
                record.hooks(),
                node=self.question.node,
                names_from=self.question.window.since if self.question.filters.by_name else None,
                filters=self.question.filters,
                damage=self.view.damage,
                whole=True,
            )
        rows = {table: [found.rows(table, source) for source in used] for table in record.ROWS}
        own = record.read({table: pa.concat_tables(parts) for table, parts in rows.items()}, self.question, self.now)
        return record.told(judged, own)

    def _origin(self, source: RowSource, entries: Sequence[Entry]) -> Origin:
        if isinstance(source, Tail):
            chunk, raw = source.chunk, source.chunk.raw
            place: dict[str, Any] = {"log": source.log, "file": chunk.position.file, "offset": chunk.position.offset}
            hash_ = hashlib.sha256(raw).hexdigest()
            return Origin(source.name, "chunk", chunk.rows, len(raw), hash_, **place, checksum=chunk.checksum)
        assert isinstance(source, Stored) and source.segment is not None
        one, hash_ = source.segment, source.name.rpartition("/")[2].partition(".")[0]
        return Origin(source.name, "segment", one.rows, one.bytes, hash_, one.table, one.path, _entry(entries, hash_))

    def _rows(self, table: str, used: Sequence[RowSource], found: Selection) -> int:
        """Write a table's rows beside the bundle; how many there are."""
        count = 0
        schema = selection.schema(table)
        options: dict[str, Any] = {"compression": "zstd", "coerce_timestamps": "us", "store_schema": False}
        with pq.ParquetWriter(self._staged(table), schema, **options) as writer:
            for source in used:
                if (rows := found.rows(table, source)).num_rows:
                    writer.write_table(rows, row_group_size=rows.num_rows)
                    count += rows.num_rows
        return count

    def _staged(self, table: str) -> Path:
        return self.folder / f"{table}.parquet"

    def _about(
        self, entries: Sequence[Entry], rows: dict[str, int], used: Sequence[RowSource], found: Selection
    ) -> About:
        system = platform.uname()
        by = {
            "version": __version__,
            "node": system.node,
            "kernel": f"{system.release} {system.machine}",
            "at": iso(self.now),
        }
        head = str(chain.Head(entries[-1].sequence, entries[-1].hash)) if entries else None
        told = ("node", "boot", "kernel", "version")
        nodes = {tuple(row[name] for name in told) for source in used for row in _observers(found, source)}
        named = [dict(zip(told, node, strict=True)) for node in sorted(nodes, key=str)]
        wish = self.wish
        return About(_micro(self.now), by, self.question, head, rows, wish.segments, wish.days, named)

    def _contents(
        self, about: About, judged: dict[str, Any], origins: list[Origin], entries: Sequence[Entry]
    ) -> dict[str, _Content]:
        """Everything but rows and what they are from."""
        found = {
            archive.ABOUT: documents.rendered(about.plain()),
            archive.COMPLETENESS: documents.rendered(judged),
            archive.SOURCES: documents.rendered([_known(one) for one in origins]),
            archive.CHAIN: documents.lines(entries),
            archive.HEADS: self._published(entries),
            archive.README: readme.text(about),
        }
        layouts = schema_store.saved(self.directory)
        found |= {f"layouts/{hash_}.json": text.encode() for hash_, text in layouts.items()}
        return {name: _of_bytes(data) for name, data in found.items()}

    def _published(self, entries: Sequence[Entry]) -> bytes:
        """The lines of the file of heads that name one of these entries."""
        known, own = {entry.sequence for entry in entries}, place.identity(self.directory)
        if self.heads is None:
            return b""
        try:
            lines = self.heads.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return b""
        return "".join(
            f"{line}\n"
            for line in lines
            if chain.of_history(line, own) and (head := chain.head_of(line)) and head.sequence in known
        ).encode()


def _entry(entries: Sequence[Entry], sha256: str) -> int | None:
    """The number of the first entry that names a segment; the later ones are checkpoints."""
    return next((entry.sequence for entry in entries if f'"{sha256}"' in entry.body), None)


def _observers(found: Selection, source: RowSource) -> Iterator[dict[str, Any]]:
    yield from found.rows("observer", source).select(["node", "boot", "kernel", "version"]).to_pylist()


def _known(origin: Origin) -> dict[str, Any]:
    return {name: value for name, value in vars(origin).items() if value is not None}


def _of_bytes(data: bytes) -> _Content:
    return _Content(len(data), hashlib.sha256(data).hexdigest(), lambda: io.BytesIO(data))


def _of_file(path: Path) -> _Content:
    with path.open("rb") as file:
        return _Content(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest(), lambda: path.open("rb"))


def _of_source(source: RowSource) -> _Content:
    if isinstance(source, Tail):
        return _of_bytes(source.chunk.raw)
    assert isinstance(source, Stored)
    path: Path = source.opened()
    return _Content(path.stat().st_size, source.name.rpartition("/")[2].partition(".")[0], lambda: path.open("rb"))


def _write(to: Path, contents: dict[str, _Content]) -> None:
    """The tar, whole under its name or not there, readable by its owner alone."""
    temporary = to.with_name(f".{to.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            tar = archive.ArchiveWriter(file)
            for name, one in sorted(contents.items()):
                with one.opened() as content:
                    tar.add(name, one.size, content, one.sha256)
            tar.close()
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(to)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _micro(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
