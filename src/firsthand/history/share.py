"""Whose rows a segment holds: its rows by namespace and kind, counted when it is written and kept in its Parquet footer.

Retention and `firsthand usage` read footers alone. A segment from before there were such counts is counted from its columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

#: Not names that Kubernetes allows (RFC 1123 labels): the host's own rows, and those of containers in no known namespace.
HOST, NONE = "(host)", "(none)"
BULK, PROTECTED, NAMES, RECORD = KINDS = ("bulk", "protected", "names", "record")
#: Tables that say who and whether, without which other rows cannot be judged, and those that are findings.
_NAMES = ("container", "pod", "address")
_RECORD = ("loss", "observer", "clock")
_PROTECTED = ("finding", "privilege")
#: Processes that gained rights or hid their binary, by process_flag of kernel/include/events.h.
FLAGS = {"SETUID": 0, "SETGID": 1, "FILECAPS": 2, "MEMFD": 4, "DELETED": 5, "ENTERED": 7, "DETACHED": 9}
_MASK = sum(1 << bit for bit in FLAGS.values())
#: `cause` of rows of `loss` that say what retention let go; their `namespace` is a share's, `since` and `until` its ends.
CAUSE = "retention"
_KEY = b"firsthand.shares"
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
    for known, tables in ((NAMES, _NAMES), (RECORD, _RECORD), (PROTECTED, _PROTECTED)):
        if table in tables:
            return known
    return None if table == "process" else BULK


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


def noted(table: str, rows: pa.Table) -> pa.Table:
    """The rows with their shares in the schema's metadata, to be written."""
    text = json.dumps([astuple(share) for share in measure(table, rows)])
    return rows.replace_schema_metadata({**(rows.schema.metadata or {}), _KEY: text.encode()})


def of_file(path: Path, table: str) -> tuple[Share, ...]:
    """The shares of a segment, from its footer where they are there."""
    with pq.ParquetFile(path) as file:
        found = (file.metadata.metadata or {}).get(_KEY)
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
