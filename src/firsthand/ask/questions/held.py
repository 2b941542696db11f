"""`address`: who held an address, and who at one moment: pods, containers, nodes and services by spans, names by answers of DNS.

By the rule of history/names/peers.py. Where two may be meant, both are shown, and the answer says so.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from firsthand.ask.answer import Asked, Found, cut, iso
from firsthand.ask.question import Question
from firsthand.errors import UsageError
from firsthand.history.names import addresses
from firsthand.history.names.addresses import Addresses, AddressHolder
from firsthand.history.names.telling import TELLING
from firsthand.identity import address

NEEDS = ("pod", "container", "address", "name")
_COLUMNS = ["held", "kind", "who", "workload", "since", "until", "node", "asked_by", "detail"]
_WIDE = ["certain", "questions", "boot"]
_EPOCH = datetime(1970, 1, 1)
_TELLING = ", ".join(f"'{word}'" for word in TELLING)
_READ = {
    "pod": f"event IN ({_TELLING}) AND list_contains(addresses, ?)",
    "container": f"event IN ({_TELLING}) AND list_contains(addresses, ?)",
    "address": "address = ?",
}


def held(asked: Asked) -> Found:
    """Those who hold it at the moment (--at, else the window's end) first, then the others of the window."""
    one = address.parse(asked.arguments[0]) if len(asked.arguments) == 1 else None
    if one is None:
        raise UsageError("`ask address` takes one address, such as 10.244.0.7 or fd00::7")
    moment = asked.until
    known, places = _learned(asked, one)
    rows, meant = [], []
    for node, boot in places:
        holders = addresses.taken_over(known.holders((node, boot, one)))
        now = addresses.meant(holders, _micro(moment))
        there = {holder.identity for holder in now}
        meant += now
        rows += [_row(holder, node, boot, holder.identity in there and _covers(holder, moment)) for holder in holders]
    rows = [row for row in _once(rows) if row["held"] or _overlaps(row, asked)]
    names = _names(asked, one, moment)
    rows += names
    rows.sort(key=lambda row: (not row["held"], row["kind"] == "name", -_micro(row["since"])))
    return Found(_sentence(one, moment, meant, names), cut(rows, asked.limit), len(rows), _COLUMNS, wide=_WIDE)


def _learned(asked: Asked, one: str) -> tuple[Addresses, list[tuple[str, str]]]:
    """All that was told of an address, whenever it was told: an end comes after it."""
    found, places, containers = Addresses(), dict[tuple[str, str], None](), list[str]()
    node, values = ("AND node = ?", [asked.filters.node]) if asked.filters.node else ("", [])
    for table, condition in _READ.items():
        query = f"SELECT {_columns(table)} FROM {table} WHERE {condition} {node}"  # noqa: S608
        rows = asked.rows(query, [one, *values])
        found.learn_rows(table, rows)
        places |= dict.fromkeys((row["node"], row["boot"]) for row in rows)
        containers += [row["container"] for row in rows if row["container"]]
    ends = f"""SELECT {_columns("container")} FROM container WHERE event = 'remove'
        AND container IN (SELECT unnest(CAST(? AS VARCHAR[])))"""  # noqa: S608
    found.learn_rows("container", asked.rows(ends, [containers]))
    return found, list(places)


def _columns(table: str) -> str:
    return ", ".join(addresses.READ[table])


def _row(holder: AddressHolder, node: str, boot: str, there: bool) -> dict[str, Any]:
    kind, pod, namespace, workload, name = holder.words
    who = "/".join(filter(None, (namespace, pod))) if pod else name or workload
    return {
        "held": there,
        "kind": kind,
        "who": who,
        "pod": pod,
        "namespace": namespace,
        "workload": workload,
        "since": _moment(holder.begin),
        "until": None if holder.open else _moment(holder.end),
        "certain": holder.sure,
        "node": node,
        "boot": boot,
        "asked_by": [],
        "detail": None if holder.sure else "had it perhaps only later than this",
    }


def _once(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each holder and span, though several told it."""
    return list({(row["kind"], row["who"], row["since"], row["node"]): row for row in rows}.values())


def _covers(holder: AddressHolder, moment: datetime) -> bool:
    return holder.begin <= _micro(moment) < holder.end


def _overlaps(row: dict[str, Any], asked: Asked) -> bool:
    return bool(row["since"] <= asked.until and (row["until"] is None or row["until"] >= asked.since))


def _names(asked: Asked, one: str, moment: datetime) -> list[dict[str, Any]]:
    """Names whose answers gave the address: in force from an answer until its time to live is over. What a name gave at `--at` is
    told by answers from a day before."""
    since = min(asked.since, moment - timedelta(days=1))
    conditions: list[tuple[str, list[Any]]] = [
        ("time >= ? AND time <= ? AND event = 'answer'", [since, asked.until]),
        ("list_contains(addresses, ?)", [one]),
    ]
    conditions += asked.filters.conditions
    where = " AND ".join(text for text, _ in conditions)
    values = [value for _, some in conditions for value in some]
    alive = "time + to_seconds(coalesce(ttl, 0))"
    query = f"""SELECT bool_or(time <= ? AND {alive} >= ?) AS held, 'name' AS kind, name AS who, min(time) AS since, max({alive}) AS until,
            node, boot, count(*) AS questions,
            list_sort(list(DISTINCT coalesce(namespace || '/' || pod, container_name, left(container, 12), 'host'))) AS asked_by
        FROM name WHERE {where} GROUP BY name, node, boot ORDER BY since DESC LIMIT ?"""  # noqa: S608
    return asked.rows(query, [moment, moment, *values, asked.limit])


def _sentence(one: str, moment: datetime, meant: list[AddressHolder], names: list[dict[str, Any]]) -> str:
    at = iso(moment.replace(tzinfo=UTC))
    identities = {holder.identity: holder for holder in meant}
    if len(identities) == 1:
        said = f"{one} was {_told(next(iter(identities.values())))} at {at}"
    elif identities:
        said = f"Not certain: {one} may have been any of {len(identities)} at {at}: {', '.join(map(_told, identities.values()))}"
    else:
        said = f"Nobody is known to have held {one} at {at}; it is {address.kind(one) or 'no address of anybody'}"
    given = sorted({row["who"] for row in names if row["held"]})
    return said + (f"; {', '.join(given[:5])} {'stands' if len(given) == 1 else 'stand'} for it" if given else "")


def _told(holder: AddressHolder) -> str:
    kind, pod, namespace, workload, name = holder.words
    if pod:
        return f"pod {'/'.join(filter(None, (namespace, pod)))}"
    return f"{kind} {name or workload}"


def _micro(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _moment(micro: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micro)


QUESTIONS = {
    "address": Question(
        "who held an address at a moment",
        "ADDRESS",
        held,
        NEEDS,
        moment=True,
        takes=(1, 1),
        options=frozenset({"at"}),
        filters=("node",),
        rank=120,
    ),
}
