"""The lock is what the objects say, and only ever grows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from firsthand.errors import SchemaError
from firsthand.schema import layout, lock, reference
from firsthand.schema.tables import TABLES
from firsthand.subjects.column import TYPES, Column, Table


def test_the_lock_is_as_generated() -> None:
    """Deriving the tables from the objects' BTF gives the committed lock."""
    derived = lock.merge(lock.load(), lock.derive(layout.installed()))
    assert lock.PATH.read_text() == lock.render(derived)


def test_the_reference_is_as_generated() -> None:
    """The event reference is what the lock says."""
    assert (Path(__file__).parents[3] / reference.PATH).read_text() == reference.render()


def test_every_kernel_field_is_a_documented_column() -> None:
    """Each field of each record becomes columns with a doc, of a type that every engine reads."""
    for record in layout.installed().records.values():
        for field in record.fields:
            for column in lock.columns_of(field):
                found = TABLES[record.table].column(column.name)
                assert found.doc and found.type in TYPES


def test_every_table_begins_with_the_common_columns() -> None:
    """Names and types of the first columns are the same everywhere."""
    first = [table.columns[:20] for table in TABLES.values()]
    assert all([(c.name, c.type) for c in columns] == [(c.name, c.type) for c in first[0]] for columns in first)


def test_columns_are_only_appended() -> None:
    """A new column goes behind the locked ones; a lost or retyped one is refused."""
    a, b, c = (Column(name, "int64", "doc") for name in "abc")
    merged = lock.merge({"t": Table("t", "", (a, b))}, {"t": Table("t", "", (c, b, a))})
    assert merged["t"].names == ("a", "b", "c")
    with pytest.raises(SchemaError, match="only ever appended"):
        lock.merge({"t": Table("t", "", (a, b))}, {"t": Table("t", "", (a,))})
    with pytest.raises(SchemaError, match="only ever appended"):
        lock.merge({"t": Table("t", "", (a,))}, {"t": Table("t", "", (replace(a, type="text"),))})


def test_the_layout_number_follows_the_layout() -> None:
    """Any change of a field's place changes the layout's hash."""
    found = layout.installed()
    kind, record = next(iter(found.records.items()))
    moved = replace(record, fields=(replace(record.fields[0], offset=4096), *record.fields[1:]))
    other = layout.Layout({**found.records, kind: moved}, found.enums)
    assert other.hash != found.hash and found.number == int(found.hash[:8], 16)
