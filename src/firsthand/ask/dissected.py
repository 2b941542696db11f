"""Names and requests that are not in the record yet: packets that wait for a dissector at the moment of the question.

What was lost, and for how long no dissector answered, is in `loss` once it is over. Until then the observer's newest row says it; it
writes one when packets begin to wait, and when none does any more.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from firsthand.ask import proven
from firsthand.ask.answer import Connection, Window, iso
from firsthand.history.log.alive import UNANSWERED

TABLES = ("name", "request")
_ALIVE = timedelta(seconds=proven.ALIVE)


def reasons(connection: Connection, window: Window, tables: Collection[str], node: str | None = None) -> list[str]:
    """Why what `tables` hold of the window is not whole yet; nothing for windows that ended long ago."""
    if not set(tables) & set(TABLES) or window.until < datetime.now(UTC) - _ALIVE - timedelta(seconds=UNANSWERED):
        return []
    query = """SELECT node, arg_max(time, (ktime, time)), arg_max(measures, (ktime, time)) FROM observer
        WHERE event NOT IN ('runtime', 'stop') AND time >= ? AND measures IS NOT NULL GROUP BY node, boot, instance ORDER BY node"""
    rows = connection.execute(query, [(datetime.now(UTC) - _ALIVE).replace(tzinfo=None)]).fetchall()
    found = [(name, moment.replace(tzinfo=UTC), json.loads(measures)) for name, moment, measures in rows]
    return [why for name, moment, measures in found if node in (None, name) for why in _of(name, moment, measures)]


def _of(node: str, moment: datetime, measures: dict[str, float]) -> list[str]:
    if waiting := int(measures.get("packets_waiting", 0)):
        return [f"{waiting:,} packets on {node} wait for a dissector: their names and requests have not been read yet"]
    silent = measures.get("dissector_silent_seconds", 0.0)
    if silent < UNANSWERED:
        return []
    return [
        f"no dissector answered on {node} since {iso(moment - timedelta(seconds=silent))}: names and requests are not proven"
    ]
