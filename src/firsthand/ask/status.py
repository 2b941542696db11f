"""`status`: what is observed and followed now, and what the history holds of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from firsthand.ask import completeness
from firsthand.ask.completeness import ALIVE_WITHIN, iso

#: Containers without a name are counted over this.
RECENT = timedelta(days=1)


def status(connection: duckdb.DuckDBPyConnection, now: datetime) -> dict[str, Any]:
    """`observers` by node (observing, since, recorded, lost), `runtimes` by socket, `containers` (named, unnamed) of the last day."""
    return {
        "observers": _observers(connection, now),
        "runtimes": _runtimes(connection),
        "containers": _containers(connection, now),
    }


def _observers(connection: duckdb.DuckDBPyConnection, now: datetime) -> list[dict[str, Any]]:
    newest: dict[str, completeness.Span] = {}
    for span in completeness.spans(connection, now):
        newest[span.node] = span
    rows = connection.execute(
        "SELECT node, arg_max(recorded, time), arg_max(lost, time) FROM observer WHERE event <> 'runtime' GROUP BY node"
    ).fetchall()
    counted = {node: (recorded, lost) for node, recorded, lost in rows}
    return [
        {
            "node": span.node,
            "observing": span.open and now - span.end <= ALIVE_WITHIN,
            "since": iso(span.begin),
            "until": iso(span.end),
            "recorded": counted[span.node][0],
            "lost": counted[span.node][1],
            "scope": (span.scope or "").split("\n") if span.scope else [],
            "missing": sorted(name for name, state in span.hooks.items() if state.startswith("missing")),
        }
        for span in newest.values()
    ]


def _runtimes(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The newest word on each runtime's socket."""
    query = "SELECT node, time, settings FROM observer WHERE event = 'runtime' ORDER BY time"
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for node, time, settings in connection.execute(query).fetchall():
        for socket, state in json.loads(settings or "{}").get("runtimes", {}).items():
            found[node, socket] = {"node": node, "socket": socket, **state, "since": iso(time.replace(tzinfo=UTC))}
    return list(found.values())


def _containers(connection: duckdb.DuckDBPyConnection, now: datetime) -> dict[str, Any]:
    query = """SELECT count(*), count(*) FILTER (NOT named) FROM (SELECT node, container,
        bool_or(pod IS NOT NULL OR container_name IS NOT NULL) AS named FROM process
        WHERE container IS NOT NULL AND time >= ? GROUP BY node, container)"""
    row = connection.execute(query, [(now - RECENT).replace(tzinfo=None)]).fetchone()
    every, unnamed = row if row else (0, 0)
    return {"seen": every, "named": every - unnamed, "unnamed": unnamed, "since": iso(now - RECENT)}
