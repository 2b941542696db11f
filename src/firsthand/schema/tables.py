"""Every table, as locked (lock.json, generated from the objects' BTF and own.py)."""

from __future__ import annotations

from firsthand.schema import own
from firsthand.schema.column import Table
from firsthand.schema.lock import load

TABLES: dict[str, Table] = load()
#: Those that the history holds.
KEPT: dict[str, Table] = {name: table for name, table in TABLES.items() if name not in own.PASSING}
