"""Segments: Parquet files that any engine reads, complete under their final name or not there at all."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from firsthand.errors import HistoryError
from firsthand.history import fault, place
from firsthand.history.log import arrow
from firsthand.history.log.chunk import Position
from firsthand.history.names import names
from firsthand.history.place import generation as generation
from firsthand.history.store import intact, observing, rounds, share, summary
from firsthand.history.store.intact import damage as damage
from firsthand.history.store.manifest import Segment
from firsthand.history.store.share import Share
from firsthand.schema.tables import KEPT
from firsthand.subjects.column import Column

#: The one column that segments have beyond their table's: an exporter that stopped within a segment's span goes on by it,
#: also where a compaction has sorted the rows anew. Repeats for all rows of a chunk, and so costs next to nothing.
LOG_POSITION = Column("log_position", "int64", "the row's chunk in its log: number of the file * 2^32 + offset in it")
#: Columns that nearly always rise: delta coding, and so no dictionary.
RISING = ("time", "ktime", "seq")
#: The same number in the few rows of one process, near each other, and hardly elsewhere: zstd finds it, a dictionary is as long as
#: the column (docs/performance.md).
OWN = ("exec_tgid", "exec_start", "parent_tgid", "parent_start", "pid", "tid", "namespace_pid", "duration")
#: Neighbours are alike, which makes the file small, and questions about one pod read little of it.
ORDER = ("namespace", "pod", "time")
#: Rows of a row group: what a reader of one pod decodes, and a merge has of each of its inputs.
ROW_GROUP = 32_768
_DAY = 86_400_000_000
_STRANGE = re.compile(r"[^A-Za-z0-9.-]")


def name_of(node: str, at: Position, log: str = place.LOG) -> str:
    """A segment's file name: the same for the same log position, so that a redo replaces it."""
    word = "" if log == place.LOG else f"-{log}"
    return f"{_STRANGE.sub('_', node) or '_'}{word}-{at.file:016d}-{at.offset}.parquet"


def place_of(at: Position) -> int:
    """A log position as the column LOG_POSITION has it. Ordered as positions are."""
    return at.file << 32 | at.offset


def located(rows: pa.Table, at: Position) -> pa.Table:
    """Rows of one chunk with the column LOG_POSITION behind the others."""
    values = pa.repeat(pa.scalar(place_of(at), pa.int64()), rows.num_rows)
    return rows.append_column(LOG_POSITION.name, values)


def write(
    root: Path, table: str, rows: pa.Table, node: str, span: tuple[Position, Position], log: str = place.LOG
) -> list[Segment]:
    """The rows as one sorted segment per day below a generation's folder; durable, folders included, when this returns."""
    name = name_of(node, span[0], log)
    return [write_one(root, f"{table}/date={date}/{name}", ordered(part), node, span, log) for date, part in days(rows)]


def ordered(rows: pa.Table) -> pa.Table:
    """The rows by ORDER, as every segment has them: a merge then reads each once, from its begin to its end."""
    keys = [(name, "ascending") for name in ORDER if name in rows.column_names]
    if not keys or rows.num_rows < 2:
        return rows
    places = pc.sort_indices(rows, sort_keys=keys)
    return pa.table([_taken(column, places) for column in rows.columns], schema=rows.schema)


def _taken(column: pa.ChunkedArray, places: pa.Array) -> pa.ChunkedArray:
    """A column's values at all its places, in another order; many are null in each row."""
    if column.null_count == len(column):
        return column
    return pc.take(column.combine_chunks(), places, boundscheck=False)


def write_one(
    root: Path, path: str, rows: pa.Table, node: str, span: tuple[Position, Position], log: str = place.LOG
) -> Segment:
    """One segment of rows that are all there."""
    with Writer(root.parent, path, rows.schema, node, span, log) as writer:
        writer.add(rows)
        return writer.finish(root, rows)


class Writer:
    """One segment, written piece by piece: the only place where segments are made.

    A temporary file beside the generations; `finish` does fsync, rename, fsync of the folder. Where it comes to no `finish`, nothing stays.
    HistoryError where it cannot be written.
    """

    def __init__(
        self,
        generations: Path,
        path: str,
        schema: pa.Schema,
        node: str,
        span: tuple[Position, Position],
        log: str = place.LOG,
    ) -> None:
        self.path, self.node, self.span, self.log = path, node, span, log
        self.table, self.day, name = path.split("/")
        self.rows = 0
        self._unnamed = 0
        self._shares: dict[tuple[str, str], Share] = {}
        self._times: list[int] = []
        self._told: list[pa.Table] = []
        self._waiting: list[pa.Table] = []
        with self._explained():
            self._temporary = place.folder(generations / ".new") / name
            self._file = pq.ParquetWriter(self._temporary, schema.remove_metadata(), **_layout(schema))

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()

    def add(self, rows: pa.Table) -> None:
        """Append rows, and update the numbers that the manifest keeps of the segment."""
        if not rows.num_rows:
            return
        self.rows += rows.num_rows
        self._unnamed += names.unnamed(rows)
        share.add(self._shares, share.measure(self.table, rows))
        if "time" in rows.column_names:
            self._times += [end for end in _range(rows.column("time")) if end is not None]
        if self.table == observing.TABLE:
            wanted = {*observing.COLUMNS, *rounds.COLUMNS}
            self._told.append(rows.select([name for name in rows.column_names if name in wanted]))
        self._waiting.append(rows)
        if sum(one.num_rows for one in self._waiting) >= ROW_GROUP:
            self._write()

    def _write(self) -> None:
        with self._explained():
            waiting, self._waiting = self._waiting, []
            if waiting:
                self._file.write_table(pa.concat_tables(waiting), row_group_size=ROW_GROUP)

    def finish(self, root: Path, rows: pa.Table | None = None) -> Segment:
        """Put it below a generation's folder under its own name; durable, folders included, when this returns.

        `rows`: all that it holds, where they are in memory; else what its summary says is read from the file.
        """
        final = root / self.path
        self._write()
        with self._explained():
            shares = share.told(self._shares.values())
            self._file.add_key_value_metadata(shares)
            self._file.close()
            place.folder(final.parent)
            size, digest, crc = _settled(self._temporary)
            said = (
                summarised(self._temporary, self.table, digest)
                if rows is None
                else _summary(self.table, rows, digest, shares)
            )
            fault.reached("segment.before_rename")
            self._temporary.replace(final)
            place.sync(final.parent)
            fault.reached("segment.after_rename")
        low, high = (min(self._times), max(self._times)) if self._times else (None, None)
        day, positions = self.day.removeprefix("date="), (*self.span[0], *self.span[1])
        told = pa.concat_tables(self._told) if self._told else None
        found = (runs(self.table, told), proofs(self.table, told)) if told is not None else (None, None)
        return Segment(
            *(self.path, self.table, day, self.node, self.rows, size, low, high, *positions),
            *(digest, self.log, self._unnamed, *found, final.stat().st_mtime_ns, crc),
            summary=said,
        )

    def abandon(self) -> None:
        """Nothing of it stays; after `finish` it does nothing."""
        with contextlib.suppress(OSError, ValueError):
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise HistoryError(
                f"{self.path}: the segment cannot be written ({error}); free space in the history"
            ) from error


def summarised(path: Path, table: str, digest: str) -> dict[str, bytes]:
    """What readers choose a segment by, of its file: a column at a time."""
    if table not in KEPT:
        return {}
    with pq.ParquetFile(path) as file:
        parts = summary.make(table, _Columns(file), digest, whole=_whole(table, file.schema_arrow))
        return parts | _shared(file.metadata.metadata, digest)


def _summary(table: str, rows: pa.Table, digest: str, metadata: Mapping[bytes, bytes]) -> dict[str, bytes]:
    """The same of the rows that were written, in their order, and of what the footer has."""
    if table not in KEPT:
        return {}
    return summary.make(table, rows, digest, whole=_whole(table, rows.schema)) | _shared(metadata, digest)


def _shared(metadata: Mapping[bytes, bytes] | None, digest: str) -> dict[str, bytes]:
    """Whose rows the footer counts."""
    shares = share.of_footer(metadata)
    return {} if shares is None else {share.PART: summary.sealed(shares, digest, share.PART)}


class _Columns:
    """The columns of a file as a table has them, each read when it is asked for."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self._file = file
        self.column_names = file.schema_arrow.names

    def column(self, name: str) -> pa.ChunkedArray:
        """All values of one."""
        return self._file.read([name], use_threads=False).column(name)


def _whole(table: str, found: pa.Schema) -> bool:
    """Whether rows have this version's columns, with their types; lists are of the same whatever their items are named."""
    wanted = arrow.schema(table)
    return all(field.name in found.names and found.field(field.name).type.equals(field.type) for field in wanted)


def runs(table: str, rows: pa.Table) -> str | None:
    """When was observed by rows of `observer`, for the manifest."""
    if table != observing.TABLE:
        return None
    return observing.encode(observing.of_rows(_tuples(rows, observing.COLUMNS)))


def proofs(table: str, rows: pa.Table) -> str | None:
    """When canaries proved the hooks by rows of `observer`, for the manifest."""
    if table != observing.TABLE:
        return None
    return rounds.encode(rounds.of_rows(_tuples(rows, rounds.COLUMNS)))


def _tuples(rows: pa.Table, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """These columns of each row; null where the table lacks them, times in microseconds."""
    columns = []
    for name in names:
        known = name in rows.column_names
        column = rows.column(name) if known else pa.nulls(rows.num_rows)
        columns.append((column.cast(pa.int64()) if known and name == "time" else column).to_pylist())
    return zip(*columns, strict=True)


def _layout(schema: pa.Schema) -> dict[str, Any]:
    """How the columns of a file are written."""
    rising = [name for name in RISING if name in schema.names]
    return {
        "compression": "zstd",
        "use_dictionary": [leaf for field in schema for leaf in _leaves(field) if leaf not in (*rising, *OWN)],
        "column_encoding": dict.fromkeys(rising, "DELTA_BINARY_PACKED"),
        "coerce_timestamps": "us",
        "store_schema": False,
    }


def _settled(path: Path) -> tuple[int, str, int]:
    """Size, SHA-256 and CRC-32 of a file that is readable for those who may, and durable."""
    path.chmod(0o640)
    place.give(path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return path.stat().st_size, *intact.sums(path)


def _leaves(field: pa.Field) -> list[str]:
    if pa.types.is_list(field.type):
        return [f"{field.name}.list.element"]
    return [] if pa.types.is_binary(field.type) or pa.types.is_boolean(field.type) else [field.name]


def days(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows by UTC day of their `time`; a row without a time goes to the day 1970-01-01."""
    if "time" not in rows.column_names:
        yield "1970-01-01", rows
        return
    numbers = pc.fill_null(pc.divide(rows.column("time").cast(pa.int64()), _DAY), 0)
    for number in sorted(pc.unique(numbers).to_pylist()):
        whole = pc.equal(numbers, number)
        yield date_of(number), rows if pc.all(whole).as_py() else rows.filter(whole)


def date_of(day: int) -> str:
    """A day since 1970 as YYYY-MM-DD."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date().isoformat()


def _range(times: Any) -> tuple[int | None, int | None]:
    found = pc.min_max(times.cast(pa.int64())).as_py()
    return found["min"], found["max"]
