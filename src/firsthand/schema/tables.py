"""Every table, as locked (lock.json, generated from the objects' BTF and from what the subjects declare)."""

from __future__ import annotations

from firsthand.schema.lock import load
from firsthand.subjects import registry
from firsthand.subjects.column import Table

TABLES: dict[str, Table] = load()
#: Those that the history holds.
KEPT: dict[str, Table] = {name: table for name, table in TABLES.items() if registry.TABLES[name].kept}
