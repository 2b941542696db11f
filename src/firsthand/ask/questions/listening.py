"""`listening` and `exposed`: which doors stood open at a moment, and who came in from elsewhere."""

from __future__ import annotations

from typing import Any

from firsthand.ask import lineage, show, talk
from firsthand.ask.answer import Asked, Found, cut, iso, plural, which
from firsthand.ask.question import Question
from firsthand.ask.reliance import PEERS, Relies
from firsthand.schema import capability

NEEDS = ("connection",)
EXPOSED_NEEDS = ("connection", "pod", "container", "address")
_LISTENING = ["since", "pod", "container_name", "transport", "listens", "open_to", "exe", "args", "beyond"]
_LISTENING_WIDE = ["namespace", "before", "uid", "capabilities", "exec_id", "container", "node"]
_EXPOSED = [
    "pod",
    "container_name",
    "exe",
    "port",
    "connections",
    "peers",
    "from",
    "beyond",
    "bytes_sent",
    "bytes_received",
    "first",
    "last",
]
_EXPOSED_WIDE = ["namespace", "workload", "binaries", "capabilities", "container", "node"]
_WHERE = ("node", "pod", "namespace", "workload", "pod_uid", "container", "container_name", "image")
_PROCESS = ("exec_id", "exe", "pid", "uid", "euid", "cap_effective")
#: Addresses of peers that a row names.
_NAMED = 5


def listening(asked: Asked) -> Found:
    """One row for each socket that listened, or that takes whatever passes (raw), at the window's end.

    Since the observers of that moment started, all that was open has been told.
    """
    since = asked.since if asked.at_end is None else asked.at_end.replace(tzinfo=None)
    conditions = [("time >= ? AND time <= ?", [since, asked.until]), *asked.filters.conditions]
    where = " AND ".join(text for text, _ in conditions)
    newest = ", ".join(f"arg_max({name}, ktime) AS {name}" for name in (*_WHERE[1:], "claimed", *_PROCESS))
    query = f"""SELECT node, boot, cookie, {newest}, min(time) AS since, any_value(transport) AS transport,
            any_value(local_address) AS local_address, any_value(local_port) AS local_port, any_value(path) AS path,
            bool_or(event = 'seen') AS before FROM connection
        WHERE {where} AND (event IN ('listen', 'open') OR {talk.flagged("LISTENING")} OR (event = 'close' AND transport = 'raw'))
        GROUP BY node, boot, cookie HAVING NOT bool_or(event = 'close') ORDER BY since, local_port"""  # noqa: S608
    rows = asked.rows(query, [value for _, values in conditions for value in values])
    known = lineage.images(asked, [row["exec_id"] for row in rows[: asked.limit]])
    for row in rows:
        _complete(row, known, asked.ordinary)
    wide = sum(1 for row in rows if row["open_to"] == "every address")
    sentence = f"{plural(len(rows), 'socket')} listened at {iso(asked.window.until)}, {wide:,} of them on every address"
    return Found(sentence, cut(rows, asked.limit), len(rows), _LISTENING, wide=_LISTENING_WIDE)


def _complete(row: dict[str, Any], known: dict[str, Any], ordinary: int) -> None:
    address, raw = row["local_address"], row["transport"] in ("raw", "packet")
    row["listens"] = "whatever passes" if raw else show.end(address, row["local_port"]) or f"unix:{row['path'] or '?'}"
    row["open_to"] = _open_to(address)
    row["args"] = lineage.arguments(row["exec_id"], known)
    _rights(row, ordinary)


def _open_to(address: str | None) -> str:
    from firsthand.identity import address as addresses

    if address is None:
        return ""
    if address in addresses.NOBODY:
        return "every address"
    return "itself alone" if addresses.kind(address) == "loopback" else "this address"


def _rights(row: dict[str, Any], ordinary: int) -> None:
    bits = row.pop("cap_effective")
    row["capabilities"] = None if bits is None else capability.names(bits)
    row["beyond"] = show.beyond(bits, ordinary)


def exposed(asked: Asked) -> Found:
    """One row for each door through which somebody from outside the cluster's ranges came in, the most connections first."""
    elsewhere = asked.reach.elsewhere(asked)
    where, parameters = asked.ran((talk.TOLD, []), elsewhere)
    places = ", ".join(_WHERE)
    query = f"""WITH rows AS (SELECT *, {talk.DIRECTION} AS way FROM connection WHERE {where})
        SELECT {places}, local_port, transport, {talk.number()} AS connections,
            count(DISTINCT peer_address) AS peers, list_sort(list(DISTINCT peer_address))[:{_NAMED}] AS "from",
            bool_or(claimed) AS claimed, arg_max(exe, time) AS exe, list_sort(list(DISTINCT exe) FILTER (exe IS NOT NULL))[:{_NAMED}] AS binaries,
            bit_or(cap_effective) AS cap_effective, arg_max(exec_id, time) AS exec_id,
            coalesce(sum(bytes_sent) FILTER ({talk.ENDED}), 0)::BIGINT AS bytes_sent,
            coalesce(sum(bytes_received) FILTER ({talk.ENDED}), 0)::BIGINT AS bytes_received,
            min({talk.BEGAN}) AS first, max({talk.LAST}) AS last
        FROM rows WHERE way = 'in' GROUP BY {places}, local_port, transport
        ORDER BY connections DESC, first"""  # noqa: S608
    rows = asked.rows(query, parameters)
    for row in rows:
        row["port"] = f"{row.pop('local_port')}/{row['transport']}"
        _rights(row, asked.ordinary)
    total = sum(row["connections"] for row in rows)
    what = (
        f"{plural(total, 'connection')} from outside the cluster{which(asked)} came in by {plural(len(rows), 'door')}"
    )
    sentence = f"Yes: {what}" if rows else f"No: no connection from outside the cluster{which(asked)} came in"
    return Found(sentence, cut(rows, asked.limit), len(rows), _EXPOSED, wide=_EXPOSED_WIDE)


QUESTIONS = {
    "listening": Question(
        "sockets that listened at the window's end",
        "",
        listening,
        NEEDS,
        standing=True,
        relies=(Relies("connection", "local_address", ("listen",), "transport IN ('tcp', 'udp')"),),
        rank=130,
    ),
    "exposed": Question(
        "who accepted connections from outside the cluster",
        "",
        exposed,
        EXPOSED_NEEDS,
        names_matter=True,
        relies=PEERS,
        rank=140,
    ),
}
