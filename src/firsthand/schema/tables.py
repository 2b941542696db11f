"""Every table of the history, as locked (lock.json, generated from the objects' BTF and own.py)."""

from __future__ import annotations

from firsthand.schema.column import Table
from firsthand.schema.lock import load

TABLES: dict[str, Table] = load()
