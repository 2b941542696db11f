"""`beacons`: small connections from one program to one peer elsewhere that come regularly, as implants report to their master.

A score of 0 to 1 is the product of five terms, each of which is shown; docs/ask.md says what they can and cannot tell.

* regular: 1 - 2 x the median absolute deviation of the intervals, in medians of them: 0.8 at a jitter of +-20%, 0.5 at +-50%, about 0
  for arrivals by chance.
* alike: the same of the bytes sent, from 1 down to 0.5, since a beacon that has a task sends more.
* small: 1 up to 16 kB both ways for one connection (median), 0 from 1 MB on, by the logarithm between.
* brief: 1 where a connection (median) lasts up to a tenth of the interval, 0 from the whole of it on: what is always open is no beacon.
* often: from 0 at 4 beats to 1 at 20.
"""

from __future__ import annotations

import math
from typing import Any

from firsthand.ask import lineage, show, talk
from firsthand.ask.answer import COUNT, Asked, Found, cut
from firsthand.ask.question import Question
from firsthand.ask.reliance import BYTES, PEERS
from firsthand.schema import capability

NEEDS = ("connection", "pod", "container", "address")
THRESHOLD = 0.5
_COLUMNS = ["score", "who", "exe", "peer", "port", "beats", "interval", "jitter", "bytes", "first", "last", "explained"]
_WIDE = [
    "regular",
    "alike",
    "small",
    "brief",
    "often",
    "pods",
    "args",
    "beyond",
    "names",
    "peer_kind",
    "lineage",
    "exec_id",
    "node",
]
TERMS = ("regular", "alike", "small", "brief", "often")
#: Fewer beats say nothing; connections within a second of each other are one beat; more often than this is no beacon but traffic.
FEWEST, BEAT, QUICKEST = 5, 1.0, 2.0
_SMALL, _LARGE = 16_000, 1_000_000
_BRIEF = 0.1
_NONE_AT, _ALL_AT = 4, 20
#: Time is asked for by everybody, regularly, in datagrams of 48 bytes, or up to 96 with an authenticator (RFC 5905, 7.3).
_NTP = "coalesce(transport = 'udp' AND peer_port = 123 AND bytes_sent BETWEEN 48 * segments_sent AND 96 * segments_sent, false)"
#: Lookups are in the table `name`, with a mark where they carry something else.
_DNS = "coalesce(peer_port = 53, false)"

#: What tells rows apart: with it all names of the peer that the row has (`said`), the first of which decides whose beat it is.
_TOLD = "node, who, pod_key, owned, exe, peer_address, port, said"
_SAME = " AND ".join(f"r.{name} IS NOT DISTINCT FROM p.{name}" for name in _TOLD.split(", "))
#: Everything this side began, by its beats: established ones by their ends, which know the bytes; failed ones by their attempts.
_BEATS = f"""((event = 'close' AND ({talk.DIRECTION}) = 'out' AND NOT {talk.flagged("LISTENING")}) OR {talk.FAILED})"""


def beacons(asked: Asked) -> Found:
    """One row for each program and peer at or above the threshold, the highest score first."""
    threshold = THRESHOLD if asked.threshold is None else asked.threshold
    scored = [scored for row in _groups(asked) if (scored := _scored(row))["score"] >= threshold]
    rows, expected = list[dict[str, Any]](), list[dict[str, Any]]()
    for row in scored:
        known_to = asked.reach.expects(row["peer_address"], [*(row["names"] or []), row["peer"]])
        (expected if known_to else rows).append(row)
    rows.sort(key=lambda row: (-row["score"], -row["beats"], row["who"], row["peer"]))
    known = lineage.images(asked, [row["exec_id"] for row in rows[: asked.limit]])
    for row in rows:
        _complete(row, known, asked.ordinary)
    sentence = f"{'Yes' if rows else 'No'}: {len(rows):,} programs beat regularly at a score of {threshold:g} or more"
    sentence += f"; {len(expected):,} more do so to expected peers (network.expected)" if expected else ""
    return Found(sentence, cut(rows, asked.limit), len(rows), _COLUMNS, wide=_WIDE, reasons=_folded(asked))


def _folded(asked: Asked) -> list[str]:
    """Equal short connections that folded into one row: when each of them was is not recorded."""
    where, values = asked.ran(("event = 'folded'", []), ("transport IN ('tcp', 'udp')", []))
    if not asked.everything:
        elsewhere, more = asked.reach.elsewhere(asked)
        where, values = f"{where} AND {elsewhere}", [*values, *more]
    number = asked.number(f"SELECT sum({COUNT}) FROM connection WHERE {where}", values)  # noqa: S608
    return [f"{number:,} connections are folded: their times are not recorded (setting folding)"] if number else []


def _groups(asked: Asked) -> list[dict[str, Any]]:
    """The measures of each program and peer: by pod; and over all pods of a workload, where that beats more (a pod for each beat)."""
    where, values = asked.where((_BEATS, []), ("transport IN ('tcp', 'udp')", []), (f"NOT {_NTP} AND NOT {_DNS}", []))
    if not asked.everything:
        elsewhere, more = asked.reach.elsewhere(asked)
        where, values = f"{where} AND {elsewhere}", [*values, *more]
    measured = asked.rows(_measured(where), values * 3)
    single = [row for row in measured if not row["together"]]
    together = [row for row in measured if row["together"]]
    for row in measured:
        if row.pop("together"):
            del row["pod_key"]
    found = {
        (row["node"], row["who"], row["exe"], row["peer"], row["port"]): row
        for row in together
        if row["pods_number"] > 1
    }
    for row in single:
        key = (row["node"], row["who"], row["exe"], row["peer"], row["port"])
        if key in found and score(row) >= score(found[key]):
            del found[key]
    return [*single, *(row for key, row in found.items())]


def _measured(where: str) -> str:
    """One row for each key with at least FEWEST beats: how many, how far apart, how large, how long; by pod, and (`together`) by workload.

    A name that a program asked for once stays its peer's name, though it was cached and is not in every row. The rows are read two or three
    times: to count them by what tells keys apart, and for the measures of the keys that beat often enough; nothing of them is kept in
    between. Keys with more than a connection a second (`dense`) are measured only where they pause often enough.
    """
    said = f"""SELECT node, {talk.WHO["workload"]} AS who, {talk.WHO["pod"]} AS pod_key, workload IS NOT NULL AS owned, exe, peer_address,
        peer_port || '/' || transport AS port, nullif(array_to_string(names, chr(0)), '') AS said, {talk.BEGAN} AS began"""
    own = "split_part(said, chr(0), 1)"
    long = "epoch(max(last) - min(first))"
    often = f"{long} / sum(number) < {BEAT} AS dense"
    enough = f"HAVING sum(number) >= {FEWEST} AND {long} >= {(FEWEST - 1) * BEAT}"
    return f"""WITH counted AS MATERIALIZED (SELECT {_TOLD}, count(*) AS number, min(began) AS first, max(began) AS last
            FROM ({said} FROM connection WHERE {where}) GROUP BY {_TOLD}),
        named AS (SELECT node, who, exe, peer_address, arg_max({own}, last) AS name FROM counted WHERE said IS NOT NULL GROUP BY ALL),
        keyed AS MATERIALIZED (SELECT c.*, coalesce({own}, n.name, c.peer_address) AS peer FROM counted c LEFT JOIN named n
            ON c.peer_address = n.peer_address AND c.exe = n.exe AND c.who = n.who AND c.node = n.node),
        many AS MATERIALIZED (SELECT row_number() OVER () AS key, * FROM (
            SELECT false AS together, node, pod_key, who, exe, peer, port, {often} FROM keyed GROUP BY ALL {enough} UNION ALL
            SELECT true, node, NULL, who, exe, peer, port, {often} FROM keyed WHERE owned GROUP BY ALL {enough})),
        those AS MATERIALIZED (SELECT {", ".join(f"k.{name}" for name in _TOLD.split(", "))}, b.key, b.dense FROM keyed k JOIN many b
            ON {" AND ".join(f"k.{name} IS NOT DISTINCT FROM b.{name}" for name in ("port", "peer", "exe", "who", "node"))}
            AND CASE WHEN b.together THEN k.owned ELSE k.pod_key = b.pod_key END),
        {_pulsing(f"{said} FROM connection WHERE {where}")},
        busy AS MATERIALIZED (SELECT * FROM many WHERE NOT dense OR key IN (FROM pulsing)),
        parts AS MATERIALIZED (SELECT * FROM those SEMI JOIN busy USING (key)),
        whose AS (SELECT key, list(DISTINCT pod_key) AS pods, coalesce(list_distinct(flatten(list(DISTINCT string_split(said, chr(0))))), [])[:5]
            AS names FROM parts GROUP BY key),
        rows AS NOT MATERIALIZED ({said}, coalesce(bytes_sent, 0) AS sent, coalesce(bytes_received, 0) AS received,
            coalesce(duration, 0) AS duration, {talk.FAILED} AS failed, exec_id, cap_effective, peer_kind FROM connection WHERE {where}),
        mine AS (SELECT key, count(*) AS connections, list_sort(list(began)) AS times, median(sent) AS sent, mad(sent) AS sent_deviation,
            median(sent + received) AS bytes, median(duration) / 1e9 AS lasts, count_if(failed)::BIGINT AS failed, min(began) AS first,
            max(began) AS last, arg_max(exec_id, began) AS exec_id, bit_or(cap_effective) AS cap_effective,
            any_value(peer_kind) AS peer_kind, arg_max(r.peer_address, began) AS peer_address
            FROM rows r JOIN parts p ON {_SAME} GROUP BY key),
        beats AS (SELECT *, list_filter(list_transform(range(2, len(times) + 1), lambda i: epoch(times[i] - times[i - 1])),
            lambda one: one >= {BEAT}) AS apart FROM mine)
        SELECT node, pod_key, who, exe, peer, port, connections, len(apart) + 1 AS beats, list_median(apart) AS interval,
            list_mad(apart) AS deviation, m.* EXCLUDE (key, connections, times, apart), names, list_sort(pods)[:5] AS pods,
            len(pods) AS pods_number, together
        FROM beats m JOIN busy USING (key) JOIN whose USING (key)
        WHERE len(apart) + 1 >= {FEWEST} AND list_median(apart) >= {QUICKEST}"""  # noqa: S608


def _pulsing(rows: str) -> str:
    """The dense keys that pause often enough, and long enough: between the last connection of one second that has any and the first of the
    next."""
    return f"""seconds AS (SELECT key, epoch(began) // {BEAT} AS second, min(began) AS first, max(began) AS last
            FROM ({rows}) r JOIN (FROM those WHERE dense) p ON {_SAME} GROUP BY key, second),
        quiet AS (SELECT key, epoch(first - lag(last) OVER (PARTITION BY key ORDER BY second)) AS apart FROM seconds),
        pulsing AS (SELECT key FROM quiet WHERE apart >= {BEAT} GROUP BY key
            HAVING count(*) + 1 >= {FEWEST} AND median(apart) >= {QUICKEST})"""  # noqa: S608


def terms(row: dict[str, Any]) -> dict[str, float]:
    """The terms of the score, each 0 to 1, of one row's measures."""
    interval = row["interval"]
    return {
        "regular": _within(1 - 2 * row["deviation"] / interval),
        "alike": 0.5 + 0.5 * _within(1 - 2 * row["sent_deviation"] / max(row["sent"], 1)),
        "small": _within(math.log(_LARGE / max(row["bytes"], 1)) / math.log(_LARGE / _SMALL)),
        "brief": _within((1 - row["lasts"] / interval) / (1 - _BRIEF)),
        "often": _within((row["beats"] - _NONE_AT) / (_ALL_AT - _NONE_AT)),
    }


def _within(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def score(row: dict[str, Any]) -> float:
    """Their product."""
    return math.prod(terms(row).values())


def _scored(row: dict[str, Any]) -> dict[str, Any]:
    found = {name: round(value, 3) for name, value in terms(row).items()}
    return row | found | {"score": round(score(row), 3)}


def _complete(row: dict[str, Any], known: dict[str, Any], ordinary: int) -> None:
    """What is told of each: the terms in words, the process and its rights."""
    row["jitter"] = f"±{100 * row['deviation'] / row['interval']:.0f}%"
    row["explained"] = (
        f"{row['beats']} beats every {row['interval']:.1f} s (half within ±{row['deviation']:.1f} s), {row['sent']:.0f} B sent each "
        f"(half within ±{row['sent_deviation']:.0f} B), each {row['lasts']:.2f} s; {' x '.join(f'{name} {row[name]:g}' for name in TERMS)}"
    )
    row["args"] = lineage.arguments(row["exec_id"], known)
    row["lineage"] = lineage.words(lineage.chain(row["exec_id"], known))
    bits = row.pop("cap_effective")
    row["capabilities"] = None if bits is None else capability.names(bits)
    row["beyond"] = show.beyond(bits, ordinary)
    row["interval"], row["deviation"] = round(row["interval"], 3), round(row["deviation"], 3)


QUESTIONS = {
    "beacons": Question(
        "small connections that come regularly",
        "",
        beacons,
        NEEDS,
        options=frozenset({"everything", "threshold"}),
        relies=(*PEERS, *BYTES),
        rank=160,
    ),
}
