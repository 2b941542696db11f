"""The record belongs to its owner: DuckDB alone reads what `firsthand sql` reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from firsthand.schema.tables import TABLES
from tests import require
from tests.cgroups import TestCgroup
from tests.kernel.observed import Observed

_ALONE = """
import duckdb, json, sys
rows = duckdb.sql(sys.argv[1])
print(json.dumps([[str(value) for value in row] for row in rows.fetchall()]))
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The history of a run that is over."""
    require.bpf()
    history = tmp_path_factory.mktemp("reading") / "history"
    with TestCgroup() as cgroup, Observed(history, [cgroup.path]):
        for number in range(20):
            cgroup.run(["/bin/sh", "-c", f"/bin/true {number} 'a\tb\nc' \xff; exit {number}"]).wait()
    return history


@pytest.mark.parametrize("table", ["process", "container", "observer", "clock"])
def test_duckdb_alone_gets_the_same_rows(ended: Path, table: str) -> None:
    """All rows of all stored columns of each table; the view adds the ids as one text."""
    columns = [column.name for column in TABLES[table].columns]
    names = ", ".join(f'CAST("{name}" AS VARCHAR) AS "{name}"' for name in columns)
    segments = ended / "current" / table / "**" / "*.parquet"
    query = f"SELECT {names} FROM {{}} ORDER BY ALL"
    alone = [sys.executable, "-I", "-c", _ALONE, query.format(f"read_parquet('{segments}')")]
    ours = [sys.executable, "-m", "firsthand", "sql", "-o", "json", query.format(table), "--history", str(ended)]
    read = json.loads(subprocess.run(alone, check=True, stdout=subprocess.PIPE).stdout)
    asked = json.loads(subprocess.run(ours, check=True, stdout=subprocess.PIPE).stdout)
    rows = asked["rows"] if isinstance(asked, dict) else asked
    assert [[str(row[name]) for name in columns] for row in rows] == read
    assert len(read) >= (100 if table == "process" else 1)
