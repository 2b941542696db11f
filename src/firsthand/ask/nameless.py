"""Connections out of the cluster of which no name is known: what keeps "none" by a name from being proven."""

from __future__ import annotations

from firsthand.ask.answer import Asked, plural

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
