"""`talkers`: who talks with whom, and how much."""

from __future__ import annotations

from typing import Any

from firsthand.ask import talk
from firsthand.ask.answer import Asked, Found, plural, which
from firsthand.ask.question import Question
from firsthand.ask.reliance import PEERS
from firsthand.ask.show import size
from firsthand.errors import UsageError

NEEDS = ("connection", "pod")
_COLUMNS = [
    "who",
    "peer",
    "kind",
    "out",
    "in",
    "failed",
    "bytes_sent",
    "bytes_received",
    "ports",
    "binaries",
    "first",
    "last",
]
#: Binaries and ports that a row names.
NAMED = 8
#: Left out unless everything is wanted: what does not leave its pod or machine.
_OUTWARD = "transport IN ('tcp', 'udp', 'icmp', 'other') AND peer_kind IS DISTINCT FROM 'loopback'"
#: Numbers of some rows together.
_ADDED = f"""count(*) FILTER ({talk.FAILED}) AS failed,
    coalesce(sum(bytes_sent) FILTER ({talk.ENDED}), 0)::BIGINT AS bytes_sent,
    coalesce(sum(bytes_received) FILTER ({talk.ENDED}), 0)::BIGINT AS bytes_received, min(time) AS first, max({talk.LAST}) AS last"""


def _listed(value: str, name: str) -> str:
    """The first different values, as a list."""
    return f"list_sort(list_distinct(list({value}) FILTER (({value}) IS NOT NULL)))[:{NAMED}] AS {name}"


SUMS = f"{_ADDED}, {_listed('exe', 'binaries')}"
_ORDER = """bytes_sent + bytes_received DESC, out + "in" DESC, who, peer"""
#: What of a row is counted.
_READ = """event, outcome, transport, flag_names, exe, time, duration, folded_until, folded_count, bytes_sent, bytes_received, peer_address,
    peer_kind"""


def by_what(asked: Asked) -> str:
    """The one argument: how finely ends are told apart."""
    by = asked.arguments[0] if asked.arguments else "workload"
    if by not in talk.BY or len(asked.arguments) > 1:
        raise UsageError(f"{' '.join(asked.arguments)!r}: give one of {', '.join(talk.BY)}")
    return by


def rows_of(asked: Asked) -> tuple[str, list[Any]]:
    """The WHERE clause of conversations that are wanted."""
    more = [] if asked.everything else [(_OUTWARD, list[Any]())]
    return asked.ran((talk.TOLD, []), *more)


def talkers(asked: Asked) -> Found:
    """One row for each pair of who and peer, the most bytes first."""
    by = by_what(asked)
    where, parameters = rows_of(asked)
    query = f"""WITH told AS (SELECT {_READ}, {talk.WHO[by]} AS who, {talk.PEER[by]} AS peer, {talk.DIRECTION} AS way, {talk.PORT} AS served
            FROM connection WHERE {where}),
        parts AS MATERIALIZED (SELECT who, peer, exe, served, transport, any_value(peer_kind) AS kind, {talk.number("way = 'out'")} AS out,
            {talk.number("way IS DISTINCT FROM 'out'")} AS "in", {_ADDED} FROM told GROUP BY who, peer, exe, served, transport),
        most AS MATERIALIZED (SELECT *, count(*) OVER () AS total FROM (SELECT who, peer, any_value(kind) AS kind, sum(out)::BIGINT AS out,
            sum("in")::BIGINT AS "in", {", ".join(f"sum({name})::BIGINT AS {name}" for name in ("failed", "bytes_sent", "bytes_received"))},
            min(first) AS first, max(last) AS last FROM parts GROUP BY who, peer) ORDER BY {_ORDER} LIMIT ?),
        named AS (SELECT who, peer, {_listed("exe", "binaries")}, {_listed("served || '/' || transport", "ports")}
            FROM parts SEMI JOIN most USING (who, peer) GROUP BY who, peer)
        SELECT * EXCLUDE (total), total FROM most JOIN named USING (who, peer) ORDER BY {_ORDER}"""  # noqa: S608 - lists of those shown alone
    rows = asked.rows(query, [*parameters, asked.limit])
    total = max((row.pop("total") for row in rows), default=0)
    return Found(_sentence(rows, total, f"{by} and peer{of_which(asked)}"), rows, total, _COLUMNS)


def of_which(asked: Asked) -> str:
    """Conversations that are open throughout the window have no row in it."""
    return f" by connections{found}" if (found := which(asked)) else ""


def _sentence(rows: list[dict[str, Any]], total: int, what: str) -> str:
    said = f"{plural(total, 'pair')} of {what}"
    if not rows:
        return said
    most = rows[0]
    return f"{said}; most between {most['who']} and {most['peer']}: {size(most['bytes_sent'])} out, {size(most['bytes_received'])} in"


#: What rows can be about, as the argument's usage.
BY = "[workload|pod|process]"

QUESTIONS = {
    "talkers": Question(
        "who talks with whom, and how much",
        BY,
        talkers,
        NEEDS,
        takes=(0, 1),
        options=frozenset({"everything"}),
        relies=PEERS,
        rank=100,
    ),
}
