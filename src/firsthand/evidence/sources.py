"""What rows are taken from: whole segments, and chunks of the log that are in no segment yet. In a history or in a bundle."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from firsthand.errors import DamagedError
from firsthand.history.log import arrow
from firsthand.history.log.chunk import Chunk
from firsthand.history.store import segment
from firsthand.history.store.manifest import Segment
from firsthand.history.store.segment import LOG_POSITION
from firsthand.history.store.snapshot import View

_BATCH = 65_536
#: What reading a file that is no Parquet raises.
UNREADABLE = (OSError, pa.ArrowException, ValueError, KeyError, IndexError, NotImplementedError)


class RowSource(Protocol):
    """One file with rows. `name` is its member's in a bundle; `span` its rows' times in microseconds, None: not known."""

    @property
    def name(self) -> str: ...

    @property
    def span(self) -> tuple[int, int] | None: ...

    @property
    def tables(self) -> Collection[str]:
        """The tables of which it has rows."""
        ...

    def rows(self, table: str, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
        """The rows of a table in the file's order, batch by batch, each with the number of its first row.

        `columns` of the table's schema; None: all, and `log_position` behind them. DamagedError where it cannot be read.
        """
        ...

    def bounds(self, table: str, column: str) -> tuple[int, int] | None:
        """Between what a column's numbers lie; None: not known."""
        ...


def of_segment(table: str, sha256: str) -> str:
    """A segment's member name. Its hash, so that no name of a node or path can matter."""
    return f"segments/{table}/{sha256}.parquet"


def of_chunk(log: str, chunk: Chunk) -> str:
    """A chunk's member name: its place."""
    return f"chunks/{log}/{chunk.position.file:016d}-{chunk.position.offset}.chunk"


@dataclass(frozen=True)
class Stored:
    """A segment. `opened` gives a path or a file object."""

    name: str
    table: str
    opened: Callable[[], Any]
    span: tuple[int, int] | None = None
    segment: Segment | None = None

    @property
    def tables(self) -> Collection[str]:
        return (self.table,)

    def rows(self, table: str, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
        if table != self.table:
            return
        with self._explained(), pq.ParquetFile(self.opened()) as file:
            known = file.schema_arrow.names
            read = None if columns is None else [name for name in columns if name in known]
            if read == []:  # a segment of before there were these columns
                yield 0, arrow.narrow(table, pa.table({"": pa.nulls(file.metadata.num_rows)}), columns or ())
                return
            first = 0
            for batch in file.iter_batches(_BATCH, columns=read):
                rows = pa.Table.from_batches([batch])
                yield first, _shaped(table, rows, columns)
                first += rows.num_rows

    def bounds(self, table: str, column: str) -> tuple[int, int] | None:
        with self._explained(), pq.ParquetFile(self.opened()) as file:
            if table != self.table or column not in file.schema_arrow.names:
                return None
            index = file.schema_arrow.names.index(column)
            groups = [file.metadata.row_group(number).column(index) for number in range(file.num_row_groups)]
            found = [group.statistics for group in groups if group.path_in_schema == column]
            if len(found) != len(groups) or not all(one is not None and one.has_min_max for one in found):
                return None
            ends = [end for one in found for end in (one.min, one.max)]
            return (min(ends), max(ends)) if ends and all(type(end) is int for end in ends) else None

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except UNREADABLE as error:
            raise DamagedError(f"{self.name}: the segment cannot be read ({error})") from error


@dataclass(frozen=True)
class Tail:
    """A chunk of a log."""

    name: str
    log: str
    chunk: Chunk

    @property
    def span(self) -> tuple[int, int] | None:
        return None

    @property
    def tables(self) -> Collection[str]:
        return {table for table, _, _ in self.chunk.header.tables}

    def rows(self, table: str, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
        first = 0
        for _, rows in arrow.tables(self.chunk, (table,)):
            yield first, _shaped(table, segment.located(rows, self.chunk.position), columns)
            first += rows.num_rows

    def bounds(self, table: str, column: str) -> tuple[int, int] | None:
        return None


def _shaped(table: str, rows: pa.Table, columns: Sequence[str] | None) -> pa.Table:
    if columns is not None:
        return arrow.narrow(table, rows, columns)
    whole = arrow.narrow(table, rows, arrow.schema(table).names)
    if LOG_POSITION.name in rows.column_names:
        return whole.append_column(LOG_POSITION.name, rows[LOG_POSITION.name].cast(pa.int64()))
    return whole.append_column(LOG_POSITION.name, pa.nulls(rows.num_rows, pa.int64()))


def of_view(view: View) -> list[RowSource]:
    """Everything that a reader of the history sees, by name. A segment that stands there twice counts once."""
    root = view.root
    held = [one for one in view.manifest.segments if one.path not in view.aside]
    found: dict[str, RowSource] = {stored.name: stored for stored in (_stored(root, one) for one in held)}
    found |= {name: Tail(name, log, chunk) for log, chunk in view.chunks for name in [of_chunk(log, chunk)]}
    return [found[name] for name in sorted(found)]


def _stored(root: Path, one: Segment) -> Stored:
    path = root / one.path
    span = None if one.time_min is None or one.time_max is None else (one.time_min, one.time_max)
    return Stored(of_segment(one.table, one.sha256 or _hash(path)), one.table, lambda: path, span, one)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
