"""Processes that live apart from the host and in no known container, whatever their cgroup is called.

Apart is what the kernel says: a pid namespace that is not the host's, or another root file system. Rows do not have a process's root
directory: another root file system is a mount namespace of its own, with a binary from a file system from which nothing in the host's mount
namespace ran a program since the boot. A mount namespace alone is every hardened systemd unit's.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from firsthand.ask.answer import COUNT, Connection, Window, fetched
from firsthand.history.store import summary
from firsthand.history.store.mentions import Condition

#: Whether a namespace is the host's; a process whose namespaces are not known is not judged.
_HOSTS = "contains(' ' || coalesce(host_namespaces, '') || ' ', ' {} ')"
_PID, _MOUNT = (_HOSTS.format(kind) for kind in ("pid", "mount"))
_EXECUTED = "event IN ('exec', 'seen', 'folded')"
_KEY = "concat_ws(' ', node, boot, exec_tgid, exec_start)"
#: Those that may be apart, as far as their own rows tell.
_OTHERS = f"""SELECT *, {_PID} AS with_host, {_KEY} AS whose, time >= ? OR coalesce(folded_until >= ?, false) AS within FROM process
    WHERE {{where}} AND container IS NULL AND ns_pid IS NOT NULL AND NOT ({_PID} AND {_MOUNT}) AND ({_EXECUTED} OR event = 'fork')"""  # noqa: S608
#: What is still to be known of them: whether the host runs programs from their file systems, whether forks executed something, and whether
#: what began before the window ended before it.
_OPEN = f"""SELECT list(DISTINCT [boot, file_device]) FILTER (with_host AND event <> 'fork' AND file_device IS NOT NULL) AS devices,
    list(DISTINCT exec_start) FILTER (NOT with_host AND event = 'fork') AS forks, list(DISTINCT exec_start) FILTER (NOT within) AS earlier,
    count(*) FILTER (NOT with_host) AS own FROM ({_OTHERS})"""  # noqa: S608
_DEVICE = f"SELECT 1 FROM process WHERE boot = ? AND file_device = ? AND {_MOUNT} LIMIT 1"  # noqa: S608
#: A fork counts where no exec followed: a runtime's own children are forked outside the cgroup of the container that they become.
_WHOSE = f"SELECT DISTINCT {_KEY} AS whose FROM process WHERE {{where}} AND {{event}} AND exec_start IN (SELECT unnest(CAST(? AS BIGINT[])))"  # noqa: S608
_ENDED = "event IN ('exit', 'left') AND time < ?"
_APART = f"""WITH apart AS (SELECT *, CASE WHEN NOT with_host THEN 'pid namespace'
            WHEN list_contains(CAST(? AS VARCHAR[]), concat_ws(' ', boot, file_device)) THEN 'root file system' END AS why FROM ({_OTHERS})
        WHERE (event <> 'fork' OR whose NOT IN (SELECT unnest(CAST(? AS VARCHAR[]))))
        AND (within OR (folded_until IS NULL AND whose NOT IN (SELECT unnest(CAST(? AS VARCHAR[]))))))
    SELECT node, cgroup_path, any_value(pod_uid) AS pod_uid, min(time) AS first, max(coalesce(folded_until, time)) AS last,
        sum({COUNT}) AS programs, list_sort(list(DISTINCT exe) FILTER (exe IS NOT NULL)) AS binaries,
        string_agg(DISTINCT why, ', ' ORDER BY why) AS why
    FROM apart WHERE why IS NOT NULL GROUP BY node, cgroup_path ORDER BY first, cgroup_path"""  # noqa: S608
#: Only segments that have such rows are opened.
_SUCH = {"process": Condition("=", "outside", (summary.APART,))}


def apart(
    connection: Connection, window: Window, node: str | None = None, began: datetime | None = None
) -> list[dict[str, Any]]:
    """One row for each cgroup with such processes that ran in the window: what ran in it, when, and `why` it is apart.

    `began`: since when rows tell of what ran at the window's begin; None: what began before it does not count.
    """
    where, values = _where(window, node, began)
    within = [window.since.replace(tzinfo=None)] * 2
    open_ = fetched(connection, _OPEN.format(where=where), [*within, *values], _SUCH)[0]
    others = [f"{boot} {device}" for boot, device in open_["devices"] or () if not _host_has(connection, boot, device)]
    if not others and not open_["own"]:
        return []
    became = _whose(connection, where, values, _EXECUTED, [], open_["forks"])
    ended = _whose(connection, where, values, _ENDED, within[:1], open_["earlier"])
    return fetched(connection, _APART.format(where=where), [others, *within, *values, became, ended], _SUCH)


def _whose(
    connection: Connection, where: str, values: list[Any], event: str, more: list[Any], starts: list[int] | None
) -> list[str]:
    """The processes among those that started then which have rows of an event."""
    query = _WHOSE.format(where=where, event=event)
    return [row["whose"] for row in fetched(connection, query, [*values, *more, starts])] if starts else []


def _host_has(connection: Connection, boot: str, device: str) -> bool:
    """Whether a program ran from a file system in the host's mount namespace."""
    return bool(fetched(connection, _DEVICE, [boot, device], {"process": Condition("=", "host_device", (device,))}))


def _where(window: Window, node: str | None, began: datetime | None) -> tuple[str, list[Any]]:
    since = min(window.since, began or window.since)
    bounds = [since.replace(tzinfo=None), window.until.replace(tzinfo=None)]
    return (
        ("time >= ? AND time <= ?", bounds)
        if node is None
        else ("time >= ? AND time <= ? AND node = ?", [*bounds, node])
    )
