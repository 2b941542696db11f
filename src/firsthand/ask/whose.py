"""Why an answer about a pod, a container or a name may lack rows: rows whose container cannot be decided (law 11).

A row belongs to a container by its cgroup. That is not enough if the container has no name, if only the cgroup's path claims the
container, if the path is not known, or if a process left its container's cgroup.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from firsthand.ask import claims
from firsthand.ask.answer import Connection, Window, fetched, plural
from firsthand.ask.apart import apart
from firsthand.ask.astray import astray
from firsthand.history.store import summary
from firsthand.history.store.mentions import Condition

_LISTED = "(`firsthand ask unknown` lists them)"
#: Cgroups that a sentence names.
_NAMED = 3


def reasons(
    connection: Connection,
    window: Window,
    tables: Collection[str],
    node: str | None = None,
    began: datetime | None = None,
) -> list[str]:
    """Returns a sentence for each kind of such rows in the window: in `process`, and in those of `tables` that have containers.

    `began`: the record has what ran at the window's begin since this time.
    """
    found = claims.reasons(connection, window, tables)
    found += _unplaced(connection, window, tables, node) + _outside(connection, window, node, began)
    return found + _left(connection, window, node, began)


def _outside(connection: Connection, window: Window, node: str | None, began: datetime | None) -> list[str]:
    beside, gone = apart(connection, window, node, began), astray(connection, window, node)
    found = []
    if beside:
        number = sum(row["programs"] for row in beside)
        found.append(
            f"{plural(number, 'program')} ran apart from the host and in no known container, in {_paths(beside)} {_LISTED}"
        )
    if gone:
        whose = "its container's cgroup and ran on" if len(gone) == 1 else "their containers' cgroups and ran on"
        paths = _paths([{"cgroup_path": one.cgroup_path} for one in gone])
        found.append(f"{plural(len(gone), 'process', 'processes')} left {whose} in {paths} {_LISTED}")
    return found


#: Processes whose last row before the window, or one within it, says that they left the scope.
_LEFT = """SELECT count(*) AS number FROM (SELECT max(ktime) FILTER (event = 'left') AS gone, max(ktime) FILTER (event <> 'left' AND time < ?) AS back
    FROM process WHERE time >= ? AND time <= ? AND exec_start IN (SELECT unnest(CAST(? AS BIGINT[])))
    GROUP BY node, boot, exec_tgid, exec_start) WHERE gone IS NOT NULL AND (back IS NULL OR back < gone)"""


def _left(connection: Connection, window: Window, node: str | None, began: datetime | None) -> list[str]:
    """Processes that were moved out of the scope: no row has what they did there."""
    bounds = [min(window.since, began or window.since).replace(tzinfo=None), window.until.replace(tzinfo=None)]
    query = "SELECT DISTINCT exec_start FROM process WHERE event = 'left' AND time >= ? AND time <= ? AND (? IS NULL OR node = ?)"
    starts = [row["exec_start"] for row in fetched(connection, query, [*bounds, node, node])]
    values = [window.since.replace(tzinfo=None), *bounds, starts]
    number = int(fetched(connection, _LEFT, values)[0]["number"]) if starts else 0
    return (
        [f"{plural(number, 'process', 'processes')} left the scope: what was done then is not recorded"]
        if number
        else []
    )


def _paths(rows: Sequence[dict[str, Any]]) -> str:
    paths = list(dict.fromkeys(str(row["cgroup_path"] or "an unknown cgroup") for row in rows))
    more = f" and {len(paths) - _NAMED:,} more" if len(paths) > _NAMED else ""
    return ", ".join(paths[:_NAMED]) + more


def _unplaced(connection: Connection, window: Window, tables: Collection[str], node: str | None) -> list[str]:
    """Rows in a cgroup whose path is not known: their container is not known either."""
    names = claims.with_owners(tables)
    rows = " UNION ALL ".join(
        f"""SELECT node, boot, cgroup_id FROM {name} WHERE time >= ? AND time <= ? AND cgroup_path IS NULL
            AND cgroup_id IS NOT NULL AND container IS NULL"""  # noqa: S608 - of claims.OWNED
        for name in names
    )
    query = f"SELECT count(DISTINCT (node, boot, cgroup_id)) AS number FROM ({rows}) WHERE ? IS NULL OR node = ?"  # noqa: S608
    values = [window.since.replace(tzinfo=None), window.until.replace(tzinfo=None)] * len(names)
    such = dict.fromkeys(names, Condition("=", "outside", (summary.UNPLACED,)))
    number = int(fetched(connection, query, [*values, node, node], such)[0]["number"])
    whose = "it" if number == 1 else "them"
    return (
        [f"the path of {plural(number, 'cgroup')} is not known: what ran in {whose} may be of any container"]
        if number
        else []
    )
