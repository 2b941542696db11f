"""Rows as lines of JSON: one object per row, its table first, nulls left out.

Times are ISO 8601 in UTC with microseconds and Z, integers beyond 2^53 text (RFC 8259, 6: what every reader takes exactly),
bytes text with what is not UTF-8 as \\xNN.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from firsthand.ask import show

_WIDE = 8  # bytes of an int64


def lines(table: str, rows: pa.Table) -> Iterator[bytes]:
    """Each row as one line with its newline."""
    for values in objects(rows):
        yield orjson.dumps({"table": table, **values}, option=orjson.OPT_APPEND_NEWLINE)


def line(record: dict[str, Any]) -> bytes:
    """One record that is no row (a heartbeat, a gap) as a line."""
    return orjson.dumps({key: plain(value) for key, value in record.items()}, option=orjson.OPT_APPEND_NEWLINE)


def objects(rows: pa.Table) -> Iterator[dict[str, Any]]:
    """Each row as an object of plain values without its nulls. What can be is turned column by column."""
    names: list[str] = []
    columns: list[list[Any]] = []
    for name in rows.column_names:
        column = rows[name]
        if column.null_count < rows.num_rows:
            names.append(name)
            columns.append(values(column))
    if not columns:
        yield from ({} for _ in range(rows.num_rows))
    for row in zip(*columns, strict=True):
        yield {name: value for name, value in zip(names, row, strict=True) if value is not None}


def values(column: Any) -> list[Any]:
    """A column's values as JSON takes them."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = pc.strftime(column, "%Y-%m-%dT%H:%M:%SZ")  # %S has the microseconds
    found: list[Any] = column.to_pylist()
    if pa.types.is_binary(kind) or (pa.types.is_integer(kind) and kind.bit_width == _WIDE * 8 and _wide(column)):
        return [show.plain(value) for value in found]
    return found


def _wide(column: Any) -> bool:
    """Whether a number is in it that not every reader of JSON takes exactly."""
    ends = pc.min_max(column).as_py()
    return ends["min"] is not None and max(-ends["min"], ends["max"]) > show.SAFE_INTEGER


def plain(value: Any) -> Any:
    """As show.plain, and moments with a zone as those without."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    return show.plain(value)
