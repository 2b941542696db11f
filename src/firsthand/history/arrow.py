"""The tables as PyArrow knows them: schemas derived from TABLES, and any stream brought to its table's full schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pyarrow as pa

from firsthand.schema.tables import TABLES

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
    """The rows of one IPC stream (bytes or memoryview), with the columns that it holds."""
    return pa.ipc.open_stream(pa.py_buffer(stream)).read_all()


def conform(table: str, rows: pa.Table) -> pa.Table:
    """Rows in their table's full schema: missing columns null, order as in TABLES.

    Columns that this version does not know stay, behind the others; so does a table it does not know, as it is.
    """
    if table not in TABLES:
        return rows
    wanted = schema(table)
    columns = [_column(rows, field) for field in wanted]
    extra = [name for name in rows.column_names if name not in wanted.names]
    fields = [*wanted, *(rows.schema.field(name) for name in extra)]
    return pa.table([*columns, *(rows.column(name) for name in extra)], schema=pa.schema(fields))


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
    """Several tables in the full schema as one; an empty one where there are none."""
    if not parts:
        return schema(table).empty_table()
    return pa.concat_tables(parts, promote_options="default")


def row(table: str, values: Mapping[str, object]) -> pa.Table:
    """One row in the full schema, null where a value is missing."""
    fields = schema(table)
    return pa.table({f.name: pa.array([values.get(f.name)], f.type) for f in fields}, schema=fields)
