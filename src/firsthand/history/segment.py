"""Segments: Parquet files that any engine reads, complete under their final name or not there at all."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from firsthand.errors import HistoryError
from firsthand.history import fault, names, place, share
from firsthand.history.chunk import Position
from firsthand.history.manifest import Segment
from firsthand.schema.column import Column

#: The one column that segments have beyond their table's: an exporter that stopped within a segment's span goes on by it,
#: also where a compaction has sorted the rows anew. Repeats for all rows of a chunk, and so costs next to nothing.
LOG_POSITION = Column("log_position", "int64", "the row's chunk in its log: number of the file * 2^32 + offset in it")
#: Columns that nearly always rise: delta coding, and so no dictionary.
RISING = ("time", "ktime", "seq")
#: The same number in the few rows of one process, near each other, and hardly elsewhere: zstd finds it, a dictionary is as long as
#: the column (docs/performance.md).
OWN = ("exec_tgid", "exec_start", "parent_tgid", "parent_start", "pid", "tid", "namespace_pid", "duration")
ROW_GROUP = 131_072
_DAY = 86_400_000_000
_STRANGE = re.compile(r"[^A-Za-z0-9.-]")


def generation(directory: Path, number: int) -> Path:
    """The folder of a generation."""
    return directory / place.GENERATIONS / str(number)


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
    """The rows as one segment per day below a generation's folder; durable, folders included, when this returns."""
    name = name_of(node, span[0], log)
    return [write_one(root, f"{table}/date={date}/{name}", part, node, span, log) for date, part in days(rows)]


def write_one(
    root: Path, path: str, rows: pa.Table, node: str, span: tuple[Position, Position], log: str = place.LOG
) -> Segment:
    """One segment: a temporary file beside the generations, fsync, rename, fsync of the folder."""
    table, day, _ = path.split("/")
    final = root / path
    try:
        place.folder(final.parent)
        temporary = place.folder(root.parent / ".new") / final.name
        size, digest = _write_file(temporary, share.noted(table, rows))
        fault.reached("segment.before_rename")
        temporary.replace(final)
        place.sync(final.parent)
        fault.reached("segment.after_rename")
    except OSError as error:
        raise HistoryError(f"{final}: the segment cannot be written ({error}); free space there") from error
    low, high = _range(rows.column("time")) if "time" in rows.column_names else (None, None)
    positions = (*span[0], *span[1])
    unnamed = names.unnamed(rows)
    day = day.removeprefix("date=")
    return Segment(path, table, day, node, rows.num_rows, size, low, high, *positions, digest, log, unnamed)


def _write_file(path: Path, rows: pa.Table) -> tuple[int, str]:
    rising = [name for name in RISING if name in rows.column_names]
    pq.write_table(
        rows,
        path,
        compression="zstd",
        use_dictionary=[leaf for field in rows.schema for leaf in _leaves(field) if leaf not in (*rising, *OWN)],
        column_encoding=dict.fromkeys(rising, "DELTA_BINARY_PACKED"),
        row_group_size=ROW_GROUP,
        coerce_timestamps="us",
        store_schema=False,
    )
    path.chmod(0o640)
    place.give(path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return path.stat().st_size, digest


def damage(path: Path, one: Segment, *, by_size: bool = False) -> str | None:
    """What is wrong with a segment's file: missing, of another size or hash, unreadable, of other rows; None: nothing.

    `by_size` looks at no more than that. A segment whose hash is not known is only opened.
    """
    try:
        size = path.stat().st_size
        if size != one.bytes:
            return f"{path}: has {size} bytes, {one.bytes} when it was written: it was cut or changed"
        return None if by_size else _changed(path, one)
    except FileNotFoundError:
        return f"{path}: is missing"
    except (OSError, pa.ArrowException) as error:
        return f"{path}: cannot be read ({error})"


def _changed(path: Path, one: Segment) -> str | None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if one.sha256 and digest != one.sha256:
        return f"{path}: its SHA-256 is {digest}, {one.sha256} when it was written: it was changed"
    rows = pq.read_metadata(path).num_rows
    return None if rows == one.rows or not one.sha256 else f"{path}: holds {rows} rows, {one.rows} when it was written"


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
