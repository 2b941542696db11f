"""schema/filled.py: which kinds of rows fill which column."""

from __future__ import annotations

import pytest

from firsthand.schema import filled
from firsthand.schema.tables import TABLES
from firsthand.subjects import registry


@pytest.mark.parametrize("table", [table for table in sorted(registry.TABLES) if filled.kinds(table)])
def test_every_column_is_filled_by_kinds_of_its_table(table: str) -> None:
    """None is filled by nothing, or by what no row of the table is."""
    kinds = filled.kinds(table)
    found = filled.columns(table)
    assert len(set(kinds)) == len(kinds) and set(found) >= set(TABLES[table].names)
    for name, events in found.items():
        assert events and set(events) <= set(kinds), f"{table}.{name}: {events}"


def test_what_only_one_moment_knows() -> None:
    """Arguments at the exec, the exit code at the end; a folded row has both, and common columns are in every kind."""
    found = filled.columns("process")
    assert (
        "exec" in found["args"]
        and "folded" in found["args"]
        and "exit" not in found["args"]
        and "fork" not in found["args"]
    )
    assert {"exit", "folded"} <= set(found["exit_code"]) and "exec" not in found["exit_code"]
    assert set(found["exec_tgid"]) == set(found["time"]) == set(filled.kinds("process"))


def test_of_connections() -> None:
    """Only a folded row says how many it stands for; bytes are in the rows of the ends."""
    found = filled.columns("connection")
    assert found["folded_count"] == ("folded",) and "close" in found["bytes_sent"]
