"""`status`: what is observed and followed now, and what the history holds of it."""

from __future__ import annotations

import contextlib
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from firsthand.ask import completeness
from firsthand.ask.completeness import iso
from firsthand.history import chain, manifest, place
from firsthand.history.holders import holders
from firsthand.probe.spec import UNNEEDED

#: Containers without a name are counted over this.
RECENT = timedelta(days=1)


#: Losses are shown over this, and make a machine unhealthy for this long.
LOSSES, UNHEALTHY = timedelta(days=1), timedelta(minutes=5)
#: Seconds between an event and its durable row beyond which something is wrong, and the least part of the disk to be free.
LAG, FREE = 5.0, 0.05


def status(connection: duckdb.DuckDBPyConnection, now: datetime, directory: Path) -> dict[str, Any]:
    """What `firsthand status --json` shows; see docs/status.md. `healthy` where `reasons` is empty."""
    found = {
        "processes": [
            {"pid": one.pid, "role": one.role, "since": iso(_moment(one.since))} for one in holders(directory)
        ],
        "observers": _observers(connection, now),
        "losses": _losses(connection, now),
        "disk": disk(directory),
        "chain": {"entries": manifest.chain_length(directory), "limit": chain.MOST},
        "runtimes": _runtimes(connection),
        "containers": _containers(connection, now),
    }
    reasons = _reasons(found, connection, now)
    return {"healthy": not reasons, "reasons": reasons, **found}


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def disk(directory: Path) -> dict[str, int]:
    """Bytes that each part of a history takes, and what its filesystem has free and in all; whether it is mounted read-only."""
    parts = {"log": place.LOG, "names": place.NAMES, "segments": place.GENERATIONS, "manifest": place.MANIFEST}
    found = os.statvfs(directory)
    sizes = {name: _size(directory / folder) for name, folder in parts.items()}
    room = {"free": found.f_bavail * found.f_frsize, "total": found.f_blocks * found.f_frsize}
    return {**sizes, **room, "read_only": bool(found.f_flag & os.ST_RDONLY)}


def _size(folder: Path) -> int:
    """Bytes of a file or below a folder; a file with several names counts once."""
    if folder.is_file():
        return folder.stat().st_size
    sizes: dict[int, int] = {}
    for root, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                found = (Path(root) / name).stat()
                sizes[found.st_ino] = found.st_size
    return sum(sizes.values())


def _losses(connection: duckdb.DuckDBPyConnection, now: datetime) -> list[dict[str, Any]]:
    query = "SELECT cause, sum(events), max(until) FROM loss WHERE until >= ? GROUP BY cause ORDER BY cause"
    rows = connection.execute(query, [(now - LOSSES).replace(tzinfo=None)]).fetchall()
    return [
        {"cause": cause, "events": int(events or 0), "last": iso(last.replace(tzinfo=UTC))}
        for cause, events, last in rows
    ]


def _reasons(found: dict[str, Any], connection: duckdb.DuckDBPyConnection, now: datetime) -> list[str]:
    """Why somebody should look, in words."""
    reasons = []
    if not any(one["observing"] for one in found["observers"]):
        reasons.append("nothing is being observed")
    roles = {one["role"] for one in found["processes"]}
    if roles:
        reasons += [f"the {role} does not run" for role in ("observer", "keeper") if role not in roles]
    for one in found["observers"]:
        lacking = [name for name in one["missing"] if one["observing"] and name not in UNNEEDED]
        reasons += [f"{one['node']}: hook {name} is missing" for name in lacking]
        lag = one["measures"].get("lag_seconds", 0)
        if one["observing"] and lag > LAG:
            reasons.append(f"{one['node']}: the last rows became durable {lag:g} s late")
    since = (now - UNHEALTHY).replace(tzinfo=None)
    row = connection.execute("SELECT sum(events) FROM loss WHERE until >= ?", [since]).fetchone()
    if row and row[0]:
        reasons.append(f"{int(row[0]):,} events or values were lost in the last five minutes")
    if found["disk"]["read_only"]:
        reasons.append("the history's disk is mounted read-only")
    if found["disk"]["free"] < FREE * found["disk"]["total"]:
        reasons.append(f"the history's disk has {found['disk']['free'] >> 20:,} MB left")
    return reasons


def _observers(connection: duckdb.DuckDBPyConnection, now: datetime) -> list[dict[str, Any]]:
    newest: dict[str, completeness.Span] = {}
    for span in sorted(completeness.spans(connection, now), key=lambda one: (one.observing(now), one.begin)):
        newest[span.node] = span
    return [
        {
            "node": span.node,
            "observing": span.observing(now),
            "since": iso(span.begin),
            "until": iso(span.end),
            "recorded": span.recorded,
            "lost": span.lost,
            "uptime": round((span.end - span.begin).total_seconds(), 1),
            "measures": span.measures,
            "scope": (span.scope or "").split("\n") if span.scope else [],
            "missing": sorted(name for name, state in span.hooks.items() if state.startswith("missing")),
            "hooks": span.hooks,
            "blind_spots": span.blind_spots,
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
