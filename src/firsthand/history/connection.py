"""The history as SQL: one DuckDB connection over segments and the log's tail, closed to everything else."""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType

import duckdb
import pyarrow as pa

from firsthand.errors import HistoryError, UsageError
from firsthand.history import names, place, snapshot
from firsthand.schema.column import Table
from firsthand.schema.tables import TABLES

MEMORY = "256MB"
THREADS = 2
SECONDS = 60.0
BATCH_ROWS = 10_000

#: Computed columns at the end of each view: name -> (SQL, doc). The text form of law 4's identity.
_ID = "substr(boot, 1, 8) || ':' || {0} || ':' || {1} || ':' || {2}"
EXEC_ID = (
    _ID.format("exec_tgid", "exec_start", "exec_number"),
    "the process (program image) as text: BOOT8:TGID:START:NUMBER",
)
PARENT = (_ID.format("parent_tgid", "parent_start", "parent_number"), "the parent's exec_id at the fork, as text")
PREVIOUS = (_ID.format("exec_tgid", "exec_start", "previous_number"), "the exec_id that this exec replaced, as text")

#: A pod's own cgroup has a pod's uid and no container: these words are known of it.
_OF_PODS = names.COLUMNS[:4]
#: Views on the newest names: of a container's id from its `since` to the next one's, and of a pod's uid.
_LATEST = [f"arg_max({name}, time) AS {name}" for name in names.COLUMNS]
_TELLING = ", ".join(f"'{word}'" for word in names.TELLING)
_NAMES = (
    f"""CREATE VIEW _names AS SELECT *, CASE WHEN row_number() OVER w = 1 THEN TIMESTAMP '-infinity' ELSE since END AS begins,
    lead(since, 1, TIMESTAMP 'infinity') OVER w AS ends FROM (SELECT node, container, since, {", ".join(_LATEST)} FROM {{_container}}
    WHERE event IN ({_TELLING}) AND container IS NOT NULL GROUP BY node, container, since)
    WINDOW w AS (PARTITION BY node, container ORDER BY since)""",  # noqa: S608
    f"""CREATE VIEW _pods AS SELECT node, pod_uid, {", ".join(_LATEST[: len(_OF_PODS)])} FROM {{_pod}}
    WHERE event IN ({_TELLING}) AND pod_uid IS NOT NULL GROUP BY node, pod_uid""",  # noqa: S608
)
_NAMED = """SELECT r.* REPLACE ({later}) FROM ({rest}) r
    LEFT JOIN _names n ON r.node = n.node AND r.container = n.container AND r.time >= n.begins AND r.time < n.ends
    LEFT JOIN _pods p ON r.container IS NULL AND r.node = p.node AND r.pod_uid = p.pod_uid"""

_EXPLAIN = re.compile(r"\s*EXPLAIN\b(\s+(ANALYZE|ANALYSE|VERBOSE)\b)*\s*(\([^()]*\))?", re.IGNORECASE)


def computed(table: str) -> dict[str, tuple[str, str]]:
    """The columns that a view has behind those of its table: SQL and doc by name."""
    found = {"exec_id": EXEC_ID, "parent_exec_id": PARENT}
    return found | {"previous_exec_id": PREVIOUS} if table == "process" else found


class History:
    """A history to be read by any number of readers. HistoryError, at the first use, where there is none.

    `check`: bytes of segments that are held against their hashes, see snapshot.CHECKED.
    """

    def __init__(
        self, directory: Path, *, memory: str = MEMORY, threads: int = THREADS, check: int = snapshot.CHECKED
    ) -> None:
        self.directory = directory
        self.check = check
        self.memory = memory
        self.threads = threads
        self.damage: list[str] = []

    @property
    def exists(self) -> bool:
        """Whether something was ever recorded there."""
        logs = (self.directory / place.LOG, self.directory / place.NAMES)
        return any(log.is_dir() for log in logs) or (self.directory / place.MANIFEST).exists()

    def connection(
        self, *, materialised: Collection[str] = (), of: snapshot.View | None = None
    ) -> duckdb.DuckDBPyConnection:
        """An in-memory connection with one view per table: all rows that are durable now (or that `of` has), each once.

        The tables named in `materialised` are held in memory instead of being read at each use: recursive questions
        need that. `damage` then says what could not be read. The connection can read below the history alone, loads
        no extension, and its settings are locked.
        """
        view = of or self.view()
        connection = duckdb.connect(":memory:")
        try:
            for name, value in self._settings().items():
                connection.execute(f"SET {name} = {value}")
            for table in TABLES.values():
                connection.register(f"_{table.name}_tail", view.rows(table.name))
            for statement in _NAMES:
                connection.execute(statement.format(_container=_raw(view, "container"), _pod=_raw(view, "pod")))
            for table in TABLES.values():
                _define(connection, table, view, "TABLE" if table.name in materialised else "VIEW")
            connection.execute("SET lock_configuration = true")
        except duckdb.Error as error:
            connection.close()
            raise explained(error) from error
        return connection

    def sql(self, text: str, *, seconds: float = SECONDS) -> Result:
        """The answer to one SELECT or EXPLAIN of a user. UsageError for anything else, and for SQL that is wrong.

        It is interrupted after `seconds`; close the result, or use it as a context.
        """
        connection = self.connection()
        try:
            check(connection, text)
            return Result(connection, text, seconds)
        except BaseException:
            connection.close()
            raise

    def view(self) -> snapshot.View:
        """What is durable now. `damage` then says what could not be read."""
        if not self.exists:
            raise HistoryError(
                f"{self.directory}: there is no history here; record one with `firsthand run`, or name another "
                "directory with --history or FIRSTHAND_HISTORY"
            )
        try:
            view = snapshot.take(self.directory, self.check)
        except PermissionError as error:
            raise HistoryError(
                f"{self.directory}: you may not read this history ({error}); be root or in the group {place.GROUP}"
            ) from error
        self.damage = view.damage
        return view

    def _settings(self) -> dict[str, str]:
        return {
            "memory_limit": quoted(self.memory),
            "threads": str(self.threads),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": "''",
            "allowed_directories": f"[{quoted(str(self.directory.absolute()))}]",
            "enable_external_access": "false",  # last: it locks the one before
        }


class Result:
    """The rows of a statement, batch by batch, while its time lasts."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, text: str, seconds: float) -> None:
        self._connection = connection
        self._seconds = seconds
        self._timer = threading.Timer(seconds, connection.interrupt)
        self._timer.daemon = True
        self._timer.start()
        try:
            relation = connection.sql(text)
            self._reader: pa.RecordBatchReader = relation.to_arrow_reader(BATCH_ROWS)
        except duckdb.Error as error:
            self.close()
            raise explained(error, seconds) from error

    @property
    def schema(self) -> pa.Schema:
        """The columns and their Arrow types."""
        return self._reader.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, some thousand at a time."""
        try:
            yield from self._reader
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise explained(error, self._seconds) from error

    def table(self) -> pa.Table:
        """All rows at once."""
        return pa.Table.from_batches(list(self.batches()), schema=self.schema)

    def close(self) -> None:
        """Stop what still runs and free its memory."""
        self._timer.cancel()
        self._connection.close()

    def __enter__(self) -> Result:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def check(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """UsageError unless the text is one statement that DuckDB's own parser takes for a SELECT, or an EXPLAIN of one.

    Two ways to write hide behind these. EXPLAIN ANALYZE runs what it explains, a COPY too: what stands behind it is
    parsed again. And DuckDB 2.0 runs `WITH x AS (COPY ...) SELECT`, which its parser calls a SELECT: its binder takes
    that at the top level only, so the text must bind as a subquery.
    """
    kind, text = _statement(connection, text)
    if kind == "EXPLAIN":
        found = _EXPLAIN.match(text)
        text = text[found.end() :] if found else ""
        kind, text = _statement(connection, text)
    if kind != "SELECT":
        raise UsageError(f"{kind} is not allowed: the history is only read; give one SELECT, or an EXPLAIN of one")
    try:
        connection.execute(f"EXPLAIN SELECT * FROM (\n{text}\n)")  # noqa: S608 - bound, not run
    except duckdb.Error as error:
        raise explained(error) from error


def _statement(connection: duckdb.DuckDBPyConnection, text: str) -> tuple[str, str]:
    """The kind of the one statement in the text, and its own text."""
    try:
        statements = connection.extract_statements(text)
    except duckdb.Error as error:
        raise UsageError(str(error)) from error
    if len(statements) != 1:
        raise UsageError(f"{len(statements)} statements were given; give one SELECT, or an EXPLAIN of one")
    return str(statements[0].type).rpartition(".")[2], statements[0].query.strip().rstrip(";")


_USAGE = (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError, duckdb.PermissionException)


def explained(error: BaseException, seconds: float = SECONDS) -> HistoryError | UsageError:
    """DuckDB's error as ours: UsageError where the SQL is wrong, HistoryError where reading failed."""
    text = str(error)
    if isinstance(error, duckdb.InterruptException) or "INTERRUPT" in text:
        return HistoryError(f"stopped after {seconds:g} s: ask for less time or fewer columns, or add a LIMIT")
    if isinstance(error, duckdb.OutOfMemoryException) or "Out of Memory" in text:
        return HistoryError(f"the statement needs more memory than it is given: ask for less ({text.splitlines()[0]})")
    return UsageError(text) if isinstance(error, _USAGE) else HistoryError(text)


def _define(connection: duckdb.DuckDBPyConnection, table: Table, view: snapshot.View, kind: str) -> None:
    more = computed(table.name)
    columns = [f'"{name}"' for name in table.names] + [f"{sql} AS {name}" for name, (sql, _) in more.items()]
    body = f"SELECT {', '.join(columns)} FROM ({_source(view, table)})"  # noqa: S608 - TABLES' names
    connection.execute(f'CREATE {kind} "{table.name}" AS {body}')
    docs = {column.name: column.doc for column in table.columns} | {name: doc for name, (_, doc) in more.items()}
    _comment(connection, table, kind, docs)


def _source(view: snapshot.View, table: Table) -> str:
    """Segments whose rows have their names as they are; the others, and the tail, with the names that came later."""
    named = [name for name in names.COLUMNS if name in table.names]
    if table.name == "pod" or "pod_uid" not in table.names or "pod" not in named:
        return _union(f"_{table.name}_tail", view.paths(table.name))
    rest = _union(f"_{table.name}_tail", view.paths(table.name, named=False))
    known = view.paths(table.name, named=True)
    later = ", ".join(
        f"coalesce(r.{name}, n.{name}{f', p.{name}' if name in _OF_PODS else ''}) AS {name}" for name in named
    )
    joined = _NAMED.format(later=later, rest=rest)
    return joined if not known else f"{joined} UNION ALL BY NAME SELECT * FROM {_files(known)}"  # noqa: S608


def _raw(view: snapshot.View, table: str) -> str:
    return f"({_union(f'_{table}_tail', view.paths(table))})"


def _union(tail: str, paths: list[Path]) -> str:
    """Segments and tail. By name: a segment of an older version lacks columns, and the tail has them all."""
    if not paths:
        return f"FROM {tail}"
    return f"SELECT * FROM {tail} UNION ALL BY NAME SELECT * FROM {_files(paths)}"  # noqa: S608 - quoted


def _files(paths: list[Path]) -> str:
    listed = ", ".join(quoted(str(path.absolute())) for path in paths)
    return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"


def _comment(connection: duckdb.DuckDBPyConnection, table: Table, kind: str, docs: Mapping[str, str]) -> None:
    lines = [f'COMMENT ON {kind} "{table.name}" IS {quoted(table.doc)}']
    lines += [f'COMMENT ON COLUMN "{table.name}"."{name}" IS {quoted(doc)}' for name, doc in docs.items()]
    connection.execute("; ".join(lines))


def quoted(text: str) -> str:
    """A string literal of SQL."""
    return "'" + text.replace("'", "''") + "'"
