"""Which kinds of rows (column `event`) fill which column: from the kernel's records, and declared for what user space adds.

A column that no searched row can fill proves nothing by being empty (law 11).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from firsthand.schema.lock import columns_of
from firsthand.schema.tables import TABLES
from firsthand.subjects import registry

if TYPE_CHECKING:
    from firsthand.schema.layout import Record


@cache
def kinds(table: str) -> tuple[str, ...]:
    """Every kind of row of a table."""
    if declared := registry.TABLES[table].kinds:
        return declared
    return tuple(record.event for record in _records(table))


@cache
def columns(table: str) -> dict[str, tuple[str, ...]]:
    """The kinds of rows that fill each column of a table; a column that all may fill has all of them."""
    found: dict[str, list[str]] = {}
    for record in _records(table):
        for field in record.fields:
            for column in columns_of(field):
                found.setdefault(column.name, []).append(record.event)
    derived = {name: tuple(dict.fromkeys(events)) for name, events in found.items()}
    return {name: kinds(table) for name in TABLES[table].names} | derived | dict(registry.TABLES[table].fills)


def _records(table: str) -> list[Record]:
    from firsthand.schema import layout  # BTF, which few questions need

    return [record for _, record in sorted(layout.installed().records.items()) if record.table == table]
