"""The history as SQL: one DuckDB connection over segments and the log's tail, closed to everything else."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from firsthand.errors import HistoryError, UsageError
from firsthand.history import place
from firsthand.history.deadline import Deadline
from firsthand.history.engine import duckdb
from firsthand.history.log import asked
from firsthand.history.store import mentions, observing, rounds, snapshot
from firsthand.history.store.effort import BOUND, Effort, Spill
from firsthand.history.store.manifest import Segment
from firsthand.history.store.mentions import Condition, both
from firsthand.history.store.observing import Run
from firsthand.history.store.relations import Relations, known_columns
from firsthand.history.store.relations import computed as computed
from firsthand.history.store.relations import quoted as quoted
from firsthand.history.store.rounds import Stretch
from firsthand.schema.tables import KEPT
from firsthand.subjects.column import Table

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY = "256MB"
THREADS = 2
SECONDS = 60.0
BATCH_ROWS = 10_000
#: Up to this many rows of `observer` in the log, Python makes runs of them faster than SQL.
FEW = 2_000

_EXPLAIN = re.compile(r"\s*EXPLAIN\b(\s+(ANALYZE|ANALYSE|VERBOSE)\b)*\s*(\([^()]*\))?", re.IGNORECASE)

#: A statement that may read flows of datagrams.
_FLOWS = re.compile(r"\bconnection\b", re.IGNORECASE)
_ANY_TABLE = re.compile(rf"\b(?:{'|'.join(KEPT)})\b", re.IGNORECASE)
_NAMED_TABLE = re.compile(r'\b(?:FROM|JOIN)\s+"?(\w+)', re.IGNORECASE)
#: DuckDB's words where a statement names a table that is not there.
_MISSED_TABLE = re.compile(r"Table with name (\w+) does not exist")
#: What a statement has that looks into DuckDB's catalog; DESC also stands behind what is sorted by.
_CATALOG = re.compile(
    r"\bduckdb_\w|\binformation_schema\b|\bpg_|\bpragma|\bsqlite_|\b(?:SHOW|DESCRIBE|SUMMARIZE)\b|(?:^|[(;/\n])\s*DESC\b",
    re.IGNORECASE,
)
_Found = TypeVar("_Found")
_NOTHING: Mapping[str, Condition] = {}


class History:
    """A history to be read by any number of readers. HistoryError, at the first use, where there is none.

    `check`: bytes of segments that are held against their hashes, see snapshot.CHECKED. `effort` watches its connections.
    """

    def __init__(
        self,
        directory: Path,
        *,
        memory: str = MEMORY,
        threads: int = THREADS,
        check: int = snapshot.CHECKED,
        effort: Effort | None = None,
    ) -> None:
        self.directory = directory
        self.check = check
        self.memory = memory
        self.threads = threads
        self.effort = effort
        self.damage: list[str] = []

    @property
    def exists(self) -> bool:
        """Whether something was ever recorded there."""
        logs = (self.directory / place.LOG, self.directory / place.NAMES)
        try:
            return any(log.is_dir() for log in logs) or (self.directory / place.MANIFEST).exists()
        except PermissionError as error:
            raise place.closed(self.directory, error) from error

    def connection(
        self, *, materialised: Collection[str] = (), of: snapshot.View | None = None, flows: bool = False
    ) -> LazyConnection:
        """An in-memory connection with one view per table: all rows that are durable now (or that `of` has), each once.

        The tables named in `materialised` are held in memory instead of being read at each use: recursive questions
        need that. `flows` as in `view`. `damage` then says what could not be read. The connection can read below the
        history alone, loads no extension, and its settings are locked.
        """
        view = of or self.view(flows=flows)
        connection = duckdb.connect(":memory:")
        spill = Spill()
        try:
            for name, value in self._settings(spill).items():
                connection.execute(f"SET {name} = {value}")
        except duckdb.Error as error:
            connection.close()
            spill.remove()
            raise explained(error) from error
        if self.effort is not None:
            self.effort.of(connection, spill)
        return LazyConnection(connection, view, materialised, spill)

    def sql(self, text: str, *, seconds: float = SECONDS) -> Result:
        """The answer to one SELECT or EXPLAIN of a user. UsageError for anything else, and for SQL that is wrong.

        It is interrupted after `seconds`, in which the tables that it needs are made too; close the result, or use it as a context.
        """
        connection = self.connection(flows=_FLOWS.search(text) is not None)
        deadline = Deadline(connection.duckdb, seconds)
        try:
            check(connection, text, seconds)
            return Result(connection, text, deadline)
        except BaseException:
            deadline.end()
            connection.close()
            raise

    def view(self, *, flows: bool = False) -> snapshot.View:
        """What happened until this call and is durable, and where an observer works, all of it; `flows` of datagrams too, for which it may
        take two seconds. `damage` then says what could not be read."""
        if not self.exists:
            raise HistoryError(
                f"{self.directory}: there is no history here; record one with `firsthand run`, or name another "
                "directory with --history or FIRSTHAND_HISTORY"
            )
        try:
            through = asked.through(self.directory, flows=flows)
            view = snapshot.take(self.directory, self.check)
        except PermissionError as error:
            raise place.closed(self.directory, error) from error
        view.through = through
        self.damage = view.damage
        return view

    def _settings(self, spill: Spill) -> dict[str, str]:
        return {
            "memory_limit": quoted(self.memory),
            "threads": str(self.threads),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": quoted(str(spill.path or "")),
            "max_temp_directory_size": f"'{BOUND >> 20}MiB'",
            "enable_progress_bar": "true",
            "enable_progress_bar_print": "false",
            "parquet_metadata_cache": "true",
            "allowed_directories": f"[{quoted(str(self.directory.absolute()))}]",
            "enable_external_access": "false",  # it locks the one before
            "lock_configuration": "true",
        }


class LazyConnection:
    """A connection on which a table is defined when a statement first names it: a question costs what it reads.

    HistoryError where a table cannot be read, duckdb.Error as the statement has it.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        view: snapshot.View,
        materialised: Collection[str],
        spill: Spill | None = None,
    ) -> None:
        self.duckdb = connection
        self._end = weakref.finalize(self, spill.remove) if spill is not None else None
        self._view = view
        self._materialised = materialised
        self._defined: set[str] = set()
        self._relations = Relations(connection, view)
        self._runs: list[Run] | None = None

    def execute(
        self, query: str, parameters: Any = None, *, only: Mapping[str, Condition] | None = None
    ) -> duckdb.DuckDBPyConnection:
        """As DuckDB's own. `only`: what must hold of a table's rows beyond the conditions that stand in the statement."""
        return self._with_tables(query, parameters, lambda text: self.duckdb.execute(text, parameters), only or {})

    def sql(self, query: str, *, params: Any = None) -> duckdb.DuckDBPyRelation:
        """As DuckDB's own."""
        import duckdb as _relations  # noqa: F401 - a connection has them from then on (engine.py)

        self.duckdb.abort()  # what a statement before left unread: relations do not do it themselves
        return self._with_tables(query, params, lambda text: self.duckdb.sql(text, params=params))

    def _with_tables(
        self, query: str, parameters: Any, run: Callable[[str], _Found], only: Mapping[str, Condition] = _NOTHING
    ) -> _Found:
        """Run a statement. KeyboardInterrupt where Ctrl-C stopped it: DuckDB has its own words for that."""
        try:
            return self._run(query, parameters, run, only)
        except RuntimeError as error:
            if type(error) is RuntimeError and "interrupted" in str(error):
                raise KeyboardInterrupt from error
            raise

    def _run(
        self, query: str, parameters: Any, run: Callable[[str], _Found], only: Mapping[str, Condition] = _NOTHING
    ) -> _Found:
        """Run a statement with what it needs of the tables; with whole ones where it is not understood, or DuckDB does not take it so."""
        narrowed = self._narrowed(query, parameters, only)
        if narrowed is not None:
            try:
                return run(narrowed)
            except (
                duckdb.BinderException,
                duckdb.CatalogException,
                duckdb.ParserException,
                duckdb.NotImplementedException,
            ):
                pass
        return self._with_views(query, lambda: run(query))

    def _narrowed(self, query: str, parameters: Any, only: Mapping[str, Condition]) -> str | None:
        """The statement with the rows and columns in the places of tables that it needs; None: it is not understood."""
        if self._materialised or _CATALOG.search(query) or not _ANY_TABLE.search(query):
            return None
        self.duckdb.abort()
        found = mentions.find(self.duckdb, query, parameters, known_columns())
        if not found:
            return None
        text, end = b"", 0
        for mention in found:
            one = replace(mention, condition=both(mention.condition, only.get(mention.table)))
            text += query.encode()[end : one.begin] + self._relations.mentioned(one).encode()
            end = one.end
        return (text + query.encode()[end:]).decode()

    def _with_views(self, query: str, run: Callable[[], _Found]) -> _Found:
        """Run a statement whose tables are defined: those that follow on FROM or JOIN, and any other that DuckDB then misses; all of
        them for one that asks what there is."""
        if _CATALOG.search(query):
            self._define_all()
        for name in _NAMED_TABLE.findall(query):
            if name in KEPT:
                self._define(KEPT[name])
        while True:
            try:
                return run()
            except duckdb.CatalogException as error:
                missed = _MISSED_TABLE.search(str(error))
                if missed is None or missed[1] not in KEPT or missed[1] in self._defined:
                    raise
                self._define(KEPT[missed[1]])

    @property
    def through(self) -> asked.Through | None:
        """The moments before which the record is whole; None where no observer says them."""
        return self._view.through

    def runs(self) -> list[Run]:
        """When was observed: by the manifest, and by rows where it does not say so."""
        if self._runs is None:
            self._runs = observing.joined(self._told_runs())
        return self._runs

    def _told_runs(self) -> list[Run]:
        table = KEPT[observing.TABLE]
        segments = [one for one in self._view.manifest.segments if one.table == table.name]
        found, rest = list[Run](), list[str]()
        for one in segments:
            try:
                found += observing.decode(one.runs or "")
            except (ValueError, TypeError, IndexError):
                rest.append(one.path)
        whole = [one for one in self._view.segments(table.name) if one.path in rest] if rest else []
        if whole or self._view.tail_of(table.name):
            self.duckdb.abort()
            source = f"({self._relations.rows(table, whole, () if whole else observing.COLUMNS)})"
            few = not whole and self._view.length(table.name) <= FEW
            found += (observing.of_few if few else observing.of_source)(self.duckdb, source)
        return found

    def rounds(self, since: int, until: int) -> list[Stretch]:
        """Rounds of canaries that reach into a time (microseconds): by the manifest, and by rows where it does not say so."""
        table = KEPT[observing.TABLE]
        found, rest = rounds.of_segments(self._view.manifest.segments, since, until)
        wanted = {one.path for one in rest}
        readable = [one for one in self._view.segments(table.name) if one.path in wanted] if rest else []
        sources: list[tuple[list[Segment], tuple[str, ...]]] = [([one], ()) for one in readable]
        if self._view.tail_of(table.name):
            sources.append(([], rounds.COLUMNS))
        for segments, names in sources:  # file by file: memory is bounded by one of them
            self.duckdb.abort()
            rows = self._relations.rows(table, segments, names, tail=not segments)
            found += rounds.of_source(self.duckdb, f"({rows})")
        return rounds.joined(found)

    def count(self, table: str, since: datetime, until: datetime) -> int:
        """How many rows of a table happened between two moments (UTC without a zone), both included. What lies between them as a whole is
        not opened for it."""
        self.duckdb.abort()
        number, rest = self._relations.between(KEPT[table], since, until)
        if rest is None:
            return number
        query = f"SELECT count(*) FROM ({rest}) WHERE time >= ? AND time <= ?"  # noqa: S608
        ((more,),) = self.duckdb.execute(query, [since, until]).fetchall()
        return number + int(more)

    def held(self, tables: Collection[str]) -> tuple[datetime, datetime] | None:
        """When the first and the last row of some tables happened, UTC without a zone; None where there are none.

        Of what was there already when observing began (`seen`) it does not tell.
        """
        bounds = [bound for name in tables for bound in self._relations.bounds(KEPT[name])]
        return (min(first for first, _ in bounds), max(last for _, last in bounds)) if bounds else None

    def length(self, table: str) -> int:
        """How many rows a table has at most, by what segments and chunks say of themselves."""
        return sum(one.rows for one in self._view.listed(table)) + self._view.length(table)

    def _define_all(self) -> None:
        """Every table, with its meaning and that of its columns as comments."""
        for table in KEPT.values() if "*" not in self._defined else ():
            self._define(table)
            _comment(self.duckdb, table, self._kind(table))
        self._defined.add("*")

    def _define(self, table: Table) -> None:
        if table.name in self._defined:
            return
        self._defined.add(table.name)
        self.duckdb.abort()  # what a statement before left unread
        self.duckdb.execute(f'CREATE {self._kind(table)} "{table.name}" AS {self._relations.view(table)}')

    def _kind(self, table: Table) -> str:
        return "TABLE" if table.name in self._materialised else "VIEW"

    def close(self) -> None:
        """Close the connection."""
        self.duckdb.close()
        if self._end is not None:
            self._end()

    def __enter__(self) -> LazyConnection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Result:
    """The rows of a statement, batch by batch, while its time lasts."""

    def __init__(self, connection: LazyConnection, text: str, deadline: Deadline) -> None:
        self.connection = connection
        self._text = text
        self._deadline = deadline
        try:
            self._result = connection.execute(text)
            self.names = [str(column[0]) for column in self._result.description or ()]
        except duckdb.Error as error:
            raise explained(error, deadline.seconds) from error

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows, read some thousand at a time."""
        try:
            while found := self._result.fetchmany(BATCH_ROWS):
                yield from found
        except (duckdb.Error, OSError) as error:
            raise explained(error, self._deadline.seconds) from error

    def table(self) -> pa.Table:
        """All rows at once, as PyArrow has them."""
        try:
            return self.connection.sql(self._text).to_arrow_table()
        except (duckdb.Error, OSError) as error:
            raise explained(error, self._deadline.seconds) from error

    def close(self) -> None:
        """Stop what still runs and free its memory."""
        self._deadline.end()
        self.connection.close()

    def __enter__(self) -> Result:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def check(connection: LazyConnection, text: str, seconds: float = SECONDS) -> None:
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
        raise explained(error, seconds) from error


def _statement(connection: LazyConnection, text: str) -> tuple[str, str]:
    """The kind of the one statement in the text, and its own text."""
    try:
        statements = connection.duckdb.extract_statements(text)
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
        return HistoryError(
            f"the statement needs more than {MEMORY} of memory and {BOUND >> 30} GiB of disk ($TMPDIR, else /var/tmp): ask for less "
            f"({text.splitlines()[0]})"
        )
    return UsageError(text) if isinstance(error, _USAGE) else HistoryError(text)


def _comment(connection: duckdb.DuckDBPyConnection, table: Table, kind: str) -> None:
    docs = {column.name: column.doc for column in table.columns}
    docs |= {name: doc for name, (_, doc) in computed(table.name).items()}
    lines = [f'COMMENT ON {kind} "{table.name}" IS {quoted(table.doc)}']
    lines += [f'COMMENT ON COLUMN "{table.name}"."{name}" IS {quoted(doc)}' for name, doc in docs.items()]
    connection.execute("; ".join(lines))
