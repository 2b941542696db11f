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
#: Hours of workloads and peers, and workloads with a peer, that are read.
MOST = 500_000
_SAME = 3


def exfiltration(asked: Asked) -> Found:
    """One row for each workload, peer and hour at or above the threshold, the highest score first."""
    threshold = THRESHOLD if asked.threshold is None else asked.threshold
    hours = _hours(asked)
    others, expected = _apart(asked, hours)
    earlier, more = _apart(asked, _past(asked, hours))
    expected += more
    judged = _judged(others, earlier, asked)
    rows = [row for row in judged if row["score"] >= threshold]
    rows.sort(key=lambda row: (-row["score"], -row["bytes_sent"], row["hour"], row["who"], row["peer"] or ""))
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


def _apart(asked: Asked, rows: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of peers that are not expected, and of those that are."""
    found, expected = list[dict[str, Any]](), list[dict[str, Any]]()
    for row in rows:
        (expected if asked.reach.expects(row["peer_address"], [row["peer"]]) else found).append(row)
    return found, expected


def _sent(asked: Asked) -> list[tuple[str, list[Any]]]:
    """What is looked at: bytes that went elsewhere. Those of a connection count where it ends."""
    sent = f"{talk.ENDED} AND ({talk.DIRECTION}) IS DISTINCT FROM 'in' AND bytes_sent > 0"
    return [(sent, []), *([] if asked.everything else [asked.reach.elsewhere(asked)])]


#: Whose a row is, who the peer is, and the hour.
_KEYS = f"""{talk.WHO["workload"]} AS who, coalesce(names[1], peer_address) AS peer, date_trunc('hour', time) AS hour"""


def _hours(asked: Asked) -> list[dict[str, Any]]:
    """Bytes sent by workload, peer and hour of the window."""
    where, values = asked.where(*_sent(asked))
    query = f"""WITH rows AS (SELECT {_KEYS}, bytes_sent, folded_count, peer_address, exe, {talk.WHO["pod"]} AS pod_key, node FROM connection
            WHERE {where})
        SELECT who, peer, hour, sum(bytes_sent)::BIGINT AS bytes_sent, sum({COUNT})::BIGINT AS connections,
            any_value(peer_address) AS peer_address, list_sort(list(DISTINCT exe) FILTER (exe IS NOT NULL))[:5] AS binaries,
            list_sort(list(DISTINCT pod_key))[:5] AS pods, any_value(node) AS node
        FROM rows GROUP BY who, peer, hour ORDER BY hour LIMIT {MOST + 1}"""  # noqa: S608
    return _bounded(asked.rows(query, values), "hours of workloads and peers")


def _past(asked: Asked, hours: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """By workload and peer, before the window: the first hour, the bytes sent in it and in all; and by hour, for those of `hours`."""
    where, values = asked.before(*_sent(asked))
    pairs = sorted({(row["who"], row["peer"] or "") for row in hours})
    query = f"""WITH hours AS (SELECT who, peer, hour, sum(bytes_sent)::BIGINT AS sent, any_value(peer_address) AS peer_address
            FROM (SELECT {_KEYS}, bytes_sent, peer_address FROM connection WHERE {where}) GROUP BY who, peer, hour),
        peers AS (SELECT who, peer, min(hour) AS first, arg_min(sent, hour) AS first_sent, sum(sent)::BIGINT AS bytes_sent,
            any_value(peer_address) AS peer_address, list(sent) AS each FROM hours GROUP BY who, peer),
        pairs AS (SELECT unnest(CAST(? AS VARCHAR[])) AS its, unnest(CAST(? AS VARCHAR[])) AS other)
        SELECT who, peer, first, first_sent, bytes_sent, peer_address, CASE WHEN its IS NOT NULL THEN each END AS each
        FROM peers LEFT JOIN pairs ON who = its AND coalesce(peer, '') = other ORDER BY first LIMIT {MOST + 1}"""  # noqa: S608
    whos, peers = ([pair[at] for pair in pairs] for at in (0, 1))
    return _bounded(asked.rows(query, [*values, whos, peers]), "workloads with a peer")


def _bounded(rows: list[dict[str, Any]], what: str) -> list[dict[str, Any]]:
    if len(rows) > MOST:
        raise HistoryError(f"more than {MOST:,} {what}: narrow it by -n, --pod or --node")
    return rows


def _judged(hours: Sequence[dict[str, Any]], earlier: Sequence[dict[str, Any]], asked: Asked) -> list[dict[str, Any]]:
    """The window's hours by workload, each with its score."""
    found = []
    lasted, of = _lasted(asked), _by(earlier, "who")
    for who, mine in _by(hours, "who").items():
        before = of.get(who, [])
        known = min(lasted.get(who, timedelta(0)) / timedelta(days=1), 1.0)
        met = {row["peer"]: row["each"] for row in before}
        found += [_scored(row, met[row["peer"]], known) for row in mine if row["peer"] in met]
        fresh = [row for row in mine if row["peer"] not in met]
        new = _new_before(before) if fresh else []
        found += [_scored(row, new, known) for row in _together(fresh)]
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
    sums: dict[Any, int] = {}
    for row in before:
        sums[row["first"]] = sums.get(row["first"], 0) + row["first_sent"]
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
    if not before or 6 * max(before) <= FLOOR:  # what follows is less than that
        return float(FLOOR)
    middle = median(before)
    spread = 1.4826 * median([abs(one - middle) for one in before])
    often = sorted(before)[-_SAME] if len(before) >= _SAME else 0
    return max(middle + 3 * spread, often, FLOOR)


def score(sent: int, before: Sequence[int], known: float) -> float:
    """From 0 to 1, see above."""
    return _score(sent, usual(before), known)


def _score(sent: int, limit: float, known: float) -> float:
    return min(max(math.log10(max(sent, 1) / limit), 0.0), 1.0) * known


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
    same = {name: value for name, value in row.items() if name != "peer_address"}
    return {
        "peers": [row["peer"]],
        **same,
        **more,
        "score": round(_score(row["bytes_sent"], limit, known), 3),
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
