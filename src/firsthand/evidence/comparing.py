"""A bundle's rows held against its own sources: each stands in one, and all that were asked for are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from firsthand.errors import DamagedError
from firsthand.evidence import archive, documents, record, selection
from firsthand.evidence.archive import Archive
from firsthand.evidence.documents import About, Origin
from firsthand.evidence.selection import Selection
from firsthand.evidence.sources import UNREADABLE, RowSource, Stored, Tail, of_chunk
from firsthand.evidence.verdict import BundleVerdict
from firsthand.history.log import arrow, chunk
from firsthand.history.log.chunk import Position
from firsthand.schema.tables import KEPT

_BATCH = 65_536
#: What reading files of a stranger may raise.
_STRANGE = (*UNREADABLE, TypeError, AttributeError, OverflowError, RecursionError, MemoryError, duckdb.Error)


class Comparison:
    """Rows and completeness of a bundle; what is found goes into the verdict."""

    def __init__(self, bundle: Archive, about: About, origins: Sequence[Origin], found: BundleVerdict) -> None:
        self.bundle, self.about, self.found = bundle, about, found
        self.origins = {one.name: one for one in origins if one.kind == "chunk" or one.table in KEPT}
        if len(self.origins) < len(origins):
            found.unproven.append(
                "rows of tables that this version does not know: verify with the version that made it"
            )

    def rows(self) -> None:
        """The question asked again of the sources, against the rows; without sources, that each row names one."""
        opened: list[RowSource] = []
        chosen: Selection | None = None
        if self.about.segments:
            try:
                opened = [self._source(one) for one in self.origins.values()]
                chosen = selection.select(opened, self.about.question)
            except (DamagedError, *_STRANGE) as error:
                self.found.damage.append(f"the sources cannot be read, so no row can be held against them: {error}")
        for table in KEPT:
            self._table(table, opened, chosen)

    def record(self) -> None:
        """Whether what is told of completeness is what the rows say."""
        try:
            raw = documents.read_json(self.bundle, archive.COMPLETENESS)
            self.found.reasons = [str(reason) for reason in raw["reasons"]]
            rows = {table: self._whole(table) for table in record.ROWS}
            made = datetime.fromtimestamp(self.about.made / 1_000_000, UTC)
            own = record.read(rows, self.about.question, made, dict(raw["hooks"]))
            self.found.damage += record.contradictions(raw, own)
            self.found.complete = raw["complete"] is True
        except DamagedError as error:
            self.found.damage.append(str(error))
        except _STRANGE as error:
            self.found.damage.append(f"{archive.COMPLETENESS}: it cannot be held against the rows ({error!r:.200})")

    def _source(self, one: Origin) -> RowSource:
        if one.kind == "segment":
            return Stored(one.name, one.table or "", lambda: self.bundle.open(one.name))
        at = Position(one.file or 0, one.offset or 0)
        found = Tail(one.name, one.log or "", chunk.unpack(self.bundle.read(one.name), at))
        if of_chunk(found.log, found.chunk) != one.name or found.chunk.checksum != one.checksum:
            raise DamagedError(f"{one.name}: sources.json tells another place or checksum of it")
        return found

    def _table(self, table: str, opened: Sequence[RowSource], chosen: Selection | None) -> None:
        """One table's rows. Everything that reading a hostile file may raise is a finding."""
        name = f"rows/{table}.parquet"
        try:
            with self.bundle.open(name) as file, pq.ParquetFile(file) as rows:
                self._counted(table, rows)
                batches = (_read(table, batch) for batch in rows.iter_batches(_BATCH))
                if chosen is not None:
                    self._compare(table, batches, (chosen.rows(table, source) for source in opened))
                else:
                    self._named(name, batches)
        except DamagedError as error:
            self.found.damage.append(str(error))
        except _STRANGE as error:
            self.found.damage.append(f"{name}: it cannot be read ({error!r:.200})")

    def _counted(self, table: str, rows: pq.ParquetFile) -> None:
        count, told = rows.metadata.num_rows, self.about.rows.get(table)
        self.found.rows[table] = count
        if count != told:
            self.found.damage.append(f"rows/{table}.parquet: it has {count:,} rows, and bundle.json says {told}")
        strange = set(rows.schema_arrow.names) - set(selection.schema(table).names)
        if strange:
            self.found.unproven.append(
                f"rows/{table}.parquet: its columns {', '.join(sorted(strange))}, which this version lacks"
            )

    def _named(self, name: str, batches: Iterator[pa.Table]) -> None:
        for rows in batches:
            strange = set(pc.unique(rows["source"]).to_pylist()) - self.origins.keys()
            if strange:
                self.found.damage.append(
                    f"{name}: rows are of {min(map(str, strange))}, which is no source of this bundle"
                )
                return

    def _compare(self, table: str, batches: Iterator[pa.Table], expected: Iterator[pa.Table]) -> None:
        """Row by row, in order. The first difference is told."""
        left, at = selection.schema(table).empty_table(), 0
        for rows in batches:
            while left.num_rows < rows.num_rows and (more := next(expected, None)) is not None:
                left = pa.concat_tables([left, more])
            if not rows.equals(left.slice(0, rows.num_rows)):
                self.found.damage.append(_difference(table, rows, left, at))
                return
            left, at = left.slice(rows.num_rows), at + rows.num_rows
        missing = left.num_rows + sum(more.num_rows for more in expected)
        if missing:
            self.found.damage.append(
                f"rows/{table}.parquet: {missing:,} rows are missing that the sources have for this question"
            )

    def _whole(self, table: str) -> pa.Table:
        with self.bundle.open(f"rows/{table}.parquet") as file, pq.ParquetFile(file) as rows:
            return _read(table, rows.read())


def _read(table: str, rows: Any) -> pa.Table:
    """Rows in the form in which this version has them; a column that a bundle of before lacks is null."""
    found = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
    fields = selection.schema(table)
    whole = arrow.narrow(table, found, arrow.schema(table).names)
    return pa.table([*whole.columns, *(found[one.name].cast(one.type) for one in selection.PLACE)], schema=fields)


def _difference(table: str, rows: pa.Table, expected: pa.Table, at: int) -> str:
    """The first row that is not what the source has, in words."""
    name = f"rows/{table}.parquet"
    for index in range(rows.num_rows):
        here, there = rows.slice(index, 1), expected.slice(index, 1)
        if here.equals(there):
            continue
        where = f"{name}: row {at + index:,} ({here['source'][0]}, row {here['source_row'][0]})"
        if not there.num_rows or any(here[key][0] != there[key][0] for key in ("source", "source_row")):
            return f"{where}: this row is not asked for, stands out of order, or one before it is missing"
        columns = [key for key in here.column_names if not here[key].equals(there[key])]
        return f"{where}: it was changed: {', '.join(columns)} differ from its source"
    return f"{name}: rows from {at:,} on are not those of the sources"
