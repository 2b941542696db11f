"""`exfiltration`: bytes that a workload sent elsewhere in an hour, against its own past.

Two things are looked at, for each workload and hour of the window:

* a peer that it sent to before the window: the hour's bytes against those of the hours in which it did;
* peers that it never sent to before the window, together: against the hours before in which it met new ones.

`usual` is the median of such hours and three times their deviation (1.4826 x the median absolute deviation, the standard deviation of
what is normally distributed), or the third largest of them where that is more, so that what has happened three times is usual; never
less than the floor. The score is log10(bytes / usual), from 0 to 1: 0.5 at three times the usual, 1 at ten times. It is multiplied by
`known`, the part of a day that the workload was known before the window: nothing can be unusual for who has no past.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import timedelta
from statistics import median
from typing import Any

from firsthand.ask import past, talk
from firsthand.ask.answer import COUNT, Asked, Found, cut, plural
from firsthand.ask.question import Question
from firsthand.ask.reliance import BYTES
from firsthand.ask.show import size
from firsthand.errors import HistoryError

NEEDS = ("connection", "process", "pod", "container", "address")
THRESHOLD = 0.5
#: Bytes in an hour up to which nothing is remarkable.
FLOOR = 10_000_000
_COLUMNS = ["score", "hour", "who", "peer", "bytes_sent", "usual", "times", "binaries", "explained"]
_WIDE = ["known", "hours_before", "peers", "pods", "connections", "node"]
#: Hours of workloads and peers that are read.
MOST = 500_000
_SAME = 3


def exfiltration(asked: Asked) -> Found:
    """One row for each workload, peer and hour at or above the threshold, the highest score first."""
    threshold = THRESHOLD if asked.threshold is None else asked.threshold
    hours = _hours(asked)
    expected, others = list[dict[str, Any]](), list[dict[str, Any]]()
    for row in hours:
        (expected if asked.reach.expects(row["peer_address"], [row["peer"]]) else others).append(row)
    judged = _judged(others, asked)
    rows = [row for row in judged if row["score"] >= threshold]
    rows.sort(key=lambda row: (-row["score"], -row["bytes_sent"], row["hour"]))
    total = sum(row["bytes_sent"] for row in judged)
    sentence = f"{'Yes' if rows else 'No'}: {len(rows):,} hours with more sent elsewhere than is usual, of {size(total)} sent in all"
    sentence += f", against {past.words(past.length(asked))} before"
    if expected:
        sentence += (
            f"; {size(sum(row['bytes_sent'] for row in expected))} to expected peers left out (network.expected)"
        )
    reasons = past.reasons(asked) + _unended(asked)
    return Found(sentence, cut(rows, asked.limit), len(rows), _COLUMNS, wide=_WIDE, reasons=reasons)


def _unended(asked: Asked) -> list[str]:
    """What is sent elsewhere on connections that go on is not known: bytes stand in the row of the end."""
    elsewhere = [] if asked.everything else [asked.reach.elsewhere(asked)]
    where, values = asked.standing((f"({talk.DIRECTION}) IS DISTINCT FROM 'in'", []), *elsewhere)
    query = f"""SELECT peer_address, list_distinct(flatten(list(coalesce(names, [])))) AS names FROM connection WHERE {where}
        AND event IN ('connect', 'accept', 'taken', 'seen', 'close') GROUP BY node, boot, cookie, peer_address, peer_port HAVING {talk.OPEN}"""  # noqa: S608
    number = sum(not asked.reach.expects(row["peer_address"], row["names"]) for row in asked.rows(query, values))
    if not number:
        return []
    few = number == 1
    goes = f"{plural(number, 'connection')} elsewhere {'goes' if few else 'go'} on"
    return [
        f"{goes}: how much {'it has' if few else 'they have'} sent is known when {'it ends' if few else 'they end'}"
    ]


def _hours(asked: Asked) -> list[dict[str, Any]]:
    """Bytes sent by workload, peer and hour, before the window and in it. Those of a connection count where it ends."""
    sent: tuple[str, list[Any]] = (
        f"{talk.ENDED} AND ({talk.DIRECTION}) IS DISTINCT FROM 'in' AND bytes_sent > 0",
        [],
    )
    where, values = asked.existing(sent)
    if not asked.everything:
        elsewhere, more = asked.reach.elsewhere(asked)
        where, values = f"{where} AND {elsewhere}", [*values, *more]
    query = f"""WITH rows AS (SELECT *, {talk.WHO["workload"]} AS who, coalesce(names[1], peer_address) AS peer,
            {talk.WHO["pod"]} AS pod_key, time >= ? AS within FROM connection WHERE {where})
        SELECT who, peer, date_trunc('hour', time) AS hour, within, sum(bytes_sent)::BIGINT AS bytes_sent, sum({COUNT})::BIGINT AS connections,
            any_value(peer_address) AS peer_address, list_sort(list(DISTINCT exe) FILTER (exe IS NOT NULL))[:5] AS binaries,
            list_sort(list(DISTINCT pod_key))[:5] AS pods, any_value(node) AS node
        FROM rows GROUP BY ALL ORDER BY hour LIMIT {MOST + 1}"""  # noqa: S608
    rows = asked.rows(query, [asked.since, *values])
    if len(rows) > MOST:
        raise HistoryError(f"more than {MOST:,} hours of workloads and peers: narrow it by -n, --pod or --node")
    return rows


def _judged(hours: Sequence[dict[str, Any]], asked: Asked) -> list[dict[str, Any]]:
    """The window's hours by workload, each with its score."""
    found = []
    lasted = _lasted(asked)
    for who, mine in _by(hours, "who").items():
        before = [row for row in mine if not row["within"]]
        known = min(lasted.get(who, timedelta(0)) / timedelta(days=1), 1.0)
        met = _by(before, "peer")
        for row in mine:
            if row["within"] and row["peer"] in met:
                found.append(_scored(row, [one["bytes_sent"] for one in met[row["peer"]]], known))
        fresh = [row for row in mine if row["within"] and row["peer"] not in met]
        found += [_scored(row, _new_before(before), known) for row in _together(fresh)]
    return found


def _by(rows: Iterable[dict[str, Any]], name: str) -> dict[Any, list[dict[str, Any]]]:
    """Rows by the value of a column, in their order."""
    found: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row[name], []).append(row)
    return found


def _lasted(asked: Asked) -> dict[str, timedelta]:
    """For how long each workload was known before the window: since its first program, or its first connection to anybody."""
    where, values = asked.before()
    rows = " UNION ALL ".join(
        f"SELECT {talk.WHO['workload']} AS who, time FROM {table} WHERE {where}"  # noqa: S608
        for table in ("process", "connection")
    )
    query = f"SELECT who, min(time) AS first FROM ({rows}) GROUP BY who"  # noqa: S608
    return {row["who"]: asked.since - row["first"] for row in asked.rows(query, [*values, *values])}


def _new_before(before: Sequence[dict[str, Any]]) -> list[int]:
    """Bytes to peers of whom it was the first hour, by hour; its very first hour, in which everybody was new, aside."""
    first: dict[str, Any] = {}
    sums: dict[Any, int] = {}
    for row in before:  # by hour
        first.setdefault(row["peer"], row["hour"])
        if first[row["peer"]] == row["hour"]:
            sums[row["hour"]] = sums.get(row["hour"], 0) + row["bytes_sent"]
    return [number for _, number in sorted(sums.items())[1:]]


def _together(fresh: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The new peers of each hour as one row, named by the one that got most."""
    found = []
    for rows in _by(fresh, "hour").values():
        rows.sort(key=lambda row: -row["bytes_sent"])
        sums = {name: sum(row[name] for row in rows) for name in ("bytes_sent", "connections")}
        lists = {name: sorted({one for row in rows for one in row[name]})[:5] for name in ("binaries", "pods")}
        others = f" and {len(rows) - 1:,} more" if len(rows) > 1 else ""
        found.append(
            rows[0]
            | sums
            | lists
            | {"peer": f"{rows[0]['peer']}{others} (new)", "peers": [row["peer"] for row in rows[:20]]}
        )
    return found


def usual(before: Sequence[int]) -> float:
    """What is usual, by the bytes of hours before; FLOOR at least."""
    if not before:
        return float(FLOOR)
    middle = median(before)
    spread = 1.4826 * median([abs(one - middle) for one in before])
    often = sorted(before)[-_SAME] if len(before) >= _SAME else 0
    return max(middle + 3 * spread, often, FLOOR)


def score(sent: int, before: Sequence[int], known: float) -> float:
    """From 0 to 1, see above."""
    return min(max(math.log10(max(sent, 1) / usual(before)), 0.0), 1.0) * known


def _scored(row: dict[str, Any], before: Sequence[int], known: float) -> dict[str, Any]:
    limit = usual(before)
    hours = f"{len(before):,} hours before" if before else "no hour before"
    explained = f"{size(row['bytes_sent'])} against a usual {size(int(limit))} ({hours}, floor {size(FLOOR)}); known {known:.2f} of a day"
    more = {
        "usual": int(limit),
        "times": round(row["bytes_sent"] / limit, 2),
        "hours_before": len(before),
        "known": round(known, 3),
    }
    same = {name: value for name, value in row.items() if name not in ("within", "peer_address")}
    return {
        "peers": [row["peer"]],
        **same,
        **more,
        "score": round(score(row["bytes_sent"], before, known), 3),
        "explained": explained,
    }


QUESTIONS = {
    "exfiltration": Question(
        "more sent elsewhere than is usual",
        "",
        exfiltration,
        NEEDS,
        recent=timedelta(days=1),
        compares=True,
        standing=True,
        options=frozenset({"everything", "threshold"}),
        relies=BYTES,
        rank=170,
    ),
}
