"""`lateral`: edges from a pod to another pod, or to a node, that a program of its workload never went before.

Compared is the window with all that the history holds from before it, by workload, program, target and port: a new pod of the same
workload is nothing new. Attempts that came to nothing count as well: that is what a scan is.
"""

from __future__ import annotations

from datetime import timedelta

from firsthand.ask import lineage, past, show, talk
from firsthand.ask.answer import Asked, Found, cut, plural
from firsthand.ask.question import Question
from firsthand.ask.reliance import PEERS
from firsthand.schema import capability

NEEDS = ("connection", "pod", "container", "address")
_COLUMNS = ["time", "from", "exe", "to", "port", "outcome", "connections", "failed", "beyond", "args"]
_WIDE = ["pods", "peers", "kind", "last", "lineage", "capabilities", "exec_id", "node"]
_INSIDE = ("pod", "container", "service", "node")
_FROM = "(container IS NOT NULL OR pod_uid IS NOT NULL)"
_BEGUN = f"{talk.COUNTED} AND ({talk.DIRECTION}) = 'out' AND {_FROM}"
#: With attempts that have no answer yet: one that nobody answers goes on for minutes.
_TRIED = f"({talk.COUNTED} OR (event = 'connect' AND outcome = 'started')) AND ({talk.DIRECTION}) = 'out' AND {_FROM}"
_ITSELF = "(peer_kind = 'pod' AND peer_pod IS NOT DISTINCT FROM pod AND peer_namespace IS NOT DISTINCT FROM namespace)"
#: Every node is one target: a program that talks to nodes talks to each.
_TARGET = f"CASE WHEN peer_kind = 'node' THEN 'a node' ELSE {talk.PEER['workload']} END"
_KEYS = '"from", exe, "to", port'
#: What of a row is counted or shown.
_READ = """time, event, outcome, transport, flag_names, duration, folded_until, folded_count, peer_address, peer_kind, exe, exec_id,
    cap_effective, node, namespace, pod, container_name, container"""
_EDGES = f"""SELECT {_READ}, {talk.WHO["workload"]} AS "from", {_TARGET} AS "to", {talk.PORT} || '/' || transport AS port FROM connection"""  # noqa: S608


def lateral(asked: Asked) -> Found:
    """One row for each edge that is new, in the order in which they came."""
    kinds = (*_INSIDE, "private") if asked.everything else _INSIDE
    named = ", ".join(f"'{kind}'" for kind in kinds)
    inside = f"NOT {_ITSELF} AND peer_kind IN ({named})"
    where, parameters = asked.ran((f"{_TRIED} AND {inside}", []))
    before, earlier = asked.before((f"{_BEGUN} AND {inside}", []))
    query = f"""WITH now AS ({_EDGES} WHERE {where}), known AS (SELECT DISTINCT {_KEYS} FROM ({_EDGES} WHERE {before}))
        SELECT {_KEYS}, min({talk.BEGAN}) AS time, max({talk.LAST}) AS last,
            greatest({talk.number()}, 1) AS connections, count(*) FILTER ({talk.FAILED}) AS failed,
            coalesce(arg_min(outcome, time) FILTER (outcome <> 'started'), any_value(outcome)) AS outcome,
            list_sort(list(DISTINCT peer_address))[:5] AS peers, any_value(peer_kind) AS kind,
            arg_min(exec_id, time) AS exec_id, bit_or(cap_effective) AS cap_effective, any_value(node) AS node,
            list_sort(list(DISTINCT coalesce(namespace || '/' || pod, container_name, left(container, 12)))) AS pods
        FROM now n WHERE NOT EXISTS (SELECT 1 FROM known k WHERE k."from" = n."from" AND k.exe IS NOT DISTINCT FROM n.exe
            AND k."to" = n."to" AND k.port IS NOT DISTINCT FROM n.port)
        GROUP BY {_KEYS} ORDER BY time, "to\""""  # noqa: S608
    rows = asked.rows(query, [*parameters, *earlier])
    known = lineage.images(asked, [row["exec_id"] for row in rows[: asked.limit]])
    for row in rows:
        bits = row.pop("cap_effective")
        row["capabilities"] = None if bits is None else capability.names(bits)
        row["beyond"] = show.beyond(bits, asked.ordinary)
        row["args"] = lineage.arguments(row["exec_id"], known)
        row["lineage"] = lineage.words(lineage.chain(row["exec_id"], known))
    return Found(
        _sentence(asked, len(rows)),
        cut(rows, asked.limit),
        len(rows),
        _COLUMNS,
        wide=_WIDE,
        reasons=past.reasons(asked),
    )


def _sentence(asked: Asked, number: int) -> str:
    against = f"against {past.words(past.length(asked))} before"
    said = f"{'Yes' if number else 'No'}: {plural(number, 'edge')} from pods to pods or nodes {'is' if number == 1 else 'are'} new {against}"
    return said if asked.everything else said + _others(asked)


def _others(asked: Asked) -> str:
    """What was not looked at: peers in private ranges of whom nothing is known, pods of other machines among them."""
    where, parameters = asked.where((f"{_BEGUN} AND peer_kind = 'private'", []))
    number = asked.number(f"SELECT count(*) FROM connection WHERE {where}", parameters)  # noqa: S608
    return (
        f"; {plural(number, 'connection')} to private addresses of nobody known {'was' if number == 1 else 'were'} left out (--all)"
        if number
        else ""
    )


QUESTIONS = {
    "lateral": Question(
        "edges from pods to pods or nodes that are new",
        "",
        lateral,
        NEEDS,
        names_matter=True,
        recent=timedelta(days=1),
        compares=True,
        options=frozenset({"everything"}),
        relies=PEERS,
        rank=150,
    ),
}
