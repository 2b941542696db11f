"""What retention let go that an answer may lack: said where the question's filters and tables concern it (law 2)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from firsthand.ask.answer import Connection, Filters, iso
from firsthand.history.names.owner import CAUSE, HOST, NONE

#: Sentences of one answer; what has more is summed up.
MOST = 8
_GONE = """SELECT namespace, string_agg(DISTINCT table_name, ', ' ORDER BY table_name), string_agg(DISTINCT detail, '; ' ORDER BY detail),
    sum(events)::BIGINT, min(since), max(until) FROM loss
    WHERE cause = ? AND until >= ? AND since <= ? AND list_contains(?, table_name) AND (? IS NULL OR node = ?)
    AND (? OR list_contains(?, namespace)) GROUP BY namespace ORDER BY max(until) DESC, namespace"""
_NAMESPACES = """SELECT DISTINCT namespace FROM (SELECT namespace, pod, pod_uid, container FROM pod
    UNION ALL SELECT namespace, pod, pod_uid, container FROM container) WHERE namespace IS NOT NULL AND {}"""


def reasons(
    connection: Connection, since: datetime, until: datetime, tables: tuple[str, ...], filters: Filters
) -> list[str]:
    """A sentence for each namespace of which the history no longer holds something that the question needs."""
    if _lost_nothing(connection):
        return []
    mine = _concerned(connection, filters)
    bounds = [since.replace(tzinfo=None), until.replace(tzinfo=None), list(tables)]
    values = [CAUSE, *bounds, filters.node, filters.node, mine is None, mine or []]
    found = connection.execute(_GONE, values).fetchall()
    said = [_sentence(*row) for row in found[:MOST]]
    if more := found[MOST:]:
        last = iso(max(row[5] for row in more).replace(tzinfo=UTC))
        rows = sum(row[3] for row in more)
        said.append(f"no longer held: retention removed {rows:,} rows of {len(more):,} more namespaces until {last}")
    return said


def _lost_nothing(connection: Connection) -> bool:
    """Whether the history has no row of `loss`."""
    from firsthand.history.store.connection import LazyConnection

    return isinstance(connection, LazyConnection) and not connection.length("loss")


def _sentence(name: str | None, tables: str, why: str, rows: int, since: datetime, until: datetime) -> str:
    whose = {HOST: "the host", NONE: "containers in no known namespace", None: "any namespace"}
    between = f"from {iso(since.replace(tzinfo=UTC))} to {iso(until.replace(tzinfo=UTC))}"
    of = whose.get(name, f"namespace {name}")
    return f"no longer held: retention removed {rows:,} rows of {of} {between} ({tables}: {why})"


def _concerned(connection: Connection, filters: Filters) -> list[str] | None:
    """The namespaces that can be in the answer; None: any. Rows that had no namespace yet may be of each."""
    if filters.namespace is not None:
        return [filters.namespace, NONE]
    conditions: list[tuple[str, list[Any]]] = []
    if filters.pod is not None:
        conditions.append(("(pod = ? OR pod_uid = ?)", [filters.pod, filters.pod]))
    if filters.selector is not None:
        chosen = [filters.selector.pods, filters.selector.containers]
        conditions.append(("(list_contains(?, pod_uid) OR list_contains(?, container))", chosen))
    if not conditions:
        return None
    words = " AND ".join(text for text, _ in conditions)
    values = [value for _, some in conditions for value in some]
    known = [row[0] for row in connection.execute(_NAMESPACES.format(words), values).fetchall()]
    return [*known, *_forgotten(connection), NONE] if known else None


def _forgotten(connection: Connection) -> list[str]:
    """Namespaces of which retention also removed what names pods: one of the same name may have been there."""
    query = "SELECT DISTINCT namespace FROM loss WHERE cause = ? AND table_name IN ('pod', 'container') AND namespace IS NOT NULL"
    return [row[0] for row in connection.execute(query, [CAUSE]).fetchall()]
