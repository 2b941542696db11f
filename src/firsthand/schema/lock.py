"""The lock file: every table as derived from the objects' BTF and from what the subjects declare. Columns are only ever appended.

`python -m firsthand.schema.lock` writes it anew; `--check` fails where it differs from what the objects say.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firsthand.errors import SchemaError
from firsthand.subjects.column import Column, Table
from firsthand.subjects.columns import COMMON
from firsthand.subjects.declare import SubjectTable
from firsthand.subjects.registry import TABLES

if TYPE_CHECKING:
    from firsthand.schema.layout import Field, Layout

PATH = Path(__file__).with_name("lock.json")
_INTEGERS = {1: "int16", 2: "int32", 4: "int64", 8: "int64"}


def load() -> dict[str, Table]:
    """The tables as locked. SchemaError where the lock is missing or unreadable."""
    try:
        raw: dict[str, Any] = json.loads(PATH.read_text())
    except (OSError, ValueError) as error:
        raise SchemaError(f"{PATH}: {error}; install Firsthand again") from error
    return {name: _table(name, table) for name, table in raw["tables"].items()}


def _table(name: str, raw: dict[str, Any]) -> Table:
    return Table(name, raw["doc"], tuple(Column(**column) for column in raw["columns"]))


def derive(found: Layout) -> dict[str, Table]:
    """The tables that a layout and the subjects give, without regard to the lock's order."""
    return {name: Table(name, one.doc, _columns(one, found)) for name, one in TABLES.items()}


def _columns(table: SubjectTable, found: Layout) -> tuple[Column, ...]:
    columns = {column.name: column for column in (*COMMON, *table.columns)}
    for record in found.records.values():
        if record.table == table.name:
            for field in record.fields:
                for column in columns_of(field):
                    columns.setdefault(column.name, column)
    return tuple(columns.values())


def columns_of(field: Field) -> list[Column]:
    """The columns that one field of a record becomes."""
    if field.name in ("length", "kind", "layout"):
        return []
    role = field.role.partition(":")[0]
    source = "kernel"
    if role == "environment":
        return [
            Column(f"{field.name}_names", "list", field.doc, source=source),
            Column(
                f"{field.name}_values", "list", "NAME=value of the allow-listed names; none by default", source=source
            ),
        ]
    if role == "list":
        return [Column(field.name, "list", field.doc, source=source), _original(field.name)]
    if role == "bytes":
        return [Column(field.name, "bytes", field.doc, source=source)]
    if role in ("set", "enum", "device", "address"):
        return [Column(field.name, "text", field.doc, source=source)]
    if role == "bool":
        return [Column(field.name, "bool", field.doc, source=source)]
    if field.kind in ("text", "char"):
        return [Column(field.name, "text", field.doc, source=source), _original(field.name)]
    return _numbers(field, role, source)


def _numbers(field: Field, role: str, source: str) -> list[Column]:
    kind = _INTEGERS[field.size] if field.kind == "uint" else f"int{field.size * 8}"
    columns = [Column(field.name, kind, field.doc, field.unit, source=source)]
    if role == "flags":
        name = f"{field.name.removesuffix('s')}_names"
        columns.append(Column(name, "text", f"names of the bits in {field.name}, comma separated", source=source))
    return columns


def _original(name: str) -> Column:
    doc = f"the very bytes of {name}, only where they are not UTF-8; {name} then shows them escaped as \\xNN"
    return Column(f"{name}_bytes", "bytes", doc, source="kernel")


def merge(locked: dict[str, Table], derived: dict[str, Table]) -> dict[str, Table]:
    """Locked order first, new columns behind. SchemaError for a column that went away or changed its type."""
    merged = dict(derived)
    for name, table in locked.items():
        if name not in derived:
            raise SchemaError(f"table {name} is locked and no longer described; tables are only ever added")
        merged[name] = Table(name, derived[name].doc, _appended(table, derived[name]))
    return merged


def _appended(locked: Table, derived: Table) -> tuple[Column, ...]:
    now = {column.name: column for column in derived.columns}
    for column in locked.columns:
        if column.name not in now or now[column.name].type != column.type:
            raise SchemaError(
                f"{locked.name}.{column.name} is locked as {column.type} and now is "
                f"{now[column.name].type if column.name in now else 'gone'}: columns are only ever appended"
            )
    behind = tuple(column for column in derived.columns if column.name not in locked.names)
    return tuple(now[name] for name in locked.names) + behind


def render(tables: dict[str, Table]) -> str:
    """The lock file's text."""
    raw = {name: {"doc": t.doc, "columns": [asdict(c) for c in t.columns]} for name, t in sorted(tables.items())}
    return json.dumps({"tables": raw}, indent=1) + "\n"


def main(arguments: list[str]) -> int:
    """Write or check the lock; 1 where a check fails."""
    from firsthand.schema import layout

    locked = load() if PATH.exists() else {}
    text = render(merge(locked, derive(layout.installed())))
    if "--check" not in arguments:
        PATH.write_text(text)
        return 0
    if PATH.read_text() == text:
        return 0
    print(f"{PATH} differs from the objects' BTF: run `python -m firsthand.schema.lock` and review the change")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
