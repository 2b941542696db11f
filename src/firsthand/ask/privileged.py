"""`privileged`: containers whose processes hold more capabilities than an ordinary one's, from the kernel at each exec."""

from __future__ import annotations

from typing import Any

from firsthand.ask.answer import Asked, Found, cut
from firsthand.schema import capability

NEEDS = ("process",)
_COLUMNS = [
    "container",
    "pod",
    "namespace",
    "all",
    "beyond",
    "granted",
    "permitted",
    "effective",
    "binaries",
    "since",
    "held",
]
#: The runtime's own set-up inside a container's cgroup: a sealed copy of itself, outside every mount tree or in memory.
_LIFE = "event IN ('exec', 'seen') AND container IS NOT NULL AND NOT coalesce((flags & ?) <> 0, false)"
_RUNTIME = 1 << 11


def privileged(asked: Asked) -> Found:
    """One row for each container that holds more than the ordinary set (with --could also those that could)."""
    where, parameters = asked.where((_LIFE, [_RUNTIME]))
    query = f"""SELECT node, container, any_value(pod) AS pod, any_value(namespace) AS namespace,
        bit_or(cap_bounding) AS granted, bit_or(cap_permitted) AS permitted, bit_or(cap_effective) AS effective,
        list_sort(list(DISTINCT exe) FILTER ((cap_permitted & ~CAST(? AS BIGINT)) <> 0)) AS binaries,
        min(time) FILTER ((cap_permitted & ~CAST(? AS BIGINT)) <> 0) AS since
        FROM process WHERE {where} GROUP BY node, container ORDER BY since, container"""  # noqa: S608
    found = asked.rows(query, [asked.ordinary, asked.ordinary, *parameters])
    every = _every(asked)
    holding = [row for row in found if row["permitted"] & ~asked.ordinary]
    could = [row for row in found if row not in holding and row["granted"] & ~asked.ordinary]
    rows = [_row(row, asked.ordinary, every) for row in (holding + could if asked.could else holding)]
    sentence = f"{len(holding):,} of {len(found):,} containers hold capabilities beyond an ordinary container's"
    whole = sum(1 for row in rows if row["all"] and row["held"])
    if whole:
        sentence += f", {whole:,} of them every capability"
    if could and not asked.could:
        sentence += f"; {len(could):,} more could be granted such (--could shows them)"
    return Found(sentence, cut(rows, asked.limit), len(rows), _COLUMNS)


def _every(asked: Asked) -> int:
    """Every capability that this kernel knows: the union of all bounding sets in the record."""
    return asked.number("SELECT bit_or(cap_bounding) FROM process", [])


def _row(row: dict[str, Any], ordinary: int, every: int) -> dict[str, Any]:
    held = bool(row["permitted"] & ~ordinary)
    subject = row["permitted"] if held else row["granted"]
    sets = {name: capability.names(row[name]) for name in ("granted", "permitted", "effective")}
    return {
        **{name: row[name] for name in ("container", "pod", "namespace", "binaries", "since")},
        **sets,
        "all": bool(every) and subject & every == every,
        "beyond": capability.names(subject & ~ordinary),
        "held": held,
    }
