"""The tables as PyArrow knows them: schemas derived from TABLES, and any stream brought to its table's full schema."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from firsthand.errors import DamagedError
from firsthand.history.log.chunk import Chunk
from firsthand.history.log.tail import FIRST, LAST
from firsthand.schema.tables import TABLES

#: What Arrow raises for bytes that are none of its own.
_UNREADABLE = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, NotImplementedError)
_TYPES: dict[str, Any] = {
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "time": pa.timestamp("us"),
    "text": pa.string(),
    "bytes": pa.binary(),
    "list": pa.list_(pa.field("item", pa.string())),
}


@cache
def schema(table: str) -> pa.Schema:
    """A table's columns in stored order, all nullable."""
    return pa.schema([pa.field(column.name, _TYPES[column.type]) for column in TABLES[table].columns])


def read(stream: Any) -> pa.Table:
    """The rows of one IPC stream (bytes or memoryview), with the columns that it holds. DamagedError where it is none.

    Everything in it is looked at: Arrow itself follows whatever offset it finds (Columnar.rst, "Security considerations").
    """
    try:
        found = pa.ipc.open_stream(pa.py_buffer(stream)).read_all()
        found.validate(full=True)
    except _UNREADABLE as error:
        raise DamagedError(f"its rows are no Arrow stream ({error})") from error
    return found


def tables(chunk: Chunk, wanted: Collection[str] = ()) -> list[tuple[str, pa.Table]]:
    """The rows of a chunk by table (`wanted`: only these), in their full schema, in the order of the append.

    DamagedError where they are none, though the chunk's checksum holds: then whoever wrote it wrote something else.
    """
    return _tables(chunk, wanted, conform)


def parts(chunk: Chunk) -> list[tuple[str, pa.Table]]:
    """As `tables`, with the columns that the chunk holds: `together` adds the missing ones, once for many chunks."""
    return _tables(chunk, (), _as_typed)


def _tables(
    chunk: Chunk, wanted: Collection[str], formed: Callable[[str, pa.Table], pa.Table]
) -> list[tuple[str, pa.Table]]:
    try:
        return [
            (name, _timely(name, formed(name, _counted(read(stream), rows))))
            for (name, rows, _), (_, stream) in zip(chunk.header.tables, chunk.streams(), strict=True)
            if not wanted or name in wanted
        ]
    except (DamagedError, *_UNREADABLE) as error:
        at = f"log file {chunk.position.file:016d}.log is damaged at offset {chunk.position.offset}"
        raise DamagedError(f"{at}: {error}; the rows of that chunk are lost") from error


def _counted(rows: pa.Table, expected: int) -> pa.Table:
    if rows.num_rows != expected:
        raise DamagedError(f"it holds {rows.num_rows} rows of a table, and its header says {expected}")
    return rows


def _timely(table: str, rows: pa.Table) -> pa.Table:
    """The rows, if calendars know all their times: partitions are named by days."""
    for place in _shape(table, rows.schema).times:
        ends = pc.min_max(rows.column(place).cast(pa.int64())).as_py()
        if ends["min"] is not None and not FIRST <= ends["min"] <= ends["max"] <= LAST:
            raise DamagedError(f"it holds a time beyond all calendars, {ends['min']} or {ends['max']} microseconds")
    return rows


def conform(table: str, rows: pa.Table) -> pa.Table:
    """Rows in their table's full schema: missing columns null, order as in TABLES.

    Columns that this version does not know stay, behind the others; so does a table it does not know, as it is.
    """
    if table not in TABLES:
        return rows
    wanted, known = schema(table), _known(table)
    columns = [_column(rows, field) for field in wanted]
    extra = [name for name in rows.column_names if name not in known]
    fields = [*wanted, *(rows.schema.field(name) for name in extra)]
    return pa.table([*columns, *(rows.column(name) for name in extra)], schema=pa.schema(fields))


@cache
def _known(table: str) -> frozenset[str]:
    return frozenset(schema(table).names)


def _as_typed(table: str, rows: pa.Table) -> pa.Table:
    """Rows whose columns are of their table's types as they are, others conformed: what cannot be is this chunk's fault."""
    return rows if _shape(table, rows.schema).typed else conform(table, rows)


@dataclass(frozen=True)
class _Shape:
    """A schema, whether its columns are of their table's types, and the places of its times."""

    schema: pa.Schema
    typed: bool
    times: tuple[int, ...]


#: The last one that was met of each table: chunks of a writer are mostly alike, and a hundred columns take long to look at.
_SHAPES: dict[str, _Shape] = {}
_MOST_SHAPES = 64


def _shape(table: str, found: pa.Schema) -> _Shape:
    known = _SHAPES.get(table)
    if known is None or not known.schema.equals(found):
        if len(_SHAPES) >= _MOST_SHAPES:
            _SHAPES.clear()
        times = tuple(place for place, field in enumerate(found) if pa.types.is_timestamp(field.type))
        known = _SHAPES[table] = _Shape(found, _typed(table, found), times)
    return known


def _typed(table: str, found: pa.Schema) -> bool:
    if table not in TABLES:
        return True
    wanted = schema(table)
    return len(set(found.names)) == len(found.names) and all(
        field.type == wanted.field(field.name).type for field in found if field.name in _known(table)
    )


def narrow(table: str, rows: pa.Table, names: Sequence[str]) -> pa.Table:
    """Some columns of a table's rows as its schema has them, missing ones null; names that it does not know are left out."""
    fields = [field for field in schema(table) if field.name in names]
    return pa.table([_column(rows, field) for field in fields], schema=pa.schema(fields))


def _column(rows: pa.Table, field: pa.Field) -> Any:
    index = rows.schema.get_field_index(field.name)
    if index < 0:
        return pa.nulls(rows.num_rows, field.type)
    column = rows.column(index)
    return column if column.type == field.type else column.cast(field.type)


def together(table: str, parts: Sequence[pa.Table]) -> pa.Table:
    """Several parts of a table as one, in the full schema; an empty one where there are none."""
    if not parts:
        return schema(table).empty_table()
    return conform(table, pa.concat_tables(parts, promote_options="default"))


def row(table: str, values: Mapping[str, object]) -> pa.Table:
    """One row in the full schema, null where a value is missing."""
    fields = schema(table)
    return pa.table({f.name: pa.array([values.get(f.name)], f.type) for f in fields}, schema=fields)
