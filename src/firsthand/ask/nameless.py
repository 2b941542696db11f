"""What keeps "none" by a name from being proven: names that are not known, did not fit, or were not read."""

from __future__ import annotations

from typing import Any

from firsthand.ask import talk
from firsthand.ask.answer import Asked, plural
from firsthand.ask.reach import OWN_KINDS
from firsthand.history.store.mentions import Condition
from firsthand.history.store.summary import UNREAD

#: A connection whose head says no name.
SOCKET = "concat_ws(' ', node, boot, cookie)"
HEADLESS = f"{SOCKET} NOT IN (SELECT {SOCKET} FROM request WHERE sni IS NOT NULL OR host IS NOT NULL)"  # noqa: S608


#: Conversations elsewhere in which no row has a name: begun here, or nobody knows by whom. They end in the window or after it, or go on.
_NAMELESS = f"""WITH told AS (SELECT node, boot, cookie, peer_address, peer_port, time, event, transport, outcome, names, duration,
        flag_names, folded_count, folded_until, {talk.DIRECTION} AS way FROM connection WHERE {{where}} AND NOT {talk.flagged("LISTENING")})
    SELECT count(*) + coalesce(sum(folded - 1), 0) AS number, min(peer_address) AS one, count(DISTINCT peer_address) AS addresses
    FROM (SELECT peer_address, sum(folded_count) AS folded FROM told AS ways WHERE {HEADLESS}
        GROUP BY node, boot, cookie, peer_address, peer_port
        HAVING (bool_or(ways.time >= ? OR coalesce(ways.folded_until >= ?, false)) OR ({talk.OPEN}))
            AND NOT bool_or(coalesce(names, []) <> []) AND NOT coalesce(bool_or(way = 'in' AND event <> 'taken'), false))"""  # noqa: S608


def reasons(asked: Asked, what: str) -> list[str]:
    """Why `what` may have been reached all the same: connections with a name neither from a lookup nor in their heads. Their programs may
    have looked the name up before observing began, or by a way that is not read."""
    number, peers = _without(asked, asked.reach.elsewhere(asked))
    if not number:
        return []
    several = f"{plural(number, 'connection')} out of the cluster {'has' if number == 1 else 'have'} no name"
    return [f"{several}: {what} may be among them; ask for its addresses too; they went to {peers}"]


def within(asked: Asked) -> str:
    """The same to private addresses that nobody known holds, for the sentence: most have no name that matters here."""
    far, values = asked.reach.elsewhere(asked)
    own = ", ".join(f"'{kind}'" for kind in OWN_KINDS)
    near = f"peer_address IS NOT NULL AND coalesce(peer_kind, '') NOT IN ({own}) AND ({far}) IS NOT TRUE"
    number, peers = _without(asked, (near, values))
    if not number:
        return ""
    several = f"{plural(number, 'connection')} to unnamed addresses of private ranges"
    return f"{several} {'is' if number == 1 else 'are'} not judged ({peers})"


def _without(asked: Asked, peers: tuple[str, list[Any]]) -> tuple[int, str]:
    """How many conversations with these peers have no name, and whom they went to."""
    kinds = f"({talk.TOLD} OR event IN ('seen', 'taken'))"
    where, parameters = asked.reaching(peers, (kinds, []))
    (found,) = asked.rows(_NAMELESS.format(where=where), [*parameters, asked.since, asked.since])
    more = found["addresses"] - 1
    return int(found["number"]), f"{found['one']}" + (
        f" and {plural(more, 'more address', 'more addresses')}" if more > 0 else ""
    )


def unread(asked: Asked, what: str) -> list[str]:
    """Why `what` may be in rows that do not show it: names that did not fit into a row, or were not read."""
    where, values = asked.where()
    ran, bounds = asked.ran((talk.TOLD, []))
    missing = "sni IS NULL AND host IS NULL AND marks IS NOT NULL"
    cut = "contains(coalesce(marks, ''), 'TRUNCATED') AND len(coalesce(addresses, [])) > 0"  # an alias may be behind
    told, until = asked.existing((cut, []))
    query = f"""SELECT (SELECT count(*) FROM connection WHERE {ran} AND names_cut) AS "connections have more names than fit into their rows",
        (SELECT count(*) FROM name WHERE {where} AND name IS NULL) AS "DNS messages have a name that could not be read",
        (SELECT count(*) FROM name WHERE {told}) AS "DNS answers with addresses have records that were cut",
        (SELECT count(*) FROM request WHERE {where} AND {missing}) AS "heads of TLS or HTTP were not read as far as their name" """  # noqa: S608
    such = dict.fromkeys(("connection", "name", "request"), Condition("=", "unread", (UNREAD,)))
    (numbers,) = asked.rows(query, [*bounds, *values, *until, *values], such)
    return [f"{number:,} {rows}: {what} may be among them" for rows, number in numbers.items() if number]
