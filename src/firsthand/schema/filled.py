"""Which kinds of rows (column `event`) fill which column: from the kernel's records, and declared for what user space adds.

A column that no searched row can fill proves nothing by being empty (law 11).
"""

from __future__ import annotations

from functools import cache

from firsthand.schema import layout
from firsthand.schema.lock import columns_of
from firsthand.schema.tables import TABLES

_EXECUTED = ("exec", "seen", "folded")
#: Kinds of rows by table, where the kernel has no records of them.
KINDS = {
    "container": ("create", "remove", "move", "seen", "named", "gone", "confirmed", "contradicted"),
    "pod": ("named", "gone"),
    "address": ("held", "gone"),
    "name": ("question", "answer", "unanswered"),
    "request": ("tls", "http"),
}
#: Columns of own.py that only some kinds of rows have.
_ANSWERS: dict[str, tuple[str, ...]] = dict.fromkeys(("rcode", "records", "addresses", "ttl", "latency"), ("answer",))
_TLS: dict[str, tuple[str, ...]] = dict.fromkeys(("sni", "ech", "alpn", "tls_version", "ja4"), ("tls",))
_HTTP: dict[str, tuple[str, ...]] = dict.fromkeys(("method", "host", "url_path", "user_agent"), ("http",))
_OWN: dict[str, dict[str, tuple[str, ...]]] = {
    "process": {
        "redacted": _EXECUTED,
        "redaction": _EXECUTED,
        "folded_until": ("folded",),
        "exe": ("fork", "exec", "exit", "seen", "folded", "left"),
    },
    "connection": {"folded_until": ("folded",)},
    "name": _ANSWERS,
    "request": _TLS | _HTTP,
}


@cache
def kinds(table: str) -> tuple[str, ...]:
    """Every kind of row of a table."""
    if table in KINDS:
        return KINDS[table]
    return tuple(record.event for _, record in sorted(layout.installed().records.items()) if record.table == table)


@cache
def columns(table: str) -> dict[str, tuple[str, ...]]:
    """The kinds of rows that fill each column of a table; a column that all may fill has all of them."""
    found: dict[str, list[str]] = {}
    for _, record in sorted(layout.installed().records.items()):
        if record.table == table:
            for field in record.fields:
                for column in columns_of(field):
                    found.setdefault(column.name, []).append(record.event)
    derived = {name: tuple(dict.fromkeys(events)) for name, events in found.items()}
    return {name: kinds(table) for name in TABLES[table].names} | derived | _OWN.get(table, {})
