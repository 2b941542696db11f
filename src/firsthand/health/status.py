"""`status`: what is observed and followed now, and what the history holds of it."""

from __future__ import annotations

import contextlib
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from firsthand import settings
from firsthand.ask import completeness, proven
from firsthand.ask.answer import Connection
from firsthand.ask.completeness import iso
from firsthand.errors import HistoryError
from firsthand.history import place
from firsthand.history.keep import scrubbed
from firsthand.history.log import alive
from firsthand.history.store import chain, manifest
from firsthand.history.store.holders import holders, rests
from firsthand.host import machine
from firsthand.probe.spec import UNNEEDED
from firsthand.settings.sections.integrity import Integrity

#: Containers without a name are counted over this.
RECENT = timedelta(days=1)


#: Seconds for which an observer's sign of life, each 5 s while its appends succeed, stands for a row of its own.
WORKS = 20.0
#: Losses are shown over this, and make a machine unhealthy for this long.
LOSSES, UNHEALTHY = timedelta(days=1), timedelta(minutes=5)
#: Seconds between an event and its durable row beyond which something is wrong, and the least part of the disk to be free.
LAG, FREE = 5.0, 0.05
#: How long a round of checks may last.
ROUND = timedelta(minutes=2)


def status(connection: Connection, now: datetime, directory: Path) -> dict[str, Any]:
    """What `firsthand status --json` shows; see docs/status.md. `healthy` where `reasons` is empty."""
    processes = _processes(directory)
    found = {
        "processes": processes,
        "rests": rests(directory),
        "observers": _observers(connection, now, processes),
        "losses": _losses(connection, now),
        "disk": disk(directory),
        "scrub": scrubbed.plain(
            directory, settings.usable()[Integrity].scrub_days, lambda at: iso(_moment(int(at * 1_000_000)))
        ),
        "chain": {"entries": manifest.chain_length(directory), "limit": chain.MOST},
        "runtimes": _runtimes(connection),
        "content": _content(connection, now),
        "containers": _containers(connection, now),
    }
    reasons = _reasons(found, connection, now)
    return {"healthy": not reasons, "reasons": reasons, **found}


def _processes(directory: Path) -> list[dict[str, Any]]:
    return [
        {
            "pid": one.pid,
            "role": one.role,
            "since": iso(_moment(one.since)),
            "stopped": one.stopped,
            "silent_seconds": round(one.silent, 1),
        }
        for one in holders(directory)
    ]


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def disk(directory: Path) -> dict[str, int]:
    """Bytes that each part of a history takes, and what its filesystem has free and in all; whether it is mounted read-only."""
    parts = {"log": place.LOG, "names": place.NAMES, "segments": place.GENERATIONS, "manifest": place.MANIFEST}
    found = os.statvfs(directory)
    sizes = {name: _size(directory / folder) for name, folder in parts.items() if name != "segments"}
    sizes["segments"] = _of_segments(directory)
    room = {"free": found.f_bavail * found.f_frsize, "total": found.f_blocks * found.f_frsize}
    return {**sizes, **room, "read_only": bool(found.f_flag & os.ST_RDONLY)}


def _of_segments(directory: Path) -> int:
    """Bytes of segments as the manifest has them; by their files where generations out of use are still there, or there is no manifest."""
    try:
        generation = manifest.load(directory)
    except HistoryError:
        return _size(directory / place.GENERATIONS)
    if {path.name for path in (directory / place.GENERATIONS).glob("*")} - {str(generation.generation)}:
        return _size(directory / place.GENERATIONS)
    return sum(one.bytes for one in generation.segments) + sum(manifest.gone(directory).values())


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


def _losses(connection: Connection, now: datetime) -> list[dict[str, Any]]:
    query = "SELECT cause, sum(events), max(until) FROM loss WHERE until >= ? GROUP BY cause ORDER BY cause"
    rows = connection.execute(query, [(now - LOSSES).replace(tzinfo=None)]).fetchall()
    return [
        {"cause": cause, "events": int(events or 0), "last": iso(last.replace(tzinfo=UTC))}
        for cause, events, last in rows
    ]


def _reasons(found: dict[str, Any], connection: Connection, now: datetime) -> list[str]:
    """Why somebody should look, in words."""
    reasons = []
    if not any(one["observing"] for one in found["observers"]):
        reasons.append("nothing is being observed")
    roles = {one["role"] for one in found["processes"]}
    if roles:
        needed = {"observer", "keeper"} - {found["rests"]}
        reasons += [f"the {role} does not run" for role in sorted(needed - roles, reverse=True)]
    reasons += _silent(found["processes"])
    for one in found["observers"]:
        lacking = [name for name in one["missing"] if one["observing"] and name not in UNNEEDED]
        reasons += [f"{one['node']}: hook {name} is missing" for name in lacking]
        if one["observing"] and one["unproven_since"]:
            reasons.append(
                f"{one['node']}: no canary has proven the hooks since {one['unproven_since']}: is the supervisor stopped?"
            )
        silent = one["measures"].get("dissector_silent_seconds", 0)
        if one["observing"] and silent >= alive.UNANSWERED:
            reasons.append(
                f"{one['node']}: no dissector answered for {silent:.0f} s: names and requests wait or are lost"
            )
        lag = one["measures"].get("lag_seconds", 0)
        if one["observing"] and lag > LAG:
            reasons.append(f"{one['node']}: the last rows became durable {lag:g} s late")
    observing = {one["node"] for one in found["observers"] if one["observing"] and one["checks"]}
    reasons += [
        f"{one['node']}: no round of checks of contents ended since {one['until']}"
        for one in found["content"]
        if one["late"] and one["node"] in observing
    ]
    since = (now - UNHEALTHY).replace(tzinfo=None)
    row = connection.execute("SELECT sum(events) FROM loss WHERE until >= ?", [since]).fetchone()
    if row and row[0]:
        reasons.append(f"{int(row[0]):,} events or values were lost in the last five minutes")
    reasons += _steered(connection, since)
    reasons += _damaged(connection, now)
    if found["disk"]["read_only"]:
        reasons.append("the history's disk is mounted read-only")
    if found["disk"]["free"] < FREE * found["disk"]["total"]:
        reasons.append(f"the history's disk has {found['disk']['free'] >> 20:,} MB left")
    return reasons


def _steered(connection: Connection, since: datetime) -> list[str]:
    """What somebody else made of the maps that steer the kernel side."""
    query = """SELECT detail, max(until) FROM loss WHERE until >= ? AND cause IN ('control_changed', 'scope_remade')
               GROUP BY detail ORDER BY detail"""
    rows = connection.execute(query, [since]).fetchall()
    return [
        f"what steers the kernel side was changed until {iso(until.replace(tzinfo=UTC))}: {detail}"
        for detail, until in rows
    ]


def _damaged(connection: Connection, now: datetime) -> list[str]:
    query = "SELECT count(*) FROM loss WHERE cause IN ('log_damaged', 'segment_damaged') AND time >= ?"
    row = connection.execute(query, [(now - LOSSES).replace(tzinfo=None)]).fetchone()
    return (
        ["a part of the history was found damaged within the last day: firsthand verify names it"]
        if row and row[0]
        else []
    )


def _silent(processes: list[dict[str, Any]]) -> list[str]:
    """Processes that live and do not get on."""
    stopped = [one for one in processes if one["stopped"]]
    silent = [one for one in processes if not one["stopped"] and one["silent_seconds"] > alive.OVERDUE]
    told = [f"the {one['role']} (pid {one['pid']}) is stopped: kill -CONT {one['pid']}" for one in stopped]
    return told + [
        f"the {one['role']} (pid {one['pid']}) gave no sign of life for {one['silent_seconds']:.0f} s" for one in silent
    ]


def _observers(connection: Connection, now: datetime, processes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The newest span of each machine. On a loaded one its last row may be old while the observer gets on: its sign of life tells."""
    works = any(
        one["role"] == "observer" and not one["stopped"] and one["silent_seconds"] <= WORKS for one in processes
    )
    newest: dict[str, completeness.Span] = {}
    for span in sorted(completeness.spans(connection, now), key=lambda one: (one.observing(now), one.begin)):
        newest[span.node] = span
    late = proven.overdue(connection, now)
    return [
        {
            "node": span.node,
            "observing": span.observing(now) or (works and span.open and span.node == machine.node()),
            "since": iso(span.begin),
            "until": iso(span.end),
            "unproven_since": iso(late[span.node]) if span.node in late and span.observing(now) else None,
            "recorded": span.recorded,
            "lost": span.lost,
            "uptime": round((span.end - span.begin).total_seconds(), 1),
            "measures": _measures(connection, span),
            "scope": (span.scope or "").split("\n") if span.scope else [],
            "missing": sorted(name for name, state in span.hooks.items() if state.startswith("missing")),
            "hooks": span.hooks,
            "blind_spots": span.blind_spots,
            "checks": span.settings.get("content") is True,
        }
        for span in newest.values()
    ]


def _measures(connection: Connection, span: completeness.Span) -> dict[str, float]:
    """What the observer measured of itself, as its newest row says."""
    query = """SELECT measures FROM observer WHERE node = ? AND event <> 'runtime' AND time >= ? AND coalesce(ktime, 0) >= ?
               ORDER BY ktime DESC, time DESC, recorded DESC LIMIT 1"""
    row = connection.execute(query, [span.node, _moment(span.told).replace(tzinfo=None), span.ktime]).fetchone()
    found: dict[str, float] = json.loads((row[0] if row else None) or "{}")
    return found


def _runtimes(connection: Connection) -> list[dict[str, Any]]:
    """The newest word on each runtime's socket."""
    query = "SELECT node, time, settings FROM observer WHERE event = 'runtime' ORDER BY time"
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for node, time, told in connection.execute(query).fetchall():
        for socket, state in json.loads(told or "{}").get("runtimes", {}).items():
            found[node, socket] = {"node": node, "socket": socket, **state, "since": iso(time.replace(tzinfo=UTC))}
    return list(found.values())


def _content(connection: Connection, now: datetime) -> list[dict[str, Any]]:
    """The newest round of checks of each machine (table `content`); `late`: the next one should have ended."""
    query = """SELECT node, arg_max({'until': "until", 'every': every, 'checked': checked, 'differing': differing, 'unchecked': unchecked,
        'reasons': reasons}, "until") FROM content WHERE event = 'round' AND time >= ? GROUP BY node ORDER BY node"""
    found = []
    for node, told in connection.execute(query, [(now - RECENT).replace(tzinfo=None)]).fetchall():
        until = told.pop("until").replace(tzinfo=UTC)
        late = now - until > timedelta(seconds=2 * told.pop("every")) + ROUND
        found.append({"node": node, "until": iso(until), "late": late, **told, "reasons": json.loads(told["reasons"])})
    return found


def _containers(connection: Connection, now: datetime) -> dict[str, Any]:
    query = """SELECT count(*), count(*) FILTER (NOT named) FROM (SELECT node, container,
        bool_or(pod IS NOT NULL OR container_name IS NOT NULL) AS named FROM process
        WHERE container IS NOT NULL AND time >= ? GROUP BY node, container)"""
    row = connection.execute(query, [(now - RECENT).replace(tzinfo=None)]).fetchone()
    every, unnamed = row if row else (0, 0)
    return {"seen": every, "named": every - unnamed, "unnamed": unnamed, "since": iso(now - RECENT)}
