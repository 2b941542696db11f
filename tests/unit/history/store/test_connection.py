"""history/store/connection.py and snapshot.py: every row once, unchanged, and no way to write."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from firsthand.errors import FirsthandError, HistoryError, UsageError
from firsthand.history.log import arrow, ipc
from firsthand.history.log.log import LogWriter
from firsthand.history.names import peers_sql
from firsthand.history.store.connection import History, computed
from firsthand.schema.tables import KEPT
from firsthand.wire.batch import Batch
from tests import histories, samples


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """A history of 200 lives: half in segments, half in the log."""
    with LogWriter(tmp_path, "n", "b") as writer:
        writer.append([samples.process_lives(100), samples.observed()], [])
        keep(tmp_path)
        writer.append([samples.process_lives(100, first=100), samples.loss()], [])
    return tmp_path


def keep(directory: Path) -> None:
    histories.keep(directory, linger=0, last=False)


def table(directory: Path, sql: str) -> pa.Table:
    with History(directory).sql(sql) as result:
        return result.table()


def test_segments_and_tail_are_one_table(half: Path) -> None:
    """Law: rows in segments and rows still in the log are one table, each row once."""
    found = table(half, "SELECT count(*) n, count(DISTINCT exec_id || event) d FROM process").to_pylist()
    assert found == [{"n": 600, "d": 600}]
    assert table(half, "SELECT * FROM loss").num_rows == 1


def test_no_history(tmp_path: Path) -> None:
    """Law: asking a directory without a history says so and what to do; nothing is created there."""
    history = History(tmp_path / "none")
    assert not history.exists
    with pytest.raises(HistoryError, match="firsthand run"):
        history.sql("SELECT 1")
    assert not (tmp_path / "none").exists()


def test_columns_types_and_comments(half: Path) -> None:
    """Law: a view has its table's columns, types and docs in order, then the ids as text, and no partition column."""
    connection = History(half).connection()
    for found in KEPT.values():
        rows = connection.execute(
            "SELECT column_name, data_type, comment FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index",
            [found.name],
        ).fetchall()
        more = [(name, "VARCHAR", doc) for name, (_, doc) in computed(found.name).items()]
        assert rows == [*((c.name, c.sql_type, c.doc) for c in found.columns), *more]


def test_ids_as_text(half: Path) -> None:
    """Law: exec_id is BOOT8:TGID:START:NUMBER, null where the process is unknown; the exec's predecessor likewise."""
    sql = "SELECT exec_id, parent_exec_id, previous_exec_id FROM process WHERE exec_tgid = 1004 AND event = 'exec'"
    start, parent = samples.KTIME + 12_000_000, samples.KTIME + 3_000_000
    assert table(half, sql).to_pylist() == [
        {
            "exec_id": f"1f2e3d4c:1004:{start}:8",
            "parent_exec_id": f"1f2e3d4c:1001:{parent}:8",
            "previous_exec_id": f"1f2e3d4c:1004:{start}:7",
        }
    ]
    assert table(half, "SELECT exec_id FROM loss").to_pylist() == [{"exec_id": None}]


def test_duckdb_alone_reads_the_same(half: Path) -> None:
    """Law: once everything is handed over, read_parquet of current/ gives the same rows as `firsthand sql`."""
    names = ", ".join(KEPT["process"].names)
    before = table(half, f"SELECT {names} FROM process ORDER BY seq, cpu")
    keep(half)
    after = table(half, f"SELECT {names} FROM process ORDER BY seq, cpu")
    read = f"read_parquet('{half}/current/process/**/*.parquet')"
    alone = duckdb.connect().sql(f"SELECT {names} FROM {read} ORDER BY seq, cpu")
    assert before.to_pylist() == after.to_pylist() == alone.to_arrow_table().to_pylist()
    assert after.schema == before.schema


def test_hostile_bytes_survive(tmp_path: Path) -> None:
    """Law: newlines, escapes, quotes, NUL and bytes that are not UTF-8 are the same in batch, log, Parquet and SQL."""
    batch = samples.hostile()
    wanted = arrow.read(ipc.to_bytes(batch)).to_pylist()
    names = ", ".join(batch.columns)
    histories.write(tmp_path, batch, node="n'; DROP TABLE process; --")
    sql = f"SELECT {names} FROM process ORDER BY time"
    ordered = [{name: row[name] for name in batch.columns} for row in wanted]
    assert table(tmp_path, sql).to_pylist() == ordered
    keep(tmp_path)
    assert table(tmp_path, sql).to_pylist() == ordered


@pytest.mark.parametrize("moment", [0, 1, 999_999, 1_772_366_400_000_001, -1, 4_102_444_799_999_999])
def test_times_are_exact(tmp_path: Path, moment: int) -> None:
    """Law: a time is the same microsecond in the log and in the segment, without a zone."""
    histories.write(tmp_path, Batch.from_rows("clock", [{"time": moment, "ktime": 1}]))
    for _ in range(2):
        assert table(tmp_path, "SELECT epoch_us(time) t FROM clock").to_pylist() == [{"t": moment}]
        keep(tmp_path)


def test_an_older_segment_lacks_columns(half: Path) -> None:
    """Law: columns are only ever appended: a segment written before one was has null there."""
    import pyarrow.parquet as pq

    path = next((half / "current/process").glob("**/*.parquet"))
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["core_dumped", "args"]), path)
    with sqlite3.connect(half / "manifest.db") as book:  # as the version that wrote it would have noted it
        told = (
            path.stat().st_size,
            hashlib.sha256(path.read_bytes()).hexdigest(),
            str(path.relative_to(half / "current")),
        )
        assert book.execute("UPDATE segments SET bytes = ?, sha256 = ? WHERE path = ?", told).rowcount == 1
    book.close()
    found = table(half, "SELECT count(*) n, count(args) a FROM process").to_pylist()
    assert found == [{"n": 600, "a": 100}]


@pytest.mark.parametrize(
    "text",
    [
        "COPY (SELECT 1) TO '{0}/x'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{0}/x'",
        "EXPLAIN /* x */ ANALYZE COPY (SELECT 1) TO '{0}/x'",
        "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{0}/x'",
        "WITH x AS (COPY (SELECT 1) TO '{0}/x') SELECT * FROM x",
        "WITH x AS MATERIALIZED (COPY (SELECT 1) TO '{0}/x') SELECT * FROM x",
        "EXPLAIN ANALYZE WITH x AS (COPY (SELECT 1) TO '{0}/x') SELECT * FROM x",
        "SELECT 1) ; COPY (SELECT 1) TO '{0}/x'; SELECT (1",
        "SELECT 1; SELECT 2",
        "ATTACH '{0}/x'",
        "PRAGMA version",
        "SET memory_limit = '10GB'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "CREATE TABLE x AS SELECT 1",
        "DROP VIEW process",
        "INSERT INTO process (time) VALUES (NULL)",
        "CALL pragma_version()",
        "EXPORT DATABASE '{0}/x'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT nothing FROM process",
        "SELEC 1",
        "",
        "-- nothing",
    ],
)
def test_users_sql_only_reads(half: Path, text: str) -> None:
    """Law: anything but one SELECT, or an EXPLAIN of one, is wrong usage; nothing is written, read or changed by it."""
    with pytest.raises(UsageError):
        table(half, text.format(half))
    assert not (half / "x").exists()


@pytest.mark.parametrize(
    "text",
    [
        "EXPLAIN SELECT * FROM process",
        "explain analyze select 1",
        "FROM process LIMIT 1",
        "DESCRIBE process",
        "VALUES (1);",
    ],
)
def test_what_reads_is_allowed(half: Path, text: str) -> None:
    """Law: every form of a question is allowed."""
    assert table(half, text).num_rows


def test_time_and_memory_are_bounded(half: Path) -> None:
    """Law: a statement that runs too long or needs too much memory ends with an error that says so."""
    with (
        pytest.raises(HistoryError, match="stopped after"),
        History(half).sql("SELECT sum(sqrt(range)) FROM range(1000000000000)", seconds=0.2) as result,
    ):
        result.table()
    with (
        pytest.raises(HistoryError, match="memory"),
        History(half, memory="16MB").sql("SELECT list(range) FROM range(100000000)") as result,
    ):
        result.table()


def test_what_is_made_for_a_statement_is_within_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: tables that are made before a statement runs (which addresses anybody held) are interrupted as it is."""
    heavy = f"{peers_sql.ADDRESSES} UNION ALL SELECT sum(sqrt(range))::VARCHAR FROM range(1000000000000)"
    monkeypatch.setattr(peers_sql, "ADDRESSES", heavy)
    row = {"time": samples.START, "node": "n", "boot": "b", "event": "connect", "peer_address": "10.0.0.1"}
    histories.write(tmp_path, Batch.from_rows("connection", [row]))
    with pytest.raises(HistoryError, match=r"stopped after 0\.2 s"):
        History(tmp_path).sql("SELECT peer_pod FROM connection", seconds=0.2).close()


def test_settings_are_locked(half: Path) -> None:
    """Law: no statement opens the connection to files, memory or extensions beyond what it was given."""
    connection = History(half).connection()
    for sql in ("SET enable_external_access = true", "SET memory_limit = '1TB'", "SET lock_configuration = false"):
        with pytest.raises(duckdb.Error):
            connection.execute(sql)


def test_materialised_tables(half: Path) -> None:
    """Law: a table held in memory has the same rows and comments as its view."""
    connection = History(half).connection(materialised=("process",))
    assert connection.execute("SELECT count(*) FROM process").fetchall() == [(600,)]
    assert connection.execute("SELECT comment FROM duckdb_tables() WHERE table_name = 'process'").fetchall() == [
        (KEPT["process"].doc,)
    ]


def test_damage_in_the_tail_is_told(half: Path) -> None:
    """Law: what could not be read of the log's tail is named; the rest is answered."""
    from firsthand.history.log.log import path_of

    with LogWriter(half, "n", "b") as writer:
        writer.append([samples.process_lives(10, first=200)], [])
        writer.append([samples.process_lives(10, first=210)], [])
    data = bytearray(path_of(half, 2).read_bytes())
    data[400] ^= 1
    path_of(half, 2).write_bytes(data)
    history = History(half)
    assert history.connection().execute("SELECT count(*) FROM process").fetchall() == [(630,)]
    assert len(history.damage) == 1
    assert "0000000000000002.log" in history.damage[0]


def test_errors_are_ours(tmp_path: Path) -> None:
    """Law: a manifest that is no database is reported as a history that cannot be read, with its path."""
    (tmp_path / "manifest.db").write_text("nonsense" * 200)
    with pytest.raises(FirsthandError, match=r"manifest\.db"):
        History(tmp_path).connection()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT table_name FROM duckdb_columns",
        "SELECT view_name FROM duckdb_views ()",
        "SELECT name FROM sqlite_schema",
        "-- which are there\nSHOW TABLES",
        "/* which? */ SHOW TABLES",
    ],
)
def test_who_asks_what_there_is_hears_of_every_table(half: Path, query: str) -> None:
    """Law: tables are defined when they are named; whoever asks for their names, in whatever words, is given all."""
    assert {row[0] for row in histories.rows(half, query)} >= set(KEPT)


def test_the_first_row_that_is_held(tmp_path: Path) -> None:
    """Law: what is held begins with the first event, in whichever segment; rows of what ran before are none."""

    def append(log: LogWriter, *rows: tuple[str, int]) -> None:
        told = [
            {"node": "n", "boot": "b", "event": event, "time": samples.START + at, "ktime": at} for event, at in rows
        ]
        log.append([Batch.from_rows("process", told)], [])
        keep_all(tmp_path)

    with LogWriter(tmp_path, "n", "b") as log:
        append(log, ("seen", 1), ("seen", 2))
        append(log, ("seen", 1), ("exec", 40))
        append(log, ("exec", 10), ("exec", 20))
        append(log, ("exec", 30))
        with History(tmp_path).connection() as connection:
            held = connection.held(["process"])
    assert held is not None
    assert [moment.microsecond for moment in held] == [10, 40]


def keep_all(directory: Path) -> None:
    histories.keep(directory, linger=0)
