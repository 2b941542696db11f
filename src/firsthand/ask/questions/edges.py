"""`map`: who talks with whom, as a graph. An edge goes from who began to who was reached; seen from both ends it is one edge."""

from __future__ import annotations

from typing import Any

from firsthand.ask import talk
from firsthand.ask.answer import Asked, Found, cut, plural
from firsthand.ask.graph import Edge, Graph
from firsthand.ask.question import Question
from firsthand.ask.questions.talkers import BY, NAMED, SUMS, by_what, of_which, rows_of
from firsthand.ask.reliance import PEERS
from firsthand.errors import HistoryError
from firsthand.identity import address

NEEDS = ("connection", "pod")
_COLUMNS = ["from", "to", "ports", "connections", "failed", "bytes_sent", "bytes_received", "binaries", "first", "last"]
_WIDE = ["from_kind", "to_kind", "ends"]
#: Edges by pod and port that are read; more are a matter for filters.
MOST = 200_000
#: More peers of one place than this that are but addresses stand as one end.
FEW = 5
_OWN_KIND = "CASE WHEN container IS NULL AND pod_uid IS NULL THEN 'host' WHEN pod IS NULL AND pod_uid IS NULL THEN 'container' ELSE 'pod' END"
_ADDED = ("connections", "failed", "bytes_sent", "bytes_received")


def network(asked: Asked) -> Found:
    """One row for each edge, the most bytes first."""
    by = by_what(asked)
    edges = [_listed(edge) for edge in _few(_joined(_once(_sides(asked, by))))]
    edges.sort(key=lambda edge: (-(edge["bytes_sent"] + edge["bytes_received"]), edge["from"], edge["to"]))
    shown = cut(edges, asked.limit)
    graph = _graph(shown)
    attempts = sum(1 for edge in edges if _only_failed(edge))
    sentence = f"{plural(len(graph.nodes), 'end')} and {plural(len(edges), 'edge')} by {by}{of_which(asked)}"
    if attempts:
        sentence += f", {attempts:,} of them of attempts that came to nothing"
    return Found(sentence, shown, len(edges), _COLUMNS, wide=_WIDE, graph=graph)


def _sides(asked: Asked, by: str) -> list[dict[str, Any]]:
    """What each end saw, by pod and port: `a` began it, `b` was reached."""
    where, parameters = rows_of(asked)
    own, peer = {"a": talk.WHO["pod"], "from": talk.WHO[by]}, {"a": talk.PEER["pod"], "from": talk.PEER[by]}
    own |= {"from_kind": _OWN_KIND, "b": peer["a"], "to": peer["from"], "to_kind": "peer_kind"}
    peer |= {"from_kind": "peer_kind", "b": own["a"], "to": own["from"], "to_kind": _OWN_KIND}
    ends = ", ".join(f"CASE WHEN way = 'in' THEN {peer[name]} ELSE {own[name]} END AS \"{name}\"" for name in own)
    query = f"""WITH rows AS (SELECT *, {talk.DIRECTION} AS way, {talk.PORT} AS port FROM connection WHERE {where})
        SELECT node, way = 'in' AS reached, {ends}, port, transport, {talk.number()} AS connections, {SUMS}
        FROM rows GROUP BY ALL LIMIT {MOST + 1}"""  # noqa: S608
    rows = asked.rows(query, parameters)
    if len(rows) > MOST:
        raise HistoryError(f"the map has more than {MOST:,} edges: narrow it by --since, -n or --pod")
    return rows


def _once(sides: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What both ends saw counts as the one who began it saw it."""
    begun = {_key(row) for row in sides if not row["reached"]}
    return [_turned(row) if row["reached"] else row for row in sides if not (row["reached"] and _key(row) in begun)]


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("node", "a", "b", "port", "transport"))


def _turned(row: dict[str, Any]) -> dict[str, Any]:
    """What the reached end saw, as the other would have: what it received was sent. The binaries are not the beginner's."""
    return row | {"bytes_sent": row["bytes_received"], "bytes_received": row["bytes_sent"], "binaries": []}


def _joined(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One for each pair of ends; `ports` and `binaries` are sets."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        port = row["transport"] if row["port"] is None else f"{row['port']}/{row['transport']}"
        one = row | {"ports": {port}, "binaries": set(row["binaries"] or ()), "ends": 1}
        key = (row["from"], row["to"])
        found[key] = _added(found[key], one) if key in found else one
    return list(found.values())


def _added(edge: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    sums = {name: edge[name] + other[name] for name in _ADDED}
    sets = {name: edge[name] | other[name] for name in ("ports", "binaries")}
    return edge | sums | sets | {"first": min(edge["first"], other["first"]), "last": max(edge["last"], other["last"])}


def _few(edges: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Many ends of one place that are but addresses, reached by the same ports, become one, with their number."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for edge in edges:
        outer, inner = ("from", "to") if edge["reached"] else ("to", "from")
        alike = (outer, edge[inner], edge[f"{outer}_kind"], *sorted(edge["ports"]))
        key = alike if address.parse(edge[outer]) else (edge["from"], edge["to"])
        groups.setdefault(key, []).append(edge)
    return [one for group in groups.values() for one in (group if len(group) <= FEW else [_together(group)])]


def _together(group: list[dict[str, Any]]) -> dict[str, Any]:
    outer = "from" if group[0]["reached"] else "to"
    whole = group[0]
    for edge in group[1:]:
        whole = _added(whole, edge)
    return whole | {outer: f"{len(group):,} {whole[f'{outer}_kind'] or 'unknown'} addresses", "ends": len(group)}


def _listed(edge: dict[str, Any]) -> dict[str, Any]:
    """As a row of the answer."""
    names = ("from", "from_kind", "to", "to_kind", *_ADDED, "first", "last", "ends")
    return {name: edge[name] for name in names} | {name: sorted(edge[name])[:NAMED] for name in ("ports", "binaries")}


def _only_failed(edge: dict[str, Any]) -> bool:
    return bool(edge["connections"]) and edge["failed"] == edge["connections"]


def _graph(edges: list[dict[str, Any]]) -> Graph:
    nodes: dict[str, str] = {}
    for edge in edges:
        nodes.setdefault(edge["from"], edge["from_kind"] or "unknown")
        nodes.setdefault(edge["to"], edge["to_kind"] or "unknown")
    made = [
        Edge(
            one["from"],
            one["to"],
            " ".join(one["ports"][:3]),
            one["bytes_sent"] + one["bytes_received"],
            _only_failed(one),
        )
        for one in edges
    ]
    return Graph(nodes, made)


QUESTIONS = {
    "map": Question(
        "who talks with whom, as a graph",
        BY,
        network,
        NEEDS,
        draws=True,
        takes=(0, 1),
        options=frozenset({"everything"}),
        relies=PEERS,
        rank=110,
    ),
}
