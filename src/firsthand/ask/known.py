"""Names in a question that the history has never seen, and those that it holds outside the window (law 11).

"No row of pod web" proves nothing where no row could ever have been of it: the name may be mistyped, or another machine's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from firsthand.ask import selector
from firsthand.ask.answer import Asked, iso
from firsthand.ask.nearest import nearest
from firsthand.ask.predicate import Test
from firsthand.ask.subject import of_container
from firsthand.errors import UsageError
from firsthand.history.names.owner import HOST, NONE
from firsthand.subjects.registry import OWNED

#: Where names are looked for, the small tables first.
_SMALL = ("pod", "container", "loss", "observer", "address")
_LARGE = OWNED
#: Columns that name a thing, by its kind, and the tables that have them.
_COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    "pod": dict.fromkeys(("pod", "container", *_LARGE), ("pod", "pod_uid")),
    "namespace": dict.fromkeys(("pod", "container", "loss", *_LARGE), ("namespace",)),
    "node": dict.fromkeys((*_SMALL, *_LARGE), ("node",)),
    "container": dict.fromkeys(("container", *_LARGE), ("container_name",)),
    "workload": dict.fromkeys(("pod", "container", *_LARGE), ("workload",)),
    "image": dict.fromkeys(("container", *_LARGE), ("image",)),
}
#: Columns of conditions by which a thing is named, and its kind.
_NAMING = {"pod_uid": "pod", "container_name": "container"} | {kind: kind for kind in _COLUMNS}
#: Names that are read to find the nearest one.
_MOST = 100_000


@dataclass(frozen=True)
class FilterName:
    """A name that a question goes by: what it is said to be, and how its rows are found. `option`: as it was given."""

    text: str
    kinds: tuple[str, ...]
    option: str = ""

    @property
    def words(self) -> str:
        """`pod, container or process`."""
        *first, last = self.kinds
        return f"{', '.join(first)} or {last}" if first else last

    def condition(self, table: str) -> tuple[str, list[Any]] | None:
        """SQL for a table's rows of it; None where the table cannot name it."""
        found: list[tuple[str, list[Any]]] = []
        for kind in self.kinds:
            columns = _COLUMNS.get(kind, {}).get(table, ())
            found += [(f"{column} = ?", [self.text]) for column in columns]
            if kind == "pod" and "/" in self.text and columns:
                found.append(("(namespace = ? AND pod = ?)", list(self.text.split("/", 1))))
            if kind == "container" and table in ("container", "pod", *_LARGE):
                found.append(of_container("container", self.text))
        return (" OR ".join(text for text, _ in found), [one for _, some in found for one in some]) if found else None


def names(asked: Asked, subject: bool) -> list[FilterName]:
    """The names of a question: of its filters, and its argument where that is a subject (pod, container or process)."""
    filters = asked.filters
    found = [
        FilterName(value, (kind,), f"--{kind}")
        for kind, value in (("pod", filters.pod), ("namespace", filters.namespace), ("node", filters.node))
        if value is not None and value not in (HOST, NONE)
    ]
    if subject and asked.arguments and not process(asked.arguments[0]) and asked.arguments[0] != "host":
        found.append(FilterName(asked.arguments[0], ("pod", "container")))
    return found


def named(tests: Iterable[Test]) -> list[FilterName]:
    """The names that conditions look for; `host` is in every history."""
    wanted = [one for one in tests if one.sign == "=" and one.predicate.name in _NAMING]
    return [
        FilterName(str(one.value), (_NAMING[one.predicate.name],), one.name)
        for one in wanted
        if not (one.predicate.name == "container" and one.value == "host")
    ]


def process(text: str) -> bool:
    """Whether it is an exec_id or a process id; those are looked up by the question itself."""
    return ":" in text or (text.isascii() and text.isdigit())


def check(asked: Asked, wanted: Iterable[FilterName]) -> None:
    """UsageError for a name that the history has never seen, with those that were perhaps meant."""
    for one in wanted:
        if not any(_has(asked, one, table) for table in (*_SMALL, *_LARGE)):
            raise UsageError(_unknown(asked, one))


def check_together(asked: Asked) -> None:
    """UsageError where each name of the filters is known and no row was ever of all."""
    filters = asked.filters
    conditions = filters.conditions
    if len(conditions) < 2 or filters.namespace in (HOST, NONE):
        return
    where, values = " AND ".join(text for text, _ in conditions), [value for _, some in conditions for value in some]
    tables = ("pod", "container", *_LARGE)
    if not any(asked.rows(f"SELECT 1 FROM {table} WHERE {where} LIMIT 1", values) for table in tables):  # noqa: S608
        options = [
            f"--{name}" for name in ("namespace", "pod", "selector", "node") if getattr(filters, name) is not None
        ]
        raise UsageError(f"nothing in this history is of all that {' and '.join(options)} say: leave one of them out")


def _has(asked: Asked, one: FilterName, table: str) -> bool:
    condition = one.condition(table)
    if condition is None:
        return False
    query = f"SELECT 1 FROM {table} WHERE {condition[0]} LIMIT 1"  # noqa: S608 - a table of _SMALL and _LARGE
    return bool(asked.rows(query, condition[1]))


def _unknown(asked: Asked, one: FilterName) -> str:
    kinds = FilterName("", (*one.kinds, "process")).words if len(one.kinds) > 1 else one.words
    every = sorted({name for kind in one.kinds for name in _every(asked, kind)})
    found = nearest(one.text, every)
    said = f"no {kinds} named {one.text} is in this history"
    if found:
        return f"{said}; did you mean {' or '.join(found)}?"
    known = f"it knows {', '.join(every[:5])}{f' and {len(every) - 5:,} more' if len(every) > 5 else ''}"
    return f"{said}; {known if every else f'it knows no {one.kinds[0]} by name'}"


def _every(asked: Asked, kind: str) -> list[str]:
    """The names of a kind that the history knows."""
    parts = []
    for table, columns in _COLUMNS[kind].items():
        column = columns[0]
        where = " WHERE cause = 'retention'" if table == "loss" and kind == "namespace" else ""
        parts.append(f"SELECT DISTINCT {column} AS n FROM {table}{where}")  # noqa: S608 - declared above
    query = f"SELECT DISTINCT n FROM ({' UNION ALL '.join(parts)}) WHERE n IS NOT NULL ORDER BY n LIMIT {_MOST}"  # noqa: S608
    return [row["n"] for row in asked.rows(query, []) if row["n"] not in (HOST, NONE)]


def outside(asked: Asked, wanted: Sequence[FilterName], tables: Sequence[str]) -> list[str]:
    """A sentence for each name of which the needed tables hold rows, and none in the window."""
    found = []
    for one in wanted:
        span = _span(asked, one, [table for table in tables if table in (*_SMALL, *_LARGE)])
        if span is not None and (span[1] < asked.since or span[0] > asked.until):
            held = f"{_iso(span[0])} to {_iso(span[1])}"
            found.append(f"nothing of {one.words} {one.text} is in the window; it is held from {held}")
    return found


def _span(asked: Asked, one: FilterName, tables: Sequence[str]) -> tuple[datetime, datetime] | None:
    parts, values = [], []
    for table in tables:
        if (condition := one.condition(table)) is not None:
            parts.append(f"SELECT min(time) AS a, max(time) AS b FROM {table} WHERE {condition[0]}")  # noqa: S608
            values += condition[1]
    if not parts:
        return None
    row = asked.rows(f"SELECT min(a) AS a, max(b) AS b FROM ({' UNION ALL '.join(parts)})", values)[0]  # noqa: S608
    return (row["a"], row["b"]) if row["a"] is not None else None


def _iso(moment: datetime) -> str:
    return iso(moment.replace(tzinfo=UTC))


def check_labels(asked: Asked, text: str) -> None:
    """UsageError where a selector names a label that nothing in the history ever had, by key or by value."""
    query = """SELECT DISTINCT unnest(labels) AS l FROM pod WHERE labels IS NOT NULL UNION
        SELECT DISTINCT unnest(labels) FROM container WHERE labels IS NOT NULL"""
    labels = {row["l"] for row in asked.rows(query, [])}
    keys = {label.partition("=")[0] for label in labels}
    parsed = selector.parse(text)
    for one in parsed:
        if one.negated:
            continue
        wanted = {f"{one.key}={value}" for value in one.values or ()}
        if one.key not in keys:
            raise UsageError(_no_label(one.key, keys))
        if wanted and not wanted & labels:
            raise UsageError(_no_label(sorted(wanted)[0], labels))
    chosen = asked.filters.selector
    if chosen is not None and not chosen.pods and not chosen.containers and not all(one.negated for one in parsed):
        raise UsageError("no pod and no container of this history ever had these labels together (--selector)")


def _no_label(text: str, known: Iterable[str]) -> str:
    found = nearest(text, known)
    more = (
        f"did you mean {' or '.join(found)}?"
        if found
        else "no label is known"
        if not known
        else "see `ask pods -o wide`"
    )
    return f"no label {text} is in this history; {more}"
