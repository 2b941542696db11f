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


def reasons(asked: Asked, what: str) -> list[str]:
    """Why `what` may have been reached all the same: what was begun or open within the window and has a name neither from a lookup nor in
    its heads. Its program may have looked the name up before observing began, or by a way that is not read."""
    number, some = _without(asked, asked.reach.elsewhere(asked))
    if not number:
        return []
    several = f"{plural(number, 'connection')} out of the cluster {'has' if number == 1 else 'have'} no name"
    return [f"{several} ({some}): {what} may be among them; ask for its addresses too"]


def within(asked: Asked) -> str:
    """The same to the cluster's own ranges, of whose addresses nothing is known, for the sentence: most have no name that matters here."""
    far, values = asked.reach.elsewhere(asked)
    own = ", ".join(f"'{kind}'" for kind in OWN_KINDS)
    near = f"peer_address IS NOT NULL AND coalesce(peer_kind, '') NOT IN ({own}) AND ({far}) IS NOT TRUE"
    number, some = _without(asked, (near, values))
    if not number:
        return ""
    return f"{plural(number, 'connection')} to unnamed addresses of private ranges {'is' if number == 1 else 'are'} not judged ({some})"


def _without(asked: Asked, peers: tuple[str, list[Any]]) -> tuple[int, str]:
    """How many conversations with these peers, not begun by them, have no name, and some of their addresses."""
    where, parameters = asked.reaching(
        (f"({talk.TOLD} OR event IN ('seen', 'taken')) AND NOT {talk.flagged('LISTENING')}", []), peers
    )
    found = f"""SELECT peer_address, peer_port FROM connection WHERE {where} AND {HEADLESS}
        GROUP BY node, boot, cookie, peer_address, peer_port
        HAVING NOT bool_or(coalesce({talk.DIRECTION} = 'in', false)) AND NOT bool_or(coalesce(names, []) <> [])
            AND (bool_or(time >= ? OR coalesce(folded_until >= ?, false)) OR ({talk.OPEN}))"""  # noqa: S608
    ends = "peer_address || coalesce(' ' || peer_port, '')"
    query = f"SELECT count(*) AS number, list_sort(list(DISTINCT {ends}))[:4] AS ends FROM ({found})"  # noqa: S608
    ((row),) = asked.rows(query, [*parameters, asked.since, asked.since])
    some = row["ends"] or []
    return row["number"], ", ".join([*some[:3], *(["..."] if len(some) > 3 else [])])


def unread(asked: Asked, what: str) -> list[str]:
    """Why `what` may be in rows that do not show it: names that did not fit into a row, or were not read."""
    where, values = asked.where()
    ran, bounds = asked.ran((talk.TOLD, []))
    missing = "sni IS NULL AND host IS NULL AND marks IS NOT NULL"
    query = f"""SELECT (SELECT count(*) FROM connection WHERE {ran} AND names_cut) AS "connections have more names than fit into their rows",
        (SELECT count(*) FROM name WHERE {where} AND name IS NULL) AS "DNS messages have a name that could not be read",
        (SELECT count(*) FROM request WHERE {where} AND {missing}) AS "heads of TLS or HTTP were not read as far as their name" """  # noqa: S608
    such = dict.fromkeys(("connection", "name", "request"), Condition("=", "unread", (UNREAD,)))
    (numbers,) = asked.rows(query, [*bounds, *values, *values], such)
    return [f"{number:,} {rows}: {what} may be among them" for rows, number in numbers.items() if number]
