"""history/log/tail.py: what DuckDB reads of the log without PyArrow is what PyArrow reads, or PyArrow decides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from firsthand.history.log import arrow, ipc, tail
from firsthand.history.log.chunk import Chunk
from firsthand.history.log.log import LogReader, LogWriter
from firsthand.history.store.connection import History
from firsthand.wire.batch import Batch
from tests import histories, samples


def _chunk(directory: Path, *batches: Batch) -> Chunk:
    with LogWriter(directory, samples.NODE, samples.BOOT) as log:
        log.append(batches, [])
    return list(LogReader(directory))[-1]


def _read(parts: list[tail.TailRows], table: str) -> list[dict[str, Any]]:
    """As DuckDB has them, in the table's full schema."""
    found = []
    with duckdb.connect() as connection:
        for source, columns in tail.sources(parts):
            connection.register("source", source)
            rows = connection.sql("SELECT * FROM source").to_arrow_table()
            assert tuple(rows.column_names) == tuple(columns)
            found += arrow.conform(table, rows).to_pylist()
    return found


@pytest.mark.parametrize(
    "batch", [samples.process_lives(50), samples.loss(), samples.hostile()], ids=["lives", "loss", "hostile"]
)
def test_the_same_rows(tmp_path: Path, batch: Batch) -> None:
    """Law: every value of every column, twice where it stands in two chunks; chunks of the same columns become one source."""
    chunk = _chunk(tmp_path, batch)
    ((name, rows),) = tail.of_chunk(chunk)
    assert (name, rows.table) == (batch.table, None)
    ((_, expected),) = arrow.tables(chunk)
    assert _read([rows, rows], batch.table) == expected.to_pylist() * 2
    assert len(list(tail.sources([rows, rows]))) == 1


def test_other_columns_are_another_source(tmp_path: Path) -> None:
    """Law: rows that were written with fewer columns are read as they are."""
    chunk = _chunk(
        tmp_path, Batch.from_rows("loss", [{"events": 1}]), Batch.from_rows("loss", [{"cause": "x", "events": 2}])
    )
    parts = [rows for _, rows in tail.of_chunk(chunk)]
    found = [(row["cause"], row["events"]) for row in _read(parts, "loss")]
    assert sorted(found, key=str) == [("x", 2), (None, 1)] and len(list(tail.sources(parts))) == 2


@pytest.mark.parametrize("text", ["é", "日本語", "a\x00b", "🦀" * 50])
def test_texts_beyond_ascii(tmp_path: Path, text: str) -> None:
    """Law: any UTF-8 is read without PyArrow."""
    chunk = _chunk(tmp_path, Batch.from_rows("loss", [{"cause": text, "detail": "x"}, {"cause": "x", "detail": text}]))
    ((_, rows),) = tail.of_chunk(chunk)
    assert rows.table is None
    assert [(row["cause"], row["detail"]) for row in _read([rows], "loss")] == [(text, "x"), ("x", text)]


@pytest.mark.parametrize(
    ("text", "raw"),
    [(b"abcd", b"ab\xffd"), (b"abcdefgh", b"abc\xc3\xa9fgh")],
    ids=["no UTF-8", "a value that begins within a character"],
)
def test_texts_that_are_none(tmp_path: Path, text: bytes, raw: bytes) -> None:
    """Law: bytes that are no UTF-8, as a whole or cut into values, are never handed to DuckDB."""
    half = len(text) // 2
    batch = Batch.from_rows("loss", [{"cause": text[:half].decode()}, {"cause": text[half:].decode()}])
    stream = ipc.to_bytes(batch).replace(text, raw)
    assert stream != ipc.to_bytes(batch)
    assert tail._plain("loss", memoryview(stream), 2) is None


def test_a_question_needs_no_pyarrow(tmp_path: Path) -> None:
    """Law: a question to segments and tail loads neither PyArrow nor NumPy: they cost more than it does."""

    with LogWriter(tmp_path, samples.NODE, samples.BOOT) as log:
        log.append([samples.process_lives(2), samples.hostile()], [])
        histories.keep(tmp_path)
        log.append([samples.process_lives(2, first=2), samples.loss()], [])
    code = f"""
import sys
from click.testing import CliRunner
from firsthand.cli.ask import command
for question in ("processes", "pods", "tree", "privileged", "connected example.org", "talkers", "timeline 1000"):
    done = CliRunner().invoke(command, [*question.split(), "--history", {str(tmp_path)!r}], standalone_mode=False)
    assert done.exception is None and "evidence" in done.stdout, (question, done)
print(sorted(set(sys.modules) & {{"pyarrow", "numpy", "pandas"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_only_what_a_statement_names_is_defined(tmp_path: Path) -> None:
    """Law: a statement that is understood defines no table; by one that is not, a table is defined when it is first named."""
    histories.write(tmp_path, samples.process_lives(2))
    with History(tmp_path).connection() as connection:
        views = "SELECT view_name FROM duckdb_views() WHERE NOT internal"
        assert connection.execute("SELECT count(*) FROM process").fetchone() == (6,)
        raw = connection.duckdb
        raw.abort()
        assert not {name for (name,) in raw.execute(views).fetchall() if not name.startswith("_")}
        connection.execute("EXPLAIN SELECT count(*) FROM process")
        raw.abort()
        assert {name for (name,) in raw.execute(views).fetchall() if not name.startswith("_")} == {"process"}
        assert connection.execute("SELECT count(*) FROM process p, loss, (pod CROSS JOIN clock)").fetchall() == [(0,)]


@pytest.mark.parametrize(
    ("text", "all_of_them"),
    [
        ("SELECT exe FROM process ORDER BY time DESC LIMIT 1", False),
        ("SELECT count(*) FROM duckdb_columns()", True),
        ("SELECT count(*) FROM information_schema.tables", True),
        ("SHOW TABLES", True),
        ("FROM (DESCRIBE process)", True),
    ],
)
def test_the_catalog_has_all_tables(tmp_path: Path, text: str, all_of_them: bool) -> None:
    """Law: who asks what there is sees every table; who only sorts downwards does not pay for it."""
    histories.write(tmp_path, samples.process_lives(2))
    with History(tmp_path).connection() as connection:
        assert connection.execute(text).fetchall()
        connection.duckdb.abort()
        found = connection.duckdb.execute("SELECT count(*) FROM duckdb_views() WHERE view_name = 'clock'").fetchall()
    assert found == [(int(all_of_them),)]
