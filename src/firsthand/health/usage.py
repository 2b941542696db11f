"""`usage`: what the history holds, what it costs, whose it is, and how long that will go on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from firsthand.ask.answer import iso
from firsthand.history import place
from firsthand.history.keep import inventory, retention
from firsthand.history.keep.budget import DAY, Piece
from firsthand.history.store import hold, manifest, segment
from firsthand.history.store.hold import Hold
from firsthand.history.store.manifest import Snapshot
from firsthand.history.store.share import HOST, NONE, PROTECTED
from firsthand.settings.sections.retention import Limits

#: What rows and bytes can be told by.
BY = ("namespace", "table", "workload", "binary")
#: The rate is taken over the last so many days.
RECENT = 7
#: Keys of one answer, the largest first.
MOST = 1_000
_KEYS = {
    "workload": f"coalesce(workload, namespace, if(container IS NULL, '{HOST}', '{NONE}'))",
    "binary": "coalesce(exe, '(none)')",
}


def usage(directory: Path, limits: Limits, now: datetime, by: str) -> dict[str, Any]:
    """All of it as plain data; bytes are those of segments, by rows where a segment holds several. HistoryError where there is none."""
    snapshot = manifest.load(directory)
    holds = hold.load(directory)
    root = segment.generation(directory, snapshot.generation)
    pieces = inventory.Inventory(directory).pieces(root, snapshot.segments, holds)
    micro = int(now.timestamp() * 1_000_000)
    return {
        "history": str(directory),
        "bytes": _bytes(directory, snapshot),
        "limits": msgspec.to_builtins(limits),
        "bytes_allowed_now": retention.goal(directory, snapshot, limits),
        **_held(pieces, limits, micro),
        "holds": _holds(pieces, holds),
        "by": by,
        "rows": _BY[by](directory, snapshot, pieces, limits),
    }


def _bytes(directory: Path, snapshot: Snapshot) -> dict[str, int]:
    """Of the segments in force, of the logs in front of them, of generations that readers may still have, and free ones."""
    found = os.statvfs(directory)
    logs = [path for name in (place.LOG, place.NAMES) for path in (directory / name).glob("*.log")]
    return {
        "segments": sum(one.bytes for one in snapshot.segments),
        "log": sum(path.stat().st_size for path in logs if path.exists()),
        "leaving": retention.leaving(directory, snapshot.generation),
        "free": found.f_bavail * found.f_frsize,
    }


def _held(pieces: Sequence[Piece], limits: Limits, now: int) -> dict[str, Any]:
    """From when to when rows are held, bytes a day lately, and for how many days the budget lasts at that."""
    first, last = _ends(pieces)
    recent = [one for one in pieces if one.share.last > now - RECENT * DAY]
    days = min(RECENT * DAY, now - min((one.share.first for one in recent if one.share.first > 0), default=now)) / DAY
    rate = int(sum(one.bytes for one in recent) / max(days, 1.0)) if recent else 0
    return {
        "since": first,
        "until": last,
        "bytes_a_day": rate,
        "days_at_this_rate": round(min(limits.days, limits.bytes / rate), 1) if rate else limits.days,
    }


def _ends(pieces: Iterable[Piece]) -> tuple[str | None, str | None]:
    spans = [(one.share.first, one.share.last) for one in pieces if one.share.first > 0]
    if not spans:
        return None, None
    return _iso(min(first for first, _ in spans)), _iso(max(last for _, last in spans))


def _iso(micro: int) -> str:
    return iso(datetime.fromtimestamp(micro / 1_000_000, UTC))


def _holds(pieces: Sequence[Piece], holds: Sequence[Hold]) -> dict[str, int]:
    """What holds have, part of which would be kept without them."""
    held = [one for one in pieces if one.held]
    return {
        "number": len(holds),
        "rows": sum(one.held for one in held),
        "bytes": sum(one.bytes - one.free for one in held),
    }


def _namespaces(_: Path, __: Snapshot, pieces: Sequence[Piece], limits: Limits) -> list[dict[str, Any]]:
    """With `share`: the bytes that it may have however much others write."""
    fixed = {name: limit.bytes for name, limit in limits.namespaces.items() if limit.bytes is not None}
    names = {one.share.namespace for one in pieces}
    others = max(len(names - set(fixed)), 1)
    equal = (limits.bytes - sum(fixed.values())) // others
    rows = _grouped(pieces, "namespace", lambda one: one.share.namespace)
    for row in rows:
        mine = [one for one in pieces if one.share.namespace == row["namespace"]]
        row["protected_bytes"] = sum(one.bytes for one in mine if one.share.kind == PROTECTED)
        row["held_bytes"] = sum(one.bytes - one.free for one in mine)
        row["share"] = fixed.get(row["namespace"], equal)
    return rows


def _tables(_: Path, __: Snapshot, pieces: Sequence[Piece], ___: Limits) -> list[dict[str, Any]]:
    return _grouped(pieces, "table", lambda one: one.table)


def _grouped(pieces: Sequence[Piece], name: str, key: Callable[[Piece], str]) -> list[dict[str, Any]]:
    groups: dict[str, list[Piece]] = {}
    for one in pieces:
        groups.setdefault(key(one), []).append(one)
    rows: list[dict[str, Any]] = [
        {
            name: word,
            "rows": sum(one.share.rows for one in mine),
            "bytes": sum(one.bytes for one in mine),
            **dict(zip(("since", "until"), _ends(mine), strict=True)),
        }
        for word, mine in groups.items()
    ]
    return sorted(rows, key=lambda row: (-row["bytes"], row[name]))[:MOST]


def _workloads(directory: Path, snapshot: Snapshot, _: Sequence[Piece], __: Limits) -> list[dict[str, Any]]:
    return _by_rows(directory, snapshot, "workload")


def _binaries(directory: Path, snapshot: Snapshot, _: Sequence[Piece], __: Limits) -> list[dict[str, Any]]:
    return _by_rows(directory, snapshot, "binary")


def _by_rows(directory: Path, snapshot: Snapshot, name: str) -> list[dict[str, Any]]:
    """By a column of the rows themselves: all segments are read. Bytes are an estimate: a segment's, by its rows."""
    import duckdb
    import pyarrow as pa

    from firsthand.history.store import connection

    if not snapshot.segments:
        return []
    root = segment.generation(directory, snapshot.generation).absolute()
    sizes = {str(root / one.path): one.bytes / max(one.rows, 1) for one in snapshot.segments}
    files = ", ".join(connection.quoted(path) for path in sizes)
    query = f"""SELECT {_KEYS[name]} AS word, count(*), sum(each)::BIGINT, epoch_us(min(time)), epoch_us(max(time))
        FROM read_parquet([{files}], filename = true, union_by_name = true, hive_partitioning = false) r
        JOIN sizes ON path = r.filename GROUP BY word ORDER BY 3 DESC, word LIMIT {MOST}"""  # noqa: S608 - quoted
    settings: dict[str, Any] = {"memory_limit": connection.MEMORY, "threads": connection.THREADS}
    try:
        with duckdb.connect(":memory:", config=settings) as db:
            db.register("sizes", pa.table({"path": list(sizes), "each": list(sizes.values())}))
            found = db.execute(query).fetchall()
    except duckdb.Error as error:
        raise connection.explained(error) from error
    keys = (name, "rows", "bytes", "since", "until")
    return [dict(zip(keys, (*row[:3], *(_iso(at) if at else None for at in row[3:])), strict=True)) for row in found]


_BY: dict[str, Callable[[Path, Snapshot, Sequence[Piece], Limits], list[dict[str, Any]]]] = {
    "namespace": _namespaces,
    "table": _tables,
    "workload": _workloads,
    "binary": _binaries,
}
