"""A column and a table: the two words in which every stored thing is described."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from firsthand.errors import SchemaError

#: Column types and what they are elsewhere: (NumPy dtype of the values, Arrow's name, DuckDB's name).
TYPES: dict[str, tuple[str, str, str]] = {
    "int16": ("int16", "int16", "SMALLINT"),
    "int32": ("int32", "int32", "INTEGER"),
    "int64": ("int64", "int64", "BIGINT"),
    "bool": ("uint8", "bool", "BOOLEAN"),
    "time": ("int64", "timestamp[us]", "TIMESTAMP"),
    "text": ("", "string", "VARCHAR"),
    "bytes": ("", "binary", "BLOB"),
    "list": ("", "list<string>", "VARCHAR[]"),
}


@dataclass(frozen=True)
class Column:
    """One column. `type` is a key of TYPES; `unit` is empty for plain numbers and text."""

    name: str
    type: str
    doc: str
    unit: str = ""
    nullable: bool = True
    source: str = ""

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise SchemaError(f"column {self.name}: type {self.type!r} is none of {', '.join(TYPES)}")

    @property
    def sql_type(self) -> str:
        """The type's name in DuckDB."""
        return TYPES[self.type][2]


@dataclass(frozen=True)
class Table:
    """One table of the history: its columns in their stored order."""

    name: str
    doc: str
    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise SchemaError(f"table {self.name}: declared twice: {', '.join(doubled)}")

    def column(self, name: str) -> Column:
        """The column of that name; KeyError where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in stored order."""
        return tuple(column.name for column in self.columns)


def by_name(tables: Iterable[Table]) -> dict[str, Table]:
    """Tables keyed by name."""
    return {table.name: table for table in tables}
