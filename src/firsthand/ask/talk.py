"""Rows of `connection` as somebody who talks with somebody: the words of SQL that several questions share.

Each conversation counts once: a TCP one at its beginning, which is a row of its own, a UDP flow too, or, where it was too short for such
a row, at its end. Bytes stand in the row of the end. Equal short ones that folded stand in one row, with their number and all their bytes.
"""

from __future__ import annotations


def flagged(name: str) -> str:
    """Whether a row has this flag of connection_flag (kernel/subjects/connection.h)."""
    return f"contains(coalesce(flag_names, ''), '{name}')"


#: Rows of conversations: sockets that only listen are none.
TOLD = f"event IN ('connect', 'accept', 'close', 'folded') AND NOT {flagged('LISTENING')}"
#: Who began it: this side (out) or the peer (in); null: older than the observer.
DIRECTION = f"""CASE WHEN event = 'connect' THEN 'out' WHEN event = 'accept' OR {flagged("INCOMING")} THEN 'in'
    WHEN {flagged("BEFORE")} THEN NULL ELSE 'out' END"""
#: Flows between a socket and a peer. Sockets of other protocols than UDP-Lite's have rows without a peer.
FLOW = "transport IN ('udp', 'icmp', 'other')"
#: The end of a flow whose beginning has a row too. Versions before the flag BEGUN wrote that row within two seconds.
BEGUN = f"({flagged('BEGUN')} OR coalesce(duration, 0) > 2000000000)"
#: The row by which a conversation counts. One that nobody accepted, or that is older than the observer, has but an end; what a
#: listener older than the observer accepted later is flagged BEFORE too, and has its beginning.
COUNTED = f"""(event = 'folded'
    OR ({FLOW} AND peer_address IS NOT NULL AND (event IN ('connect', 'accept') OR (event = 'close' AND NOT {BEGUN})))
    OR (NOT {FLOW} AND event IN ('connect', 'accept') AND outcome IS DISTINCT FROM 'started')
    OR (NOT {FLOW} AND event = 'close' AND ({flagged("LISTENER")} OR ({flagged("BEFORE")} AND NOT {flagged("INCOMING")}))))"""
#: What is begun by a row, or was there already, and what ends it; for rows of one socket and peer.
OPENED = f"(event IN ('connect', 'accept', 'taken', 'seen') AND outcome IS DISTINCT FROM 'started' AND NOT {flagged('LISTENING')})"
OPEN = f"""CASE WHEN any_value({FLOW}) THEN count(*) FILTER ({OPENED}) > count(*) FILTER (event = 'close' AND {BEGUN})
    ELSE bool_or({OPENED} AND (outcome IS NULL OR outcome = 'established')) AND NOT bool_or(event = 'close') END"""
#: Attempts that came to nothing.
FAILED = "(event = 'connect' AND outcome NOT IN ('started', 'established'))"
BEGAN = "CASE WHEN event = 'folded' THEN time ELSE time - to_microseconds(coalesce(duration, 0) // 1000) END"
#: The row that has the bytes.
ENDED = "event IN ('close', 'folded')"
#: When the last thing was that a row tells.
LAST = "coalesce(folded_until, time)"


def number(*conditions: str) -> str:
    """How many conversations rows stand for."""
    counted = " AND ".join((COUNTED, *conditions))
    many = f"coalesce(sum(folded_count - 1) FILTER (folded_count IS NOT NULL AND {counted}), 0)"
    return f"(count(*) FILTER ({counted}) + {many})::BIGINT"


def _doubted(who: str) -> str:
    """With a mark behind what a cgroup's path says and no runtime confirmed: such rows are not those of who has the name."""
    return f"CASE WHEN claimed THEN {who} || '?' ELSE {who} END"


_POD = "coalesce(namespace || '/' || pod, pod, container_name, left(container, 12), 'host')"
_PEER_POD = """coalesce(peer_namespace || '/' || peer_pod, peer_pod,
    CASE peer_kind WHEN 'node' THEN CASE WHEN peer_name = node THEN 'host' ELSE 'node ' || peer_name END
    WHEN 'loopback' THEN 'loopback' ELSE peer_name END, peer_workload, names[1], peer_address, 'unix:' || path, '?')"""
#: Whose a row is, as fine as is wanted.
WHO = {
    "workload": _doubted(f"coalesce(workload, {_POD})"),
    "pod": _doubted(_POD),
    "process": f"{_doubted(_POD)} || ' ' || coalesce(exe, '?')",
}
#: Who the peer is: whose the address was, else the newest name that was asked for, else the address.
PEER = {"workload": f"coalesce(peer_workload, {_PEER_POD})", "pod": _PEER_POD, "process": _PEER_POD}
#: The port that is served: the peer's where this side began.
PORT = f"CASE WHEN ({DIRECTION}) = 'in' THEN local_port ELSE coalesce(nat_port, peer_port) END"
BY = tuple(WHO)
