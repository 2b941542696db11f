"""The conversations that an answer of `connected` is made of: which match, in which way, and how surely."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from firsthand.ask import talk
from firsthand.ask.answer import Asked
from firsthand.ask.nameless import HEADLESS, SOCKET
from firsthand.ask.target import Condition, Target

#: Who asked, as one text: names belong to a pod, else to a container, else to the machine.
ASKER = "coalesce(pod_uid, container, node)"
_AMONG = "IN (SELECT unnest(CAST(? AS VARCHAR[])))"
#: Values that stand in a statement one by one.
_FEW = 50
#: The peer is the machine or pod itself: what a name gave there says nothing of others.
_LOOPBACK = f"(peer_kind IS NOT DISTINCT FROM 'loopback' OR {talk.flagged('LOOPBACK')})"
PLACE = ", ".join(
    f"any_value({name}) AS {name}"
    for name in ("pod", "namespace", "workload", "pod_uid", "container", "container_name", "image", "claimed")
)
#: Ways to match that rest on a lookup of the pod, container or machine, and not on the connection itself.
BY_LOOKUP = ("name", "alias", "given")
#: Of rows `ways` of one conversation: it was open throughout the window, though none of them is in it.
OPEN = """NOT bool_or(ways.event IN ('close', 'folded')) AND bool_or(ways.event IN ('seen', 'taken') OR transport = 'udp'
    OR ways.outcome IS NOT DISTINCT FROM 'established')"""
_BEGUN = "(event = 'connect' AND outcome IS DISTINCT FROM 'started') OR (event = 'folded' AND way = 'out')"


@dataclass
class ConversationTotals:
    """Conversations in all their number, whatever the limit: `number` match, in `total` rows, by outcome.

    `lookups`: how many of them match by the lookup of another process alone; `more`: begun here to an address that the name had, and no
    name is known.
    """

    number: int = 0
    total: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    lookups: int = 0
    more: int = 0

    def add(self, *, matched: bool, lookup: bool, word: str, more: bool, total: int, number: int) -> None:
        """Conversations that are alike."""
        if matched:
            self.number, self.total = self.number + number, self.total + total
            self.outcomes[word] = self.outcomes.get(word, 0) + number
        self.lookups += number if lookup else 0
        self.more += number if more else 0


class Conversations:
    """The conversations of a window and the ways in which they match what is looked for."""

    def __init__(
        self, asked: Asked, target: Target, lookups: list[dict[str, Any]], requests: list[dict[str, Any]]
    ) -> None:
        self.asked, self.target = asked, target
        self._addresses = sorted({one for row in lookups for one in row["addresses"] or ()})
        self._sql, self._values = self._relation(lookups, requests)

    def found(self) -> tuple[ConversationTotals, list[dict[str, Any]]]:
        """The summary of all of them, and those that match, up to the limit, in no order. One statement: the rows are read once."""
        among = f"peer_address {_AMONG} AND coalesce(names, []) = [] AND begun AND {HEADLESS}"
        named = "false" if self.target.name is None else f"({among})"
        query = f"""{self._sql} SELECT * EXCLUDE (matched, begun) FROM (SELECT * FROM conversations WHERE matched ORDER BY time LIMIT ?)
            UNION ALL BY NAME SELECT s AS summed FROM (SELECT matched, matched AND by_lookup AS lookup, CASE WHEN direction = 'in'
                THEN 'incoming' ELSE coalesce(outcome, 'without an outcome') END AS word, NOT matched AND {named} AS more,
                count(*) AS total, sum(coalesce(folded_count, 1))::BIGINT AS number FROM conversations GROUP BY ALL) s"""  # noqa: S608
        addresses = [self._addresses] if self.target.name is not None else []
        summary, found = ConversationTotals(), list[dict[str, Any]]()
        for row in self.asked.rows(query, [*self._values, self.asked.limit, *addresses]):
            summed = row.pop("summed")
            if summed is None:
                found.append(row)
            else:
                summary.add(**summed)
        return summary, found

    def _relation(self, lookups: list[dict[str, Any]], requests: list[dict[str, Any]]) -> tuple[str, list[Any]]:
        ways = _ways(self.target, lookups, requests)
        told = f"({talk.TOLD} OR event IN ('seen', 'taken'))"
        source, parameters = self._source(told, self._can_match(lookups, requests))
        flags = ", ".join(f"coalesce({text}, false) AS by_{name}" for name, (text, _) in ways.items())
        either = " OR ".join(f"by_{name}" for name in ways)
        why = ", ".join(f"CASE WHEN bool_or(by_{name}) THEN '{name}' END" for name in ways)
        sure = " OR ".join(f"by_{name}" for name in ways if name not in BY_LOOKUP) or "false"
        values = [value for _, some in ways.values() for value in some]
        askers = sorted({row["exec_id"] for row in lookups if row["exec_id"] and not row["served"]})
        query = f"""WITH given AS (SELECT unnest(CAST(? AS VARCHAR[])) AS whose, unnest(CAST(? AS TIMESTAMP[])) AS given_since),
            askers AS (SELECT unnest(CAST(? AS VARCHAR[])) AS asking),
            told AS (SELECT {_READ}, {talk.DIRECTION} AS way, {talk.BEGAN} AS began, exec_id IN (SELECT asking FROM askers) AS asks,
                {_LOOPBACK} AS itself FROM ({source}) WHERE NOT {talk.flagged("LISTENING")}),
            ways AS (SELECT * FROM (SELECT *, {flags} FROM told LEFT JOIN given ON whose = {ASKER} || ' ' || peer_address)
                WHERE {either} OR peer_address {_AMONG}),
            conversations AS MATERIALIZED (SELECT {_TALK}, list_filter([{why}], lambda w: w IS NOT NULL) AS why, bool_or({either}) AS matched,
                NOT bool_or({sure}) AND NOT bool_or(asks) AS by_lookup, bool_or(itself) AS loopback,
                bool_or({_BEGUN}) AS begun
                FROM ways GROUP BY node, boot, cookie, peer_address, peer_port
                HAVING bool_or(ways.time >= ? OR coalesce(ways.folded_until >= ?, false)) OR ({OPEN}))"""  # noqa: S608
        given = _given(lookups) if self.target.name else {}
        near = self._addresses if self.target.name else []
        return query, [
            list(given),
            list(given.values()),
            askers,
            *parameters,
            *values,
            near,
            self.asked.since,
            self.asked.since,
        ]

    def _source(self, told: str, either: list[Condition]) -> tuple[str, list[Any]]:
        """The rows that fulfil one of the conditions, or all rows, each once; where one can be told by a single column it is looked for
        apart, so that nothing else of the other rows is read."""
        parts, values, before = list[str](), list[Any](), list[Condition]()
        for one in either or [("true", [])]:
            not_before: list[Condition] = [(f"({text}) IS NOT TRUE", some) for text, some in before]
            where, more = self.asked.reaching((told, []), one, *not_before)
            parts.append(f"SELECT {_READ} FROM connection WHERE {where}")  # noqa: S608
            values += more
            before.append(one)
        return " UNION ALL ".join(parts), values

    def _can_match(self, lookups: list[dict[str, Any]], requests: list[dict[str, Any]]) -> list[Condition]:
        """Conditions of which each matching row fulfils one, in words by which files are left out: what it has of addresses, names and
        numbers. None for the names below one."""
        target = self.target
        if target.name is None:
            return [_among(name, target.addresses) for name in ("peer_address", "nat_address")]
        if target.below:
            return []
        names = sorted({*target.names, *(row["name"] for row in lookups if row["why"] == "alias")})
        cookies = sorted({row["cookie"] for row in requests if row["cookie"] is not None})
        either = ["list_has_any(names, CAST(? AS VARCHAR[]))", f"peer_address {_AMONG}"]
        either += ["cookie IN (SELECT unnest(CAST(? AS BIGINT[])))"] if cookies else []
        return [(f"({' OR '.join(either)})", [names, self._addresses, *([cookies] if cookies else [])])]


def _among(column: str, values: list[str]) -> Condition:
    """That a column has one of some values; of a few as constants, which decide what of a file is read."""
    if 0 < len(values) <= _FEW:
        return f"{column} IN ({', '.join('?' * len(values))})", list(values)
    return f"{column} {_AMONG}", [values]


#: The columns that a conversation is made of.
_READ = """node, boot, cookie, time, ktime, event, transport, outcome, duration, peer_address, peer_port, exec_id, exe, pid, uid, euid,
    cap_effective, cap_permitted, pod, namespace, workload, pod_uid, container, container_name, image, claimed, local_address, local_port,
    nat_address, nat_port, peer_kind, peer_pod, peer_namespace, peer_workload, peer_name, names, names_cut, bytes_sent, bytes_received,
    path, folded_count, folded_until, flag_names"""
#: Of a conversation's rows: who had it first that is known for sure, the newest of what changes. Conditions stand in the arguments: DuckDB
#: copies all columns for each FILTER.
_TALK = f"""node, boot, cookie, peer_address, peer_port, min(began) AS time, max(CASE WHEN {talk.ENDED} THEN {
    talk.LAST
} END) AS until,
    arg_min(way, CASE WHEN event <> 'taken' THEN ktime END) AS direction, any_value(transport) AS transport,
    {
    ", ".join(
        f"coalesce(arg_min({name}, CASE WHEN NOT {talk.flagged('LISTENER')} THEN ktime END), any_value({name})) AS {name}"
        for name in ("exec_id", "exe", "pid", "uid", "euid", "cap_effective", "cap_permitted")
    )
},
    list_distinct(list(exec_id)) AS users, {
    PLACE
}, any_value(local_address) AS local_address, any_value(local_port) AS local_port,
    any_value(nat_address) AS nat_address, any_value(nat_port) AS nat_port,
    {
    ", ".join(
        f"any_value({name}) AS {name}"
        for name in ("peer_kind", "peer_pod", "peer_namespace", "peer_workload", "peer_name")
    )
},
    arg_max(names, CASE WHEN names <> [] THEN time END) AS names, bool_or(names_cut) AS names_cut,
    CASE WHEN bool_or(event = 'folded') THEN 'established' ELSE
        coalesce(arg_max(outcome, CASE WHEN event IN ('connect', 'accept') THEN ktime END), arg_max(outcome, ktime)) END AS outcome,
    arg_max(outcome, CASE WHEN {talk.ENDED} THEN ktime END) AS ending, max(CASE WHEN {
    talk.ENDED
} THEN bytes_sent END) AS bytes_sent,
    max(CASE WHEN {talk.ENDED} THEN bytes_received END) AS bytes_received, any_value(path) AS path,
    max(folded_count) AS folded_count, max(folded_until) AS folded_until,
    list_sort(list_distinct(flatten(list(string_split(flag_names, ',')) FILTER (flag_names IS NOT NULL)))) AS flags"""


def _given(lookups: list[dict[str, Any]]) -> dict[str, datetime]:
    """Which asker was given which address, and since when: it may use it for longer than the answer's time to live."""
    found: dict[str, datetime] = {}
    for row in (row for row in lookups if not row["served"]):
        for one in row["addresses"] or ():
            key = f"{row['asker']} {one}"
            found[key] = min(found.get(key, row["answered"]), row["answered"])
    return found


def _ways(target: Target, lookups: list[dict[str, Any]], requests: list[dict[str, Any]]) -> dict[str, Condition]:
    """The ways in which a row of a connection can match. To itself, by a lookup of its own process alone."""
    if target.name is None:
        one = len(target.addresses) == 1
        word, values = ("= ?", target.addresses) if one else (_AMONG, [target.addresses])
        return {"address": (f"peer_address {word}", values), "nat": (f"nat_address {word}", values)}
    name, values = target.named("n")
    by_name = f"len(list_filter(names, lambda n: {name})) > 0"
    if not target.below:
        by_name, values = "list_has_any(names, CAST(? AS VARCHAR[]))", [list(target.names)]
    aliases = [f"{row['asker']} {row['name']}" for row in lookups if row["why"] == "alias"]
    cookies = [[row["node"], row["boot"], str(row["cookie"])] for row in requests]
    by_cookie = f"{SOCKET} {_AMONG}"
    found: dict[str, Condition] = {
        "name": (by_name, values),
        "alias": (
            f"list_has_any(list_transform(names, lambda n: {ASKER} || ' ' || n), CAST(? AS VARCHAR[]))",
            [aliases],
        ),
        "given": (f"given_since <= began AND coalesce(names, []) = [] AND {HEADLESS}", []),
    }
    own = {name: (f"({text}) AND (asks OR NOT itself)", some) for name, (text, some) in found.items()}
    return own | {"request": (by_cookie, [[" ".join(one) for one in cookies]])}
