"""What keeps "none" by a name from being proven: names that are not known, did not fit, or were not read."""

from __future__ import annotations

from firsthand.ask import talk
from firsthand.ask.answer import Asked, plural
from firsthand.history.store.mentions import Condition
from firsthand.history.store.summary import UNREAD

#: A connection whose head says no name.
SOCKET = "concat_ws(' ', node, boot, cookie)"
HEADLESS = f"{SOCKET} NOT IN (SELECT {SOCKET} FROM request WHERE sni IS NOT NULL OR host IS NOT NULL)"  # noqa: S608


def reasons(asked: Asked, what: str) -> list[str]:
    """Why `what` may have been reached all the same: connections with a name neither from a lookup nor in their heads. Their programs may
    have looked the name up before observing began, or by a way that is not read."""
    alone = "event = 'connect' AND outcome IS DISTINCT FROM 'started' AND coalesce(names, []) = []"
    where, parameters = asked.where(asked.reach.elsewhere(asked), (alone, []))
    query = f"SELECT count(*) FROM connection WHERE {where} AND {HEADLESS}"  # noqa: S608
    number = asked.number(query, parameters)
    if not number:
        return []
    several = f"{plural(number, 'connection')} out of the cluster {'has' if number == 1 else 'have'} no name"
    return [f"{several}: {what} may be among them; ask for its addresses too"]


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
