"""`connected`: anything that asked for a name, reached it or its address: with the process, its arguments and rights, and those behind.

A name is matched where a pod asked for it, where an answer led through it (CNAME), where it stands in a TLS ClientHello or an HTTP
head, and in the names that the pod of a connection had asked for and that gave its address. That another pod asked for a name says
nothing of who connects to the same address: such connections are counted apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from firsthand.ask import lineage, phrase, show, talk
from firsthand.ask.answer import Asked, Found, cut, folded
from firsthand.errors import UsageError
from firsthand.identity import address
from firsthand.identity.address import Network, Ranges
from firsthand.schema import capability

NEEDS = ("connection", "name", "request", "packet")
_COLUMNS = [
    "time",
    "what",
    "pod",
    "container_name",
    "exe",
    "args",
    "beyond",
    "peer",
    "names",
    "outcome",
    "bytes_sent",
    "bytes_received",
]
_WIDE = [
    "until",
    "direction",
    "why",
    "sni",
    "host",
    "nat",
    "peer_pod",
    "uid",
    "capabilities",
    "lineage",
    "exec_id",
    "node",
]
#: Who asked, as one text: names belong to a pod, else to a container, else to the machine.
_ASKER = "coalesce(pod_uid, container, node)"
_AMONG = "IN (SELECT unnest(CAST(? AS VARCHAR[])))"
#: A connection whose head says no name.
_SOCKET = "concat_ws(' ', node, boot, cookie)"
_NAMELESS = f"{_SOCKET} NOT IN (SELECT {_SOCKET} FROM request WHERE sni IS NOT NULL OR host IS NOT NULL)"  # noqa: S608
#: Rows of lookups and of requests that one answer looks at.
_MOST = 50_000

Condition = tuple[str, list[Any]]


@dataclass
class Target:
    """What is looked for: a name, the names below one, addresses or a range."""

    text: str
    name: str | None = None
    below: bool = False
    addresses: list[str] = field(default_factory=list)
    network: Network | None = None

    def named(self, column: str) -> Condition:
        """SQL for a column that holds a name."""
        if self.name is None:
            return "false", []
        return (f"ends_with({column}, ?)", ["." + self.name]) if self.below else (f"{column} = ?", [self.name])


def parse(text: str) -> Target:
    """NAME, *.NAME, ADDRESS or CIDR. UsageError where it is none."""
    if found := address.parse(text):
        return Target(text, addresses=[found])
    if "/" in text:
        return Target(text, network=address.network(text, "ask connected"))
    below = text.startswith("*.")
    name = text.removeprefix("*.").lower().rstrip(".")
    if not name or any(letter in name for letter in "* /:") or any(not part for part in name.split(".")):
        raise UsageError(
            f"{text!r}: give a name (example.com), all below one (*.example.com), an address or a range (10.0.0.0/8)"
        )
    try:
        return Target(text, name if name.isascii() else name.encode("idna").decode(), below)
    except UnicodeError as error:
        raise UsageError(f"{text!r} is no name that DNS could hold ({error})") from error


def connected(asked: Asked) -> Found:
    """Conversations, lookups and requests that match, in the order of their times."""
    if len(asked.arguments) != 1:
        raise UsageError("`ask connected` takes one name, address or range")
    target = parse(asked.arguments[0])
    if target.network is not None:
        target.addresses = _within(asked, target.network)
    lookups = _lookups(asked, target)
    requests = _requests(asked, target)
    talks, total, number = _talks(asked, target, lookups, requests)
    rows = [*talks, *_asked_rows(lookups), *_alone(requests, talks)]
    rows.sort(key=lambda row: row["time"])
    known = lineage.images(asked, [row["exec_id"] for row in rows[: asked.limit]])
    for row in rows[: asked.limit]:
        _complete(row, known, asked.ordinary)
    sentence = _sentence(asked, target, talks, number, lookups)
    shown = cut(rows, asked.limit)
    lines = _tree(shown, known) if asked.tree else None
    columns = [*_COLUMNS, "folded"] if any(row["folded"] for row in shown) else _COLUMNS
    return Found(sentence, shown, total + len(rows) - len(talks), columns, lines, _WIDE)


def _within(asked: Asked, network: Network) -> list[str]:
    """The addresses of a range that the window's rows hold."""
    where, parameters = asked.where()
    query = f"""SELECT DISTINCT unnest([peer_address, nat_address]) AS a FROM connection WHERE {where}
        UNION SELECT DISTINCT unnest(addresses) AS a FROM name WHERE {where}"""  # noqa: S608
    ranges = Ranges([network])
    return [row["a"] for row in asked.rows(query, [*parameters, *parameters]) if row["a"] and ranges.holds(row["a"])]


# ---- lookups and requests ----


def _lookups(asked: Asked, target: Target) -> list[dict[str, Any]]:
    """Who asked for what: one row for each process, name and way in which it matches."""
    plain, values = target.named("name")
    holder, more = target.named("split_part(r, ' ', 1)")
    alias, last = target.named("split_part(r, ' ', 4)")
    by_alias = f"len(list_filter(records, lambda r: {holder} OR (contains(r, ' CNAME ') AND {alias}))) > 0"
    by_address = "list_has_any(addresses, CAST(? AS VARCHAR[]))"
    why = f"CASE WHEN {plain} THEN 'asked' WHEN {by_alias} THEN 'alias' WHEN {by_address} THEN 'resolved' END"
    where, parameters = asked.where()
    query = f"""WITH found AS (SELECT *, {why} AS why FROM name WHERE {where})
        SELECT node, boot, exec_id, name, why, {_ASKER} AS asker, min(time) AS time, max(time) AS until, any_value(exe) AS exe,
            any_value(pid) AS pid, any_value(uid) AS uid, any_value(cap_effective) AS cap_effective, {_PLACE},
            any_value(peer_address) AS resolver, min(time) FILTER (event = 'answer') AS answered, count(*) FILTER (event = 'question') AS questions,
            list_sort(list(DISTINCT rcode) FILTER (rcode IS NOT NULL)) AS rcodes,
            list_sort(list_distinct(flatten(list(addresses)))) AS addresses, string_agg(DISTINCT marks, ',') AS marks
        FROM found WHERE why IS NOT NULL GROUP BY node, boot, exec_id, name, why, asker ORDER BY time LIMIT {_MOST}"""  # noqa: S608
    return asked.rows(query, [*values, *more, *last, target.addresses, *parameters])


_PLACE = ", ".join(
    f"any_value({name}) AS {name}"
    for name in ("pod", "namespace", "workload", "pod_uid", "container", "container_name", "image")
)


def _requests(asked: Asked, target: Target) -> list[dict[str, Any]]:
    """Heads of TLS and HTTP that name it."""
    if target.name is None:
        return []
    (sni, one), (host, two) = target.named("sni"), target.named("host")
    where, parameters = asked.where((f"({sni} OR {host})", [*one, *two]))
    query = f"SELECT * FROM request WHERE {where} ORDER BY time LIMIT {_MOST}"  # noqa: S608
    return asked.rows(query, parameters)


# ---- conversations ----


def _talks(
    asked: Asked, target: Target, lookups: list[dict[str, Any]], requests: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], int, int]:
    """One row for each conversation that matches, up to the limit; how many there are; and of those that folded, all of them."""
    ways = _ways(target, lookups, requests)
    where, parameters = asked.ran((f"{talk.TOLD} OR event IN ('seen', 'taken')", []))
    flags = ", ".join(f"coalesce({text}, false) AS by_{name}" for name, (text, _) in ways.items())
    either = " OR ".join(f"by_{name}" for name in ways)
    why = ", ".join(f"CASE WHEN bool_or(by_{name}) THEN '{name}' END" for name in ways)
    values = [value for _, some in ways.values() for value in some]
    query = f"""WITH given AS (SELECT unnest(CAST(? AS VARCHAR[])) AS whose, unnest(CAST(? AS TIMESTAMP[])) AS given_since),
        told AS (SELECT *, {talk.DIRECTION} AS way, {talk.BEGAN} AS began FROM connection
            WHERE ({where}) AND NOT {talk.flagged("LISTENING")}),
        rows AS (SELECT * FROM (SELECT *, {flags} FROM told LEFT JOIN given ON whose = {_ASKER} || ' ' || peer_address) WHERE {either})
        SELECT {_TALK}, list_filter([{why}], lambda w: w IS NOT NULL) AS why, count(*) OVER () AS total,
            sum(coalesce(max(folded_count), 1)) OVER ()::BIGINT AS number
        FROM rows GROUP BY node, boot, cookie, peer_address, peer_port ORDER BY time LIMIT ?"""  # noqa: S608
    given = _given(lookups) if target.name else {}
    rows = asked.rows(query, [list(given), list(given.values()), *parameters, *values, asked.limit])
    heads = _heads(asked, rows)
    for row in rows:
        row |= heads.get((row["node"], row["boot"], row["cookie"]), {})
    numbers = [(row.pop("total"), row.pop("number")) for row in rows] or [(0, 0)]
    return rows, *numbers[0]


#: Of a conversation's rows: who had it first that is known for sure, the newest of what changes.
_TALK = f"""node, boot, cookie, peer_address, peer_port, min(began) AS time, max({talk.LAST}) FILTER ({
    talk.ENDED
}) AS until,
    arg_min(way, ktime) FILTER (event <> 'taken') AS direction, any_value(transport) AS transport,
    {
    ", ".join(
        f"coalesce(arg_min({name}, ktime) FILTER (NOT {talk.flagged('LISTENER')}), any_value({name})) AS {name}"
        for name in ("exec_id", "exe", "pid", "uid", "euid", "cap_effective", "cap_permitted")
    )
},
    list_distinct(list(exec_id)) AS users, {
    _PLACE
}, any_value(local_address) AS local_address, any_value(local_port) AS local_port,
    any_value(nat_address) AS nat_address, any_value(nat_port) AS nat_port,
    {
    ", ".join(
        f"any_value({name}) AS {name}"
        for name in ("peer_kind", "peer_pod", "peer_namespace", "peer_workload", "peer_name")
    )
},
    arg_max(names, time) FILTER (names <> []) AS names, bool_or(names_cut) AS names_cut,
    CASE WHEN bool_or(event = 'folded') THEN 'established' ELSE
        coalesce(arg_max(outcome, ktime) FILTER (event IN ('connect', 'accept')), arg_max(outcome, ktime)) END AS outcome,
    arg_max(outcome, ktime) FILTER ({talk.ENDED}) AS ending, max(bytes_sent) FILTER ({talk.ENDED}) AS bytes_sent,
    max(bytes_received) FILTER ({talk.ENDED}) AS bytes_received, any_value(path) AS path,
    max(folded_count) AS folded_count, max(folded_until) AS folded_until,
    list_sort(list_distinct(flatten(list(string_split(flag_names, ',')) FILTER (flag_names IS NOT NULL)))) AS flags"""


def _given(lookups: list[dict[str, Any]]) -> dict[str, datetime]:
    """Which asker was given which address, and since when: it may use it for longer than the answer's time to live."""
    found: dict[str, datetime] = {}
    for row in lookups:
        for one in row["addresses"] or ():
            key = f"{row['asker']} {one}"
            found[key] = min(found.get(key, row["answered"]), row["answered"])
    return found


def _ways(target: Target, lookups: list[dict[str, Any]], requests: list[dict[str, Any]]) -> dict[str, Condition]:
    """The ways in which a row of a connection can match."""
    if target.name is None:
        one = len(target.addresses) == 1
        word, values = ("= ?", target.addresses) if one else (_AMONG, [target.addresses])
        return {"address": (f"peer_address {word}", values), "nat": (f"nat_address {word}", values)}
    name, values = target.named("n")
    by_name = f"len(list_filter(names, lambda n: {name})) > 0" if target.below else "list_contains(names, ?)"
    aliases = [f"{row['asker']} {row['name']}" for row in lookups if row["why"] == "alias"]
    cookies = [[row["node"], row["boot"], str(row["cookie"])] for row in requests]
    by_cookie = f"{_SOCKET} {_AMONG}"
    return {
        "name": (by_name, values),
        "alias": (
            f"list_has_any(list_transform(names, lambda n: {_ASKER} || ' ' || n), CAST(? AS VARCHAR[]))",
            [aliases],
        ),
        "request": (by_cookie, [[" ".join(one) for one in cookies]]),
        "given": (f"given_since <= began AND coalesce(names, []) = [] AND {_NAMELESS}", []),
    }


def _heads(asked: Asked, rows: list[dict[str, Any]]) -> dict[tuple[str, str, int], dict[str, Any]]:
    """What the heads of these connections say."""
    cookies = ", ".join(str(row["cookie"]) for row in rows if row["cookie"] is not None)
    if not cookies:
        return {}
    where, parameters = asked.where((f"cookie IN ({cookies})", []))
    columns = ("sni", "host", "alpn", "ja4", "ech", "method", "url_path", "user_agent", "protocol")
    query = f"""SELECT node, boot, cookie, {", ".join(f"arg_min({name}, time) AS {name}" for name in columns)},
        string_agg(DISTINCT marks, ',') AS request_marks FROM request WHERE {where} GROUP BY node, boot, cookie"""  # noqa: S608
    return {(row.pop("node"), row.pop("boot"), row.pop("cookie")): row for row in asked.rows(query, parameters)}


# ---- the answer ----


def _asked_rows(lookups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for row in lookups:
        outcome = " ".join(row["rcodes"] or ()) or "no answer"
        more = {"what": "asked", "direction": "out", "names": [row["name"]], "outcome": outcome, "why": [row["why"]]}
        rows.append(
            row | more | {"peer": row["resolver"], "until": row["until"] if row["until"] != row["time"] else None}
        )
    return rows


def _alone(requests: list[dict[str, Any]], talks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Requests on connections of which no row is held."""
    known = {(row["node"], row["boot"], row["cookie"]) for row in talks}
    return [
        row | {"what": "request", "why": ["request"], "names": [], "outcome": None}
        for row in requests
        if (row["node"], row["boot"], row["cookie"]) not in known
    ]


def _complete(row: dict[str, Any], known: dict[str, Any], ordinary: int) -> None:
    """What is told of every row: where, by whom, with which rights, behind whom."""
    if "what" not in row:
        row["what"] = "accepted" if row["direction"] == "in" else "connected" if row["direction"] else "open before"
    if "peer" not in row:
        row["peer"] = show.end(row["peer_address"], row["peer_port"]) or row.get("path")
    row["folded"] = folded(row)
    row["nat"] = show.end(row.get("nat_address"), row.get("nat_port"))
    behind = lineage.chain(row["exec_id"], known)
    row["args"] = lineage.arguments(row["exec_id"], known)
    row["lineage"] = lineage.words(behind)
    bits = row.get("cap_effective")
    row["capabilities"] = None if bits is None else capability.names(bits)
    row["beyond"] = show.beyond(bits, ordinary)


def _sentence(
    asked: Asked, target: Target, talks: list[dict[str, Any]], number: int, lookups: list[dict[str, Any]]
) -> str:
    where, parameters = asked.ran((talk.COUNTED, []))
    of = asked.number(f"SELECT {talk.number()} FROM connection WHERE {where}", parameters)  # noqa: S608
    questions = sum(row["questions"] for row in lookups)
    parts = [f"{'Yes' if number or lookups else 'No'}: {number:,} of {of:,} connections match {target.text}"]
    outcomes: dict[str, int] = {}
    for row in talks:
        word = "incoming" if row["direction"] == "in" else row["outcome"] or "without an outcome"
        outcomes[word] = outcomes.get(word, 0) + (row["folded_count"] or 1)
    if outcomes:
        parts[0] += f" ({', '.join(f'{number:,} {word}' for word, number in sorted(outcomes.items()))})"
    if target.name is not None:
        parts.append(f"asked for {_times(questions)}" if lookups else "never asked for")
        given = sum(1 for row in talks if row["why"] == ["given"])
        parts += _hints(asked, target, lookups, bool(number or lookups), given)
    elif lookups:
        parts.append(f"given by {', '.join(sorted({row['name'] for row in lookups})[:5])}")
    return "; ".join(parts)


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"


def _hints(asked: Asked, target: Target, lookups: list[dict[str, Any]], found: bool, given: int) -> list[str]:
    """What a name cannot tell: connections of which no name is known, to addresses that it had, or to anywhere.

    `given`: how many of them stand in the answer already, as the address was given to their process's pod before.
    """
    addresses = sorted({one for row in lookups for one in row["addresses"] or ()})
    if addresses:
        number = _nameless(asked, (f"peer_address {_AMONG}", [addresses])) - given
        said = f"{number:,} more went to addresses that it had, with no name known (`ask connected {addresses[0]}`)"
    else:
        number = 0 if found else _nameless(asked, asked.reach.elsewhere(asked))
        said = f"of {number:,} that went elsewhere no name is known: look for its addresses too"
    return [said] if number else []


def _nameless(asked: Asked, condition: Condition) -> int:
    """How many connections of a kind were begun here with no name: neither asked for nor in their heads."""
    alone = "event = 'connect' AND outcome IS DISTINCT FROM 'started' AND coalesce(names, []) = []"
    where, parameters = asked.where(condition, (alone, []))
    query = f"SELECT count(*) FROM connection WHERE {where} AND {_NAMELESS}"  # noqa: S608
    return asked.number(query, parameters)


def _tree(rows: list[dict[str, Any]], known: dict[str, Any]) -> list[str]:
    leaves: dict[str, list[str]] = {}
    apart: list[str] = []
    for row in rows:
        line = phrase.of(row)
        if row["exec_id"] in known:
            leaves.setdefault(row["exec_id"], []).append(line)
        else:
            apart.append(line)
    return [*lineage.lines(leaves, known), *apart]
