"""`connected`: anything that asked for a name, reached it or its address: with the process, its arguments and rights, and those behind.

A name is matched where a pod asked for it, where an answer led through it (CNAME), where it stands in a TLS ClientHello or an HTTP
head, and in the names that the pod of a connection had asked for and that gave its address. That another pod asked for a name says
nothing of who connects to the same address: such connections are counted apart.
"""

from __future__ import annotations

from typing import Any

from firsthand.ask import lineage, nameless, phrase, show, talk
from firsthand.ask.answer import Asked, Found, cut, folded, plural
from firsthand.ask.conversations import ASKER, PLACE, Conversations, ConversationTotals
from firsthand.ask.question import Question
from firsthand.ask.reliance import PEERS
from firsthand.ask.target import ALIAS, OWNER, Target, parse
from firsthand.ask.target import Condition as Sql
from firsthand.errors import UsageError
from firsthand.history.store.mentions import Condition, either
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
    "why",
    "doubt",
    "outcome",
    "bytes_sent",
    "bytes_received",
]
_WIDE = [
    "until",
    "direction",
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
#: Rows of lookups and of requests that one answer looks at.
_MOST = 50_000


def connected(asked: Asked) -> Found:
    """Conversations, lookups and requests that match, in the order of their times."""
    if len(asked.arguments) != 1:
        raise UsageError("`ask connected` takes one name, address or range")
    target = parse(asked.arguments[0])
    if target.network is not None:
        target.addresses = _within(asked, target.network)
    lookups, earlier = _lookups(asked, target), _earlier(asked, target)
    every = _requests(asked, target)
    requests = [row for row in every if row["time"] >= asked.since]
    summary, talks = Conversations(asked, target, [*earlier, *lookups], every).found()
    heads = _heads(asked, talks)
    for row in talks:
        row |= heads.get((row["node"], row["boot"], row["cookie"]), {})
    rows = [*talks, *_asked_rows(lookups), *_alone(requests, talks)]
    rows.sort(key=lambda row: row["time"])
    known = lineage.images(asked, [row["exec_id"] for row in rows[: asked.limit]])
    for row in rows[: asked.limit]:
        _complete(row, known, asked.ordinary)
    _doubted(asked, target, rows[: asked.limit])
    before = any(not row["served"] for row in earlier)
    sentence = "; ".join(
        [_matching(asked, target, summary, lookups, len(requests)), *_asking(target, lookups, summary, before=before)]
    )
    none = target.name is not None and not (summary.number or lookups or requests)
    if none and (rest := nameless.within(asked)):
        sentence += f"; {rest}"
    shown = cut(rows, asked.limit)
    lines = _tree(shown, known) if asked.tree else None
    columns = [*_COLUMNS, "folded"] if any(row["folded"] for row in shown) else _COLUMNS
    reasons = _unread(asked, target, max(len(lookups), len(earlier)), len(every))
    if none:
        reasons += nameless.reasons(asked, target.text)
    return Found(sentence, shown, summary.total + len(rows) - len(talks), columns, lines, _WIDE, reasons)


def _within(asked: Asked, network: Network) -> list[str]:
    """The addresses of a range that the window's rows hold."""
    where, parameters = asked.where()
    ran, bounds = asked.reaching()
    query = f"""SELECT DISTINCT unnest([peer_address, nat_address]) AS a FROM connection WHERE {ran}
        UNION SELECT DISTINCT unnest(addresses) AS a FROM name WHERE {where}"""  # noqa: S608
    ranges = Ranges([network])
    return [row["a"] for row in asked.rows(query, [*bounds, *parameters]) if row["a"] and ranges.holds(row["a"])]


# ---- lookups and requests ----


#: The message of a DNS server: the question that it was sent, the answer that it gave, the question that it did not answer.
_SERVED = "coalesce((event = 'answer') = (direction = 'out'), false)"


#: Of a lookup.
_READ = """node, boot, exec_id, name, event, direction, time, exe, pid, uid, cap_effective, peer_address, rcode, addresses, marks,
    pod, namespace, workload, pod_uid, container, container_name, image, claimed"""


def _earlier(asked: Asked, target: Target) -> list[dict[str, Any]]:
    """Lookups before the window: who was given a name's address, or asked for an alias of it, may use that for long."""
    return [] if target.name is None else _looked_up(asked, target, asked.before())


def _lookups(asked: Asked, target: Target) -> list[dict[str, Any]]:
    """Lookups of the window."""
    by_address: Sql = ("list_has_any(addresses, CAST(? AS VARCHAR[]))", [target.addresses])
    return _looked_up(asked, target, asked.where(*([by_address] if target.name is None else [])))


def _looked_up(asked: Asked, target: Target, which: Sql) -> list[dict[str, Any]]:
    """Who asked for what: one row for each process, name and way in which it matches."""
    plain, values = target.named("name")
    holder, more = target.named(OWNER)
    alias, last = target.named(ALIAS)
    by_alias = f"len(list_filter(records, lambda r: {holder} OR coalesce({alias}, false))) > 0"
    by_address = "list_has_any(addresses, CAST(? AS VARCHAR[]))"
    why = f"CASE WHEN {plain} THEN 'asked' WHEN {by_alias} THEN 'alias' WHEN {by_address} THEN 'resolved' END"
    where, parameters = which
    query = f"""WITH found AS (SELECT {_READ}, {why} AS why FROM name WHERE {where})
        SELECT node, boot, exec_id, name, why, {_SERVED} AS served, {ASKER} AS asker, min(time) AS time, max(time) AS until, any_value(exe) AS exe,
            any_value(pid) AS pid, any_value(uid) AS uid, any_value(cap_effective) AS cap_effective, {PLACE},
            any_value(peer_address) AS resolver, min(CASE WHEN event = 'answer' THEN time END) AS answered,
            count(*) FILTER (event = 'question') AS questions,
            list_sort(list(DISTINCT rcode) FILTER (rcode IS NOT NULL)) AS rcodes,
            list_sort(list_distinct(flatten(list(addresses)))) AS addresses, string_agg(DISTINCT marks, ',') AS marks
        FROM found WHERE why IS NOT NULL GROUP BY node, boot, exec_id, name, why, served, asker ORDER BY time LIMIT {_MOST}"""  # noqa: S608
    only = None
    if target.name is not None and not target.below:
        only = either(Condition("=", "name", target.names), Condition("holds", "records", target.names))
    elif target.name is None and target.addresses:
        only = Condition("holds", "addresses", tuple(target.addresses))
    return asked.rows(query, [*values, *more, *last, target.addresses, *parameters], {"name": only} if only else None)


def _requests(asked: Asked, target: Target) -> list[dict[str, Any]]:
    """Heads of TLS and HTTP that name it, those of connections that may have begun before the window and still be open included."""
    if target.name is None:
        return []
    (sni, one), (host, two) = target.named("sni"), target.named("host")
    where, parameters = asked.reaching((f"({sni} OR {host})", [*one, *two]))
    query = f"SELECT * FROM request WHERE {where} ORDER BY time LIMIT {_MOST}"  # noqa: S608
    return asked.rows(query, parameters)


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


def _unread(asked: Asked, target: Target, lookups: int, requests: int) -> list[str]:
    """Why what is looked for may be in rows that do not show it: names that did not fit, or were not read; more rows than are read."""
    found = [
        f"only the first {_MOST:,} {what} were looked at"
        for what, number in (("lookups", lookups), ("heads", requests))
        if number >= _MOST
    ]
    if target.name is None:
        return found
    return found + nameless.unread(asked, target.text)


# ---- the answer ----


def _asked_rows(lookups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for row in lookups:
        outcome = " ".join(row["rcodes"] or ()) or "no answer"
        what, way = ("served", "in") if row["served"] else ("asked", "out")
        more = {"what": what, "direction": way, "names": [row["name"]], "outcome": outcome, "why": [row["why"]]}
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
    """Adds the columns that every row has: place, process, rights, parents."""
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


def _doubted(asked: Asked, target: Target, rows: list[dict[str, Any]]) -> None:
    """What keeps a match from being certain: an address that is this machine's own, that other names gave, another process's lookup."""
    resting = [row for row in rows if row.get("by_lookup") is not None and "request" not in row["why"] and target.name]
    others = _other_names(asked, target, sorted({row["peer_address"] for row in resting if row["peer_address"]}))
    for row in rows:
        row["doubt"] = []
    for row in resting:
        shared = others.get(row["peer_address"], [])
        row["doubt"] = ["loopback"] if row["loopback"] else []
        row["doubt"] += ["asked for by another process"] if row["by_lookup"] else []
        row["doubt"] += [f"shared with {', '.join(shared[:3])}"] if shared else []


def _other_names(asked: Asked, target: Target, addresses: list[str]) -> dict[str, list[str]]:
    """Names that are not looked for and gave these addresses."""
    name, values = target.named("name")
    where, parameters = asked.where(
        (f"list_has_any(addresses, CAST(? AS VARCHAR[])) AND NOT ({name})", [addresses, *values])
    )
    query = f"SELECT DISTINCT unnest(addresses) AS a, name FROM name WHERE {where} ORDER BY name LIMIT {_MOST}"  # noqa: S608
    found: dict[str, list[str]] = {}
    for row in asked.rows(query, parameters) if addresses else ():
        found.setdefault(row["a"], []).append(row["name"])
    return found


def _matching(
    asked: Asked, target: Target, summary: ConversationTotals, lookups: list[dict[str, Any]], requests: int
) -> str:
    """`requests`: heads that name it; their connections may have begun before the window."""
    where, parameters = asked.ran((talk.COUNTED, []))
    of = asked.number(f"SELECT count(*) + coalesce(sum(folded_count - 1), 0) FROM connection WHERE {where}", parameters)  # noqa: S608
    number, outcomes = summary.number, summary.outcomes
    said = f"{'Yes' if number or lookups or requests else 'No'}: {number:,} of {plural(max(of, number), 'connection')} match {target.text}"
    if outcomes:
        said += f" ({', '.join(f'{number:,} {word}' for word, number in sorted(outcomes.items()))})"
    if summary.lookups:
        said += f", {summary.lookups:,} of them by the lookup of another process alone"
    return said + (f"; named in {plural(requests, 'head')} of TLS or HTTP" if requests and not number else "")


def _asking(target: Target, lookups: list[dict[str, Any]], summary: ConversationTotals, *, before: bool) -> list[str]:
    """Who asked for the name, or which names gave the address; a DNS server that was asked is not one that asks. `before`: it was asked
    for before the window."""
    asking = [row for row in lookups if not row["served"]]
    if target.name is None:
        return [f"given by {', '.join(sorted({row['name'] for row in lookups})[:5])}"] if lookups else []
    questions, served = (
        sum(row["questions"] for row in some) for some in (asking, [row for row in lookups if row["served"]])
    )
    never = "asked for before the window alone" if before else "never asked for"
    found = [f"asked for {_times(questions)}" if asking else never]
    found += [f"asked of a DNS server here {_times(served)}"] if served else []
    return found + _hints(lookups, summary.more)


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"


def _hints(lookups: list[dict[str, Any]], more: int) -> list[str]:
    """Connections without a name to addresses that the name had."""
    addresses = sorted({one for row in lookups for one in row["addresses"] or ()})
    if not addresses or not more:
        return []
    return [f"{more:,} more went to addresses that it had, with no name known (`ask connected {addresses[0]}`)"]


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


QUESTIONS = {
    "connected": Question(
        "who asked for a name, or reached it or an address",
        "NAME|*.NAME|ADDRESS|CIDR",
        connected,
        NEEDS,
        arguments_matter=True,
        lasting=True,
        takes=(1, 1),
        options=frozenset({"tree"}),
        relies=PEERS,
        rank=90,
    ),
}
