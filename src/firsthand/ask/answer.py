"""What is asked and what is answered: plain data, the same for the terminal, JSON and later HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from firsthand.ask import show
from firsthand.ask.graph import Graph
from firsthand.ask.reach import Reach

if TYPE_CHECKING:
    from firsthand.history.store.mentions import Condition

VERSION = 1
#: An image that began before the window and was neither replaced nor ended before it; or several in one row, some within it.
_NOT_ENDED = """(p.time >= ? OR p.folded_until >= ? OR (p.folded_until IS NULL AND NOT EXISTS (SELECT 1 FROM process e
    WHERE e.node = p.node AND e.boot = p.boot AND e.exec_tgid = p.exec_tgid AND e.exec_start = p.exec_start AND e.time >= ?
    AND e.time < ? AND (e.event IN ('exit', 'left') OR e.exec_number > p.exec_number))))"""
#: How many processes or connections a row stands for.
COUNT = "coalesce(folded_count, 1)"


def iso(moment: datetime) -> str:
    """UTC with a Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Connection(Protocol):
    """What questions need of a connection to a history: connection.LazyConnection, or DuckDB's own."""

    def execute(self, query: str, parameters: Any = None) -> Any:
        """Run a statement; the result's rows by `fetchone` and `fetchall`."""

    def sql(self, query: str, *, params: Any = None) -> Any:
        """The same as a relation."""


def fetched(
    connection: Connection, query: str, parameters: list[Any], only: Mapping[str, Condition] | None = None
) -> list[dict[str, Any]]:
    """A query's rows by column name. `only`: what must hold of a table's rows beyond the conditions that stand in it."""
    from firsthand.history.store.connection import LazyConnection

    if isinstance(connection, LazyConnection):
        result: Any = connection.execute(query, parameters, only=only)
    else:
        result = connection.execute(query, parameters)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


@dataclass(frozen=True)
class Window:
    """From `since` to `until`, both included, UTC."""

    since: datetime
    until: datetime


@dataclass(frozen=True)
class Chosen:
    """What a label selector chose: pods by uid, and containers outside pods by id."""

    pods: list[str]
    containers: list[str]


@dataclass(frozen=True)
class Filters:
    """What every question can be narrowed by; None means everything."""

    namespace: str | None = None
    pod: str | None = None
    selector: Chosen | None = None
    node: str | None = None

    @property
    def conditions(self) -> list[tuple[str, list[Any]]]:
        """SQL conditions with their parameters. A pod is named by its name or its uid."""
        found: list[tuple[str, list[Any]]] = []
        if self.namespace is not None:
            found.append(("namespace = ?", [self.namespace]))
        if self.pod is not None:
            found.append(("(pod = ? OR pod_uid = ?)", [self.pod, self.pod]))
        if self.selector is not None:
            condition = "(list_contains(?, pod_uid) OR list_contains(?, container))"
            found.append((condition, [self.selector.pods, self.selector.containers]))
        if self.node is not None:
            found.append(("node = ?", [self.node]))
        return found

    @property
    def by_name(self) -> bool:
        """Whether rows without a name may be left out by them."""
        return any(one is not None for one in (self.namespace, self.pod, self.selector))


@dataclass
class Asked:
    """One question put to one history. `ordinary` is the capability set of an ordinary container.

    `session` is when the observers that watched at the window's begin had started: since then they told all that ran; `at_end` the
    same of its end. `folds` is how long one folded row spans at most; zero where nothing folds. `everything`: also
    what is usually left out. `threshold`: the least score. `without`: workloads and images that are
    left out. `tree`: with the processes behind. `reach`: what is the cluster's own.
    """

    connection: Connection
    window: Window
    arguments: list[str]
    filters: Filters = field(default_factory=Filters)
    limit: int = 1000
    ordinary: int = 0
    could: bool = False
    session: datetime | None = None
    at_end: datetime | None = None
    folds: timedelta = timedelta()
    everything: bool = False
    threshold: float | None = None
    without: tuple[str, ...] = ()
    tree: bool = False
    reach: Reach = field(default_factory=Reach)

    def where(self, *more: tuple[str, list[Any]]) -> tuple[str, list[Any]]:
        """The window, the filters and more conditions as one WHERE clause with its parameters."""
        conditions = [("time >= ? AND time <= ?", [self.since, _naive(self.window.until)])]
        conditions += [*self.filters.conditions, *more]
        return " AND ".join(text for text, _ in conditions), [value for _, values in conditions for value in values]

    def ran(self, *more: tuple[str, list[Any]]) -> tuple[str, list[Any]]:
        """As `where`, for rows of `process` or `connection` alone: with folded ones that began before the window and reach into it."""
        if not self.folds:
            return self.where(*more)
        began = self.since - self.folds
        conditions = [("time >= ? AND time <= ?", [began, _naive(self.window.until)])]
        conditions.append(("(time >= ? OR folded_until >= ?)", [self.since, self.since]))
        conditions += [*self.filters.conditions, *more]
        return " AND ".join(text for text, _ in conditions), [value for _, values in conditions for value in values]

    def reaching(self, *more: tuple[str, list[Any]]) -> tuple[str, list[Any]]:
        """As `where`, with all since the observers started that watched at the window's begin: what began then may go on in the window.
        What ended before it, the query leaves out."""
        began = min(self.since - self.folds, self.since if self.session is None else _naive(self.session))
        conditions = [("time >= ? AND time <= ?", [began, _naive(self.window.until)])]
        conditions += [*self.filters.conditions, *more]
        return " AND ".join(text for text, _ in conditions), [value for _, values in conditions for value in values]

    def standing(self, *more: tuple[str, list[Any]]) -> tuple[str, list[Any]]:
        """As `where`, for all since the observers started that watched at the window's end: what goes on then has a row since."""
        began = self.since if self.at_end is None else _naive(self.at_end)
        conditions = [("time >= ? AND time <= ?", [began, _naive(self.window.until)])]
        conditions += [*self.filters.conditions, *more]
        return " AND ".join(text for text, _ in conditions), [value for _, values in conditions for value in values]

    def running(self, *more: tuple[str, list[Any]]) -> tuple[str, list[Any]]:
        """As `where`, for images of `process p` that ran within the window, though they may have begun before it."""
        began = self.since if self.session is None else min(self.since, _naive(self.session))
        began = min(began, self.since - self.folds)
        conditions = [("p.time >= ? AND p.time <= ?", [began, _naive(self.window.until)])]
        if began < self.since:
            conditions.append((_NOT_ENDED, [self.since, self.since, began, self.since]))
        conditions += [*self.filters.conditions, *more]
        return " AND ".join(text for text, _ in conditions), [value for _, values in conditions for value in values]

    def before(self, *more: tuple[str, list[Any]]) -> tuple[str, list[Any]]:
        """As `where`, for all that the history holds from before the window."""
        conditions = [("time < ?", [self.since]), *self.filters.conditions, *more]
        return " AND ".join(text for text, _ in conditions), [value for _, values in conditions for value in values]

    def existing(self, *more: tuple[str, list[Any]]) -> tuple[str, list[Any]]:
        """As `where`, for rows that span time: those told until the window's end. What ended before it, the query leaves out."""
        conditions = [("time <= ?", [_naive(self.window.until)]), *self.filters.conditions, *more]
        return " AND ".join(text for text, _ in conditions), [value for _, values in conditions for value in values]

    @property
    def since(self) -> datetime:
        """The window's begin as the history's times are: UTC without a zone."""
        return _naive(self.window.since)

    @property
    def until(self) -> datetime:
        """Its end."""
        return _naive(self.window.until)

    def rows(
        self, query: str, parameters: list[Any], only: Mapping[str, Condition] | None = None
    ) -> list[dict[str, Any]]:
        """A query's rows by column name. `only`: what must hold of a table's rows beyond the conditions that stand in it."""
        return fetched(self.connection, query, parameters, only)

    def number(self, query: str, parameters: list[Any]) -> int:
        """A query's single number."""
        found = self.connection.execute(query, parameters).fetchone()
        return int(found[0] or 0) if found else 0


def which(asked: Asked) -> str:
    """What is searched, where it may have begun before the window and not ended in it."""
    cut_off = asked.session is not None and asked.session < asked.window.since
    return " that began or ended in the window" if cut_off else ""


@dataclass
class Found:
    """What a question found: the sentence, the rows (at most the limit), how many there were; `lines` stand for a table.

    `columns` are those of a table, `wide` what a wide one has more; programs get whole rows. `reasons`: why it is not complete, beyond
    what the record's own completeness tells. `graph`: the same as a graph, to be drawn.
    """

    sentence: str
    rows: list[dict[str, Any]]
    total: int
    columns: list[str] = field(default_factory=list)
    lines: list[str] | None = None
    wide: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    graph: Graph | None = None


@dataclass
class Completeness:
    """The judgement, as it stands in every answer. `folded`: short processes of the window that stand in rows of many, and connections."""

    complete: bool
    observed: list[tuple[datetime, datetime]]
    history_begins: datetime | None
    events_held: int
    events_lost: int
    blind_spots: list[str]
    reasons: list[str]
    scope: list[str] = field(default_factory=list)
    folded: int = 0
    folded_connections: int = 0

    def plain(self) -> dict[str, Any]:
        """As JSON objects and ISO times."""
        return {
            "complete": self.complete,
            "observed": [[iso(begin), iso(end)] for begin, end in self.observed],
            "history_begins": iso(self.history_begins) if self.history_begins else None,
            "events_held": self.events_held,
            "events_lost": self.events_lost,
            "folded": self.folded,
            "folded_connections": self.folded_connections,
            "blind_spots": self.blind_spots,
            "reasons": self.reasons,
            "scope": self.scope,
        }


@dataclass(frozen=True)
class Request:
    """One question. Times are UTC; None: the history's beginning, its end, the window's end."""

    question: str
    arguments: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    at: datetime | None = None
    namespace: str | None = None
    pod: str | None = None
    selector: str | None = None
    node: str | None = None
    limit: int = 1000
    everything: bool = False
    could: bool = False
    tree: bool = False
    threshold: float | None = None
    without: tuple[str, ...] = ()


@dataclass
class Answer:
    """The sentence, what was found, and whether the evidence is complete."""

    question: str
    sentence: str
    found: Found
    completeness: Completeness
    window: Window

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "version": VERSION,
            "question": self.question,
            "answer": self.sentence,
            "window": {"since": iso(self.window.since), "until": iso(self.window.until)},
            "completeness": self.completeness.plain(),
            "truncated": self.found.total > len(self.found.rows),
            "rows": [show.plain(row) for row in self.found.rows],
        }


def _naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


def cut(rows: list[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """The first rows, and no more."""
    return rows[:limit]


def folded(row: dict[str, Any]) -> str | None:
    """What a folded row stands for, `x 240 until 12:00:59.123`; None where it is one's own."""
    if not row.get("folded_count"):
        return None
    return f"x {row['folded_count']:,} until {row['folded_until']:%H:%M:%S.%f}"[:-3]


def counted(number: int, of: int, what: str) -> str:
    """`Yes: 3 of 1,204 execs` or `No: 0 of 1,204 execs`."""
    return f"{'Yes' if number else 'No'}: {number:,} of {of:,} {what}"


def plural(number: int, what: str, many: str | None = None) -> str:
    """`1 image`, `2 images`; `many` where the plural is another word."""
    return f"{number:,} {what if number == 1 else many or what + 's'}"
