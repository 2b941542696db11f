"""Whose rows a segment holds: its rows by namespace and kind, counted when it is written and kept in its Parquet footer.

Retention reads footers alone, `firsthand usage` the manifest. A segment from before there were such counts is counted from its columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from firsthand.history.names.owner import CAUSE as CAUSE
from firsthand.history.names.owner import HOST as HOST
from firsthand.history.names.owner import NONE as NONE
from firsthand.subjects.declare import BULK as BULK
from firsthand.subjects.declare import BY_FLAGS
from firsthand.subjects.declare import NAMES as NAMES
from firsthand.subjects.declare import PROTECTED as PROTECTED
from firsthand.subjects.declare import RECORD as RECORD
from firsthand.subjects.registry import TABLES

KINDS = (BULK, PROTECTED, NAMES, RECORD)
#: Tables that later versions have, and protect.
_LATER = ("finding", "privilege")
#: Processes that gained rights or hid their binary, by process_flag of kernel/subjects/process.h.
FLAGS = {"SETUID": 0, "SETGID": 1, "FILECAPS": 2, "MEMFD": 4, "DELETED": 5, "ENTERED": 7, "DETACHED": 9}
_MASK = sum(1 << bit for bit in FLAGS.values())
_KEY = b"firsthand.shares"
#: The name by which the manifest has a segment's shares, beside what else summary.py keeps of it.
PART = "shares"
#: What the counts are made of.
_COLUMNS = ("time", "namespace", "container", "pod_uid", "flags")


@dataclass(frozen=True)
class Share:
    """Rows of one namespace and kind in one segment, and the times (microseconds) of the first and the last of them."""

    namespace: str
    kind: str
    rows: int
    first: int
    last: int


def kind(table: str) -> str | None:
    """The kind of all rows of a table; None where it differs by row."""
    if table not in TABLES:
        return PROTECTED if table in _LATER else BULK
    retention = TABLES[table].retention
    return None if retention == BY_FLAGS else retention


def namespaces(rows: pa.Table) -> Any:
    """The namespace that each row counts for: its own, else HOST, or NONE in a container."""
    known = rows.column_names
    outside = pa.chunked_array([pa.repeat(True, rows.num_rows)])
    for name in ("container", "pod_uid"):
        if name in known:
            outside = pc.and_(outside, pc.is_null(rows.column(name)))
    unnamed = pc.if_else(outside, HOST, NONE)
    return pc.coalesce(rows.column("namespace"), unnamed) if "namespace" in known else unnamed


def protected(table: str, rows: pa.Table) -> Any:
    """For each row whether it outlives bulk rows."""
    if kind(table) is not None or "flags" not in rows.column_names:
        return pa.chunked_array([pa.repeat(kind(table) == PROTECTED, rows.num_rows)])
    return pc.fill_null(pc.not_equal(pc.bit_wise_and(rows.column("flags"), _MASK), 0), False)


def keys(table: str, rows: pa.Table) -> pa.Table:
    """For each row its `namespace`, whether it is `protected`, and its `time` (microseconds, 0 where there is none)."""
    times = pa.chunked_array([pa.repeat(0, rows.num_rows)])
    if "time" in rows.column_names:
        times = pc.fill_null(rows.column("time").cast(pa.int64()), 0)
    return pa.table({"namespace": namespaces(rows), "protected": protected(table, rows), "time": times})


def measure(table: str, rows: pa.Table) -> tuple[Share, ...]:
    """The shares of a segment's rows."""
    grouped = keys(table, rows).group_by(["namespace", "protected"])
    counted = grouped.aggregate([("time", "count"), ("time", "min"), ("time", "max")])
    return tuple(
        sorted(
            (
                Share(
                    row["namespace"],
                    kind(table) or (PROTECTED if row["protected"] else BULK),
                    row["time_count"],
                    row["time_min"],
                    row["time_max"],
                )
                for row in counted.to_pylist()
            ),
            key=astuple,
        )
    )


def add(shares: dict[tuple[str, str], Share], more: Iterable[Share]) -> None:
    """Count more rows of a segment in, by (namespace, kind)."""
    for one in more:
        key = (one.namespace, one.kind)
        had = shares.get(key, one)
        rows = one.rows + (had.rows if key in shares else 0)
        shares[key] = Share(*key, rows, min(had.first, one.first), max(had.last, one.last))


def told(shares: Iterable[Share]) -> dict[bytes, bytes]:
    """The shares as a Parquet footer has them."""
    return {_KEY: json.dumps(sorted(astuple(share) for share in shares)).encode()}


def of_part(data: bytes | None) -> tuple[Share, ...] | None:
    """The shares as the manifest has them; None where it has none."""
    try:
        return None if data is None else tuple(Share(*values) for values in json.loads(data))
    except (ValueError, TypeError):
        return None


def of_footer(metadata: Mapping[bytes, bytes] | None) -> bytes | None:
    """The shares as a footer has them, and as the manifest keeps them."""
    return (metadata or {}).get(_KEY)


def of_file(path: Path, table: str) -> tuple[Share, ...]:
    """The shares of a segment, from its footer where they are there."""
    with pq.ParquetFile(path) as file:
        found = of_footer(file.metadata.metadata)
        if found is not None:
            return tuple(Share(*values) for values in json.loads(found))
        known = set(file.schema_arrow.names)
        return measure(table, file.read([name for name in _COLUMNS if name in known]))


def mask(table: str, rows: pa.Table, taken: Iterable[tuple[str, str]]) -> Any:
    """For each row whether its (namespace, kind) is among those `taken`."""
    known = keys(table, rows)
    words = [f"{namespace}\0{name}" for namespace, name in taken]
    every = kind(table)
    kinds = pc.if_else(known["protected"], PROTECTED, BULK) if every is None else every
    return pc.is_in(pc.binary_join_element_wise(known["namespace"], kinds, "\0"), pa.array(words, pa.string()))
