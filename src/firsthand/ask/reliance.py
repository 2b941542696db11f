"""Columns by which a question chooses its rows: where none of the searched rows has a value, "none" is not proven (law 11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from firsthand.ask.answer import Asked
from firsthand.schema import filled


@dataclass(frozen=True)
class Relies:
    """A column of a table by which rows are chosen. `events`: those of its kinds of rows that the question looks at; none: all.

    `where`: SQL for the rows that must have a value, where others may be without one.
    """

    table: str
    column: str
    events: tuple[str, ...] = ()
    where: str = "true"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of rows that the question looks at and that fill the column."""
        filling = filled.columns(self.table)[self.column]
        return tuple(kind for kind in self.events or filling if kind in filling)


#: The other end of connections, and how much was sent to it.
PEERS = (Relies("connection", "peer_address", ("connect", "accept", "close", "folded"), "transport IN ('tcp', 'udp')"),)
BYTES = (
    Relies(
        *("connection", "bytes_sent", ("close", "folded")),
        "transport IN ('tcp', 'udp') AND peer_address IS NOT NULL",
    ),
)


def reasons(asked: Asked, relied: Sequence[Relies]) -> list[str]:
    """A reason for each column that none of the rows has in which it should stand."""
    found = []
    for table in dict.fromkeys(one.table for one in relied):
        mine = [one for one in relied if one.table == table]
        where, values = asked.where()
        parts: list[str] = []
        for one in mine:
            parts += [f"count(*) FILTER ({_chosen(one)})", f"count({one.column}) FILTER ({_chosen(one)})"]
        named = ", ".join(f"{part} AS c{i}" for i, part in enumerate(parts))
        row = asked.rows(f"SELECT {named} FROM {table} WHERE {where}", values)[0]  # noqa: S608 - declared
        for i, one in enumerate(mine):
            searched, known = row[f"c{2 * i}"], row[f"c{2 * i + 1}"]
            if searched and not known:
                kinds = " and ".join(one.kinds)
                found.append(f"none of {searched:,} {kinds} rows of {table} has {one.column}: the answer is not proven")
    return found


def _chosen(one: Relies) -> str:
    kinds = ", ".join(f"'{kind}'" for kind in one.kinds)
    return f"event IN ({kinds}) AND {one.where}"
