"""`unknown`: containers that the kernel showed and that no runtime named, what ran apart from the host in no known container, and what left
its container's cgroup."""

from __future__ import annotations

from typing import Any

from firsthand.ask import astray
from firsthand.ask.answer import COUNT, Asked, Found, cut, plural
from firsthand.ask.apart import apart
from firsthand.ask.claims import CONTRADICTIONS
from firsthand.ask.question import Question

NEEDS = ("process", "container")
_COLUMNS = ["container", "why", "runtime", "pod_uid", "first", "last", "programs", "binaries", "cgroup_path"]


_NAMELESS, _CLAIMED, _ELSEWHERE = "no name", "not confirmed", "contradicted"
_SAID = {
    _CLAIMED: "named by the path alone, which no runtime confirmed",
    _ELSEWHERE: "claimed to be a container that its runtime has elsewhere",
}


def _told(row: dict[str, Any]) -> dict[str, Any]:
    why = f"{_ELSEWHERE}: {row['reason']}" if row["reason"] else _CLAIMED if row["named"] else _NAMELESS
    return {name: value for name, value in row.items() if name not in ("named", "doubtful", "reason")} | {"why": why}


def unknown(asked: Asked) -> Found:
    """One row for each container id without a name, each cgroup that no runtime confirmed as what it is named, each one of processes
    apart from the host in no known container, and each one of processes that were moved there out of a container."""
    where, parameters = asked.running(
        ("container IS NOT NULL", []), ("event IN ('exec', 'seen', 'fork', 'folded')", [])
    )
    query = f"""SELECT node, container, any_value(runtime) AS runtime, any_value(pod_uid) AS pod_uid, min(time) AS first,
        max(coalesce(folded_until, time)) AS last, sum({COUNT}) FILTER (event <> 'fork') AS programs, list_sort(list(DISTINCT exe)) AS binaries,
        any_value(cgroup_path) AS cgroup_path, bool_or(pod IS NOT NULL OR container_name IS NOT NULL) AS named,
        doubtful, reason FROM (
            SELECT p.*, coalesce(claimed AND (pod IS NOT NULL OR container_name IS NOT NULL), false) AS doubtful, c.reason
            FROM (SELECT * FROM process p WHERE {where}) p LEFT JOIN ({CONTRADICTIONS}) c
            ON p.claimed AND p.node = c.node AND p.container = c.container
            AND (rtrim(p.cgroup_path, '/') = c.path OR starts_with(p.cgroup_path, c.path || '/')))
        GROUP BY node, container, doubtful, reason ORDER BY first, container"""  # noqa: S608
    every = asked.rows(query, parameters)
    rows = [_told(row) for row in every if row["reason"] or row["doubtful"] or not row["named"]]
    nameless = sum(row["why"] == _NAMELESS for row in rows)
    number = len({(row["node"], row["container"]) for row in every})
    sentence = f"{nameless:,} of {plural(number, 'container')} {'has' if nameless == 1 else 'have'} an id and no name"
    for why in (_CLAIMED, _ELSEWHERE):
        count = sum(row["why"].startswith(why) for row in rows)
        sentence += f"; {plural(count, 'cgroup')} {_SAID[why]}" if count else ""
    beside = apart(asked.connection, asked.window, asked.filters.node, asked.session)
    gone = astray.astray(asked.connection, asked.window, asked.filters.node)
    if beside:
        sentence += f"; processes in {plural(len(beside), 'cgroup')} ran apart from the host and in no known container"
    if gone:
        sentence += f"; {plural(len(gone), 'process', 'processes')} left {'its' if len(gone) == 1 else 'their'} container's cgroup"
    rows += [{"container": None, "runtime": None, **row} for row in [*beside, *astray.rows(gone)]]
    rows = sorted(rows, key=lambda row: (row["first"], row["container"] or "", row["cgroup_path"] or ""))
    return Found(sentence, cut(rows, asked.limit), len(rows), _COLUMNS)


QUESTIONS = {
    "unknown": Question(
        "containers with an id and no name, and what ran apart from the host in no known container",
        "",
        unknown,
        NEEDS,
        running=True,
        rank=70,
    ),
}
