"""Processes that were moved out of their container's cgroup, or made outside it, and the processes that they started there. Their rows are
not the container's.

The kernel records each move into a cgroup (event `move` of the table `container`), and each child that clone3 put into another cgroup than
its creator's as one. A process of a container, or its child, is astray after a move into no container, or into a container that is not
nested in the first. A runtime that moves its own child into a new container does not make
it astray: that child was in no container before.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from firsthand.ask.answer import Connection, Window, fetched

#: Generations of children that are followed, and processes.
DEEPEST, MOST = 64, 20_000
_AMONG = "exec_start IN (SELECT unnest(CAST(? AS BIGINT[])))"
_MOVES = """SELECT node, boot, exec_tgid, exec_start, ktime, time, container, cgroup_path FROM container
    WHERE event = 'move' AND exec_start IS NOT NULL AND time <= ?"""
_BEFORE = f"""SELECT node, boot, exec_tgid, exec_start, ktime, container, container_name, pod, cgroup_path FROM process
    WHERE time <= ? AND container IS NOT NULL AND {_AMONG}
    UNION ALL SELECT node, boot, exec_tgid, exec_start, ktime, container, container_name, pod, cgroup_path FROM container
    WHERE time <= ? AND event = 'move' AND container IS NOT NULL AND {_AMONG}"""  # noqa: S608
#: A child that is made elsewhere was in no container itself, its creator was. Its own rows come behind its move.
_MADE = f"""SELECT node, boot, exec_tgid, exec_start, coalesce(creator_tgid, parent_tgid) AS by_tgid,
    coalesce(creator_start, parent_start) AS by_start FROM process WHERE event = 'fork' AND time <= ? AND {_AMONG}"""  # noqa: S608
_CREATORS = f"""SELECT c.node, c.boot, c.exec_tgid, c.exec_start, w.ktime, w.container, w.container_name, w.pod, w.cgroup_path
    FROM ({_MADE}) c JOIN ({_BEFORE}) w ON c.node = w.node AND c.boot = w.boot AND c.by_tgid = w.exec_tgid AND c.by_start = w.exec_start"""  # noqa: S608
_LED = f"""SELECT m.*, arg_max(struct_pack(container := b.container, name := coalesce(b.pod, b.container_name), path := b.cgroup_path), b.ktime)
        AS origin FROM ({_MOVES}) m JOIN ({_BEFORE} UNION ALL {_CREATORS}) b ON m.node = b.node AND m.boot = b.boot AND m.exec_tgid = b.exec_tgid
        AND m.exec_start = b.exec_start WHERE b.ktime < m.ktime AND {_AMONG.replace("exec_start", "m.exec_start")} GROUP BY ALL ORDER BY m.ktime"""  # noqa: S608
_BELOW = """SELECT node, boot, exec_tgid, exec_start, parent_tgid, parent_start, time, ktime, container, cgroup_path FROM process
    WHERE event = 'fork' AND time <= ? AND parent_start IN (SELECT unnest(CAST(? AS BIGINT[]))) ORDER BY ktime"""
_ROWS = f"SELECT node, boot, exec_tgid, exec_start, event, time, ktime, exe FROM process WHERE time <= ? AND {_AMONG} ORDER BY ktime"  # noqa: S608

Key = tuple[str, str, int, int]


@dataclass
class Astray:
    """One process. `since`, `ktime`: when it was moved or forked. `origin`: the container that it was in, or that the moved process above
    it was in.
    """

    node: str
    origin: str
    name: str | None
    cgroup_path: str | None
    since: datetime
    ktime: int
    ended: datetime | None = None
    last: datetime | None = None
    binaries: set[str] = field(default_factory=set)


def astray(connection: Connection, window: Window, node: str | None = None) -> list[Astray]:
    """Returns the astray processes that ran in the window."""
    until = window.until.replace(tzinfo=None)
    found = {key: one for key, one in _moved(connection, until).items() if node is None or one.node == node}
    if not found:
        return []
    _follow(connection, until, found)
    for row in fetched(connection, _ROWS, [until, _starts(found)]):
        one = found.get(_key(row))
        if one is not None and row["ktime"] >= one.ktime:
            one.last = row["time"]
            one.binaries |= {row["exe"]} - {None}
            if row["event"] in ("exit", "left") and one.ended is None:
                one.ended = row["time"]
    since = window.since.replace(tzinfo=None)
    return [one for one in found.values() if one.ended is None or one.ended >= since]


def rows(found: Collection[Astray]) -> list[dict[str, Any]]:
    """Returns rows of `unknown`: one for each container that was left and cgroup of now."""
    groups: dict[tuple[str, str, str | None], list[Astray]] = {}
    for one in found:
        groups.setdefault((one.node, one.origin, one.cgroup_path), []).append(one)
    return [
        {
            "node": node,
            "cgroup_path": path,
            "pod_uid": None,
            "first": min(one.since for one in some),
            "last": max(one.last or one.since for one in some),
            "programs": len(some),
            "binaries": sorted(set().union(*(one.binaries for one in some))),
            "why": f"left container {some[0].name or origin[:12]}",
        }
        for (node, origin, path), some in groups.items()
    ]


def _moved(connection: Connection, until: datetime) -> dict[Key, Astray]:
    """Returns the processes that a move took out of a container."""
    moves = fetched(connection, f"SELECT DISTINCT exec_start FROM ({_MOVES})", [until])  # noqa: S608
    starts = [row["exec_start"] for row in moves]
    creators = sorted({row["by_start"] for row in fetched(connection, _MADE, [until, starts])}) if starts else []
    bounds = [until, until, starts, until, starts, until, starts, until, creators, until, creators, starts]
    found: dict[Key, Astray] = {}
    for row in fetched(connection, _LED, bounds) if starts else ():
        origin, key = row["origin"], _key(row)
        first = found.get(key)
        home, path = (first.origin, None) if first else (origin["container"], origin["path"])
        if row["container"] == home:
            if first is not None:
                first.ended = first.ended or row["time"]  # it is back again
        elif first is None and not _nested(row["cgroup_path"], path, home):
            found[key] = Astray(row["node"], home, origin["name"], row["cgroup_path"], row["time"], row["ktime"])
        elif first is not None:
            first.cgroup_path, first.ended = row["cgroup_path"], None
    return found


def _nested(path: str | None, outer: str | None, container: str) -> bool:
    """Whether a cgroup lies below that of a container, in which a process was in the cgroup `outer`."""
    head, named, rest = (outer or "").partition(container)
    place = f"{head}{named}{rest.partition('/')[0]}" if named else outer or ""
    return bool(place) and f"{path or ''}/".startswith(f"{place}/")


def _follow(connection: Connection, until: datetime, found: dict[Key, Astray]) -> None:
    """Adds the processes that they started outside the container, and all below those."""
    wanted = dict(found)
    for _ in range(DEEPEST):
        if not wanted or len(found) > MOST:
            break
        below: dict[Key, Astray] = {}
        for row in fetched(connection, _BELOW, [until, _starts(wanted)]):
            above = wanted.get((row["node"], row["boot"], row["parent_tgid"], row["parent_start"]))
            if above is None or row["ktime"] < above.ktime or row["container"] == above.origin or _key(row) in found:
                continue
            own = Astray(above.node, above.origin, above.name, row["cgroup_path"], row["time"], row["ktime"])
            below[_key(row)] = own
        found |= below
        wanted = below


def _key(row: dict[str, Any]) -> Key:
    return row["node"], row["boot"], row["exec_tgid"], row["exec_start"]


def _starts(found: Collection[Key]) -> list[int]:
    return sorted({key[3] for key in found})
