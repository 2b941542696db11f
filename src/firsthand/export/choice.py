"""What goes out: which tables, rows and columns, decided on Arrow columns, before any row becomes an object."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from firsthand import settings
from firsthand.ask.selector import Requirement
from firsthand.errors import UsageError
from firsthand.schema import capability, flags
from firsthand.schema.tables import KEPT
from firsthand.settings.sections.top import Top
from firsthand.subjects.column import Column

#: Rows of this table go out whatever narrows the others: what is missing must be told to everyone who relies on the rest.
ALWAYS = "loss"


@dataclass(frozen=True)
class Choice:
    """What is wanted; None or empty: everything. `where` by column, the value as text; times UTC, both included."""

    tables: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None
    namespace: str | None = None
    pod: str | None = None
    selector: tuple[Requirement, ...] = ()
    flags: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    fields: tuple[str, ...] = ()

    def takes(self, table: str) -> bool:
        """Whether rows of a table may go out."""
        return not self.tables or table in self.tables

    def rows(self, table: str, rows: pa.Table, labels: Mapping[str, Mapping[str, str]]) -> pa.Table:
        """The wanted rows, all columns; `labels` by pod uid or container id."""
        rows = self._within(rows)
        if table == ALWAYS or not rows.num_rows:
            return rows
        for column, value in self._equal():
            rows = _equals(table, rows, column, value)
        if self.pod is not None:
            rows = rows.filter(_either(rows, ("pod", "pod_uid"), self.pod)) if rows.num_rows else rows
        if self.flags:
            rows = _flagged(rows, self.flags)
        return self._selected(rows, labels) if self.selector else rows

    def columns(self, table: str, rows: pa.Table) -> pa.Table:
        """The wanted columns of those rows, in the order that was asked for."""
        if not self.fields or table == ALWAYS:
            return rows
        return rows.select([name for name in self.fields if name in rows.column_names])

    def _equal(self) -> Iterable[tuple[str, str]]:
        return (*self.where, *((("namespace", self.namespace),) if self.namespace is not None else ()))

    def _within(self, rows: pa.Table) -> pa.Table:
        for moment, compare in ((self.since, pc.greater_equal), (self.until, pc.less_equal)):
            if moment is not None and "time" in rows.column_names:
                rows = rows.filter(compare(rows["time"], pa.scalar(moment.replace(tzinfo=None), pa.timestamp("us"))))
        return rows

    def _selected(self, rows: pa.Table, labels: Mapping[str, Mapping[str, str]]) -> pa.Table:
        keys = [key for key, found in labels.items() if all(one.takes(found) for one in self.selector)]
        chosen = pa.array(keys, pa.string())
        masks = [pc.is_in(rows[name], chosen) for name in ("pod_uid", "container") if name in rows.column_names]
        return rows.filter(_any(masks, rows.num_rows))


def _either(rows: pa.Table, names: Sequence[str], value: str) -> Any:
    return _any([pc.equal(rows[name], value) for name in names if name in rows.column_names], rows.num_rows)


def _any(masks: Sequence[Any], length: int) -> Any:
    found: Any = pa.chunked_array([pa.repeat(pa.scalar(False), length)])
    for mask in masks:
        found = pc.or_(found, pc.fill_null(mask, False))
    return found


def _flagged(rows: pa.Table, wanted: Sequence[str]) -> pa.Table:
    """Rows with one of the flags, stored or derived (schema/flags.py)."""
    if "flag_names" not in rows.column_names:
        return rows.slice(0, 0)
    padded = pc.binary_join_element_wise("", rows["flag_names"], "", ",")
    masks = [pc.match_substring(padded, f",{flag},") for flag in wanted if flag not in flags.DERIVED]
    if set(wanted) & set(flags.DERIVED) and set(flags.COLUMNS) <= set(rows.column_names):
        ordinary = capability.bits(settings.load()[Top].ordinary_capabilities)
        told = rows.select(flags.COLUMNS).to_pylist()
        masks.append(pa.array([bool(set(flags.of(row, ordinary)) & set(wanted)) for row in told], pa.bool_()))
    return rows.filter(_any(masks, rows.num_rows))


def _equals(table: str, rows: pa.Table, column: str, value: str) -> pa.Table:
    """The rows whose column has that value; none where the table has no such column."""
    if column not in rows.column_names:
        return rows.slice(0, 0)
    typed = value_of(KEPT[table].column(column), value) if table in KEPT else value
    field = rows.schema.field(column)
    if pa.types.is_list(field.type):
        held = [typed in (items or ()) for items in rows[column].to_pylist()]
        return rows.filter(pa.array(held, pa.bool_()))
    return rows.filter(pc.equal(rows[column], pa.scalar(typed, field.type)))


def value_of(column: Column, text: str) -> Any:
    """A value of --where in its column's type. UsageError where it is none."""
    try:
        if column.type.startswith("int"):
            return int(text)
        if column.type == "bool":
            return {"true": True, "false": False}[text]
        if column.type == "time":
            return datetime.fromisoformat(text).replace(tzinfo=None)
    except (ValueError, KeyError):
        raise UsageError(f"--where {column.name}: expected a value of type {column.type}, found {text!r}") from None
    return text.encode() if column.type == "bytes" else text


def check_tables(names: Iterable[str]) -> frozenset[str]:
    """The tables of those names. UsageError, with the nearest, for one that there is not."""
    for name in names:
        if name not in KEPT:
            raise UsageError(f"--table: no table {name!r}; {_nearest(name, KEPT)}there are {', '.join(KEPT)}")
    return frozenset(names)


def check_column(option: str, name: str, tables: frozenset[str]) -> list[Column]:
    """The columns of that name in the chosen tables (none: all). UsageError, with the nearest, where there is none."""
    among = [table for table in KEPT.values() if not tables or table.name in tables]
    found = [column for table in among for column in table.columns if column.name == name]
    if not found:
        known = {column.name for table in among for column in table.columns}
        where = ", ".join(sorted(tables)) or "any table"
        raise UsageError(f"{option}: no column {name!r} in {where}; {_nearest(name, known)}docs/events.md has them all")
    return found


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 1, 0.5)
    return f"did you mean {near[0]}? " if near else ""
