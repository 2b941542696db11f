"""What a segment can hold, in a few bytes, so that a reader opens only those that a question needs (docs/decisions/summaries.md).

Of each segment the manifest keeps a head (the times that it spans, its columns) and of some columns the values: all of them where they
are few, else a Bloom filter. A summary bears a checksum over the segment's own hash: one that is damaged, missing, of another segment
or of another version says nothing, and the segment is read.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from firsthand.history.store.mentions import Condition
from firsthand.schema.tables import KEPT
from firsthand.subjects.registry import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

HEAD = ""
#: Columns whose values are kept, by table.
COLUMNS: dict[str, tuple[str, ...]] = {name: one.summary for name, one in TABLES.items() if one.summary}
#: Facts of rows that no single column has, by table: the columns that each is made of, by `_fact`.
FACTS: dict[str, dict[str, tuple[str, ...]]] = {name: dict(one.facts) for name, one in TABLES.items() if one.facts}
#: Words of `outside`, of rows in no container: apart from the host (ask/apart.py); in a cgroup whose path is not known.
APART, UNPLACED = "apart", "unplaced"
#: The word of `unread`, of rows that may lack the name that is looked for: it did not fit, or was not read.
UNREAD = "unread"
#: What the manifest knows of a segment without a summary: whether it has rows of containers that have no name, or that no runtime confirmed.
UNSURE = "unsure"
#: Lengths of the beginnings that a filter has of values which are asked for by theirs.
_PREFIXES = {"container": (4, 8, 12)}
#: Up to so many values, of so many bytes together, are kept as they are.
_FEW, _SHORT = 64, 6_000
#: A Bloom filter's bits for each value, and how many of them a value sets: 0.8% of others are taken for one of its values.
_BITS, _HASHES = 10, 7
_ALL, _BLOOM = b"a", b"b"
#: A part that has no value.
NOTHING = _ALL + b"[]"
_CHECK = 8
_MASK = (1 << 64) - 1
_EPOCH = datetime(1970, 1, 1)
#: Columns with times of which the head keeps the first and the last.
_TIMES = ("time", "folded_until")

Parts = Mapping[str, bytes]
#: Columns of numbers; the others are text. DuckDB casts where a statement compares with the other kind, and a filter does not.
_NUMBERS = {
    column.name
    for table, names in COLUMNS.items()
    for column in KEPT[table].columns
    if column.name in names and column.type.startswith("int")
}


def sealed(data: bytes, sha256: str, column: str) -> bytes:
    """A part with its checksum."""
    return _check(data, sha256, column) + data


def _check(data: bytes, sha256: str, column: str) -> bytes:
    return hashlib.blake2b(f"{sha256} {column} ".encode() + data, digest_size=_CHECK).digest()


def opened(part: bytes | None, sha256: str, column: str) -> bytes | None:
    """What a part says; None where nothing."""
    if not isinstance(part, bytes) or part[:_CHECK] != _check(part[_CHECK:], sha256, column):
        return None
    return part[_CHECK:]


def layout(table: str) -> str:
    """A hash of the columns that this version gives a table."""
    said = json.dumps([(column.name, column.type) for column in KEPT[table].columns])
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


# ---- as the keeper makes them ----


def make(table: str, rows: pa.Table, sha256: str, *, whole: bool) -> dict[str, bytes]:
    """The parts for a segment of these rows. `whole`: it has this version's columns."""
    import pyarrow.compute as pc

    times: dict[str, Any] = {}
    for name in _TIMES:
        if name in rows.column_names:
            found = pc.min_max(rows.column(name).cast("int64")).as_py()
            times[name] = [found["min"], found["max"], rows.column(name).null_count]
    head = {"times": times, "layout": layout(table) if whole else None}
    parts = {HEAD: json.dumps(head, separators=(",", ":")).encode()}
    for name in COLUMNS.get(table, ()):
        if name in rows.column_names:
            parts[name] = _values(name, rows.column(name))
    for name, needed in FACTS.get(table, {}).items():
        if set(needed) <= set(rows.column_names):
            parts[name] = _values(name, _fact(name, {one: rows.column(one) for one in needed}))
    return {name: sealed(data, sha256, name) for name, data in parts.items()}


def _values(name: str, column: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = pc.list_flatten(column) if pa.types.is_list(column.type) else column
    different = pc.unique(plain).drop_null()
    if isinstance(different, pa.ChunkedArray):
        different = different.combine_chunks()
    if name == "records":
        different = pa.array(sorted({word for one in different.to_pylist() for word in names_of(one)}), pa.string())
    if len(different) <= _FEW and different.nbytes <= _SHORT:
        return _ALL + json.dumps(different.to_pylist(), separators=(",", ":"), ensure_ascii=False).encode()
    if name in _PREFIXES:
        more = {_beginning(one, length) for one in different.to_pylist() for length in _PREFIXES[name]}
        different = pa.concat_arrays([different, pa.array(sorted(more), pa.string())])
    return _BLOOM + _bloom(different)


def _fact(name: str, columns: Mapping[str, Any]) -> Any:
    """The values of one of FACTS, from columns of the same rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if name == UNREAD:
        return pa.array([UNREAD] if pc.any(_lacking(columns)).as_py() else [], pa.string())
    if name == "host_device":
        return columns["file_device"].filter(_with_host(columns["host_namespaces"], "mount"))
    nowhere = pc.is_null(columns["container"])
    found = []
    if pc.any(pc.and_(pc.and_(nowhere, pc.is_null(columns["cgroup_path"])), pc.is_valid(columns["cgroup_id"]))).as_py():
        found.append(UNPLACED)
    if "ns_pid" in columns and _apart(pc.and_(nowhere, pc.is_valid(columns["ns_pid"])), columns):
        found.append(APART)
    return pa.array(found, pa.string())


def _lacking(columns: Mapping[str, Any]) -> Any:
    """Whether each of these rows may lack a name: of `connection`, whose names were cut; of `name`, without one, or an answer with
    addresses whose aliases may be cut; of `request`, with a mark and no name."""
    import pyarrow.compute as pc

    if "names_cut" in columns:
        return columns["names_cut"]
    if "addresses" not in columns:
        return pc.and_(pc.and_(pc.is_null(columns["sni"]), pc.is_null(columns["host"])), pc.is_valid(columns["marks"]))
    cut = pc.fill_null(pc.match_substring(columns["marks"].cast("string"), "TRUNCATED"), False)
    given = pc.greater(pc.fill_null(pc.list_value_length(columns["addresses"]), 0), 0)
    return pc.or_(pc.is_null(columns["name"]), pc.and_(cut, given))


def _apart(among: Any, columns: Mapping[str, Any]) -> bool:
    """Whether some of these rows have another pid namespace than the host's, or another mount namespace and a file system from which no
    row of the host's has a program."""
    import pyarrow.compute as pc

    pid, mount = (_with_host(columns["host_namespaces"], kind) for kind in ("pid", "mount"))
    if pc.any(pc.and_(among, pc.invert(pid))).as_py():
        return True
    mounted = pc.and_(among, pc.invert(mount))
    return bool(_devices(mounted, columns) - _devices(mount, columns)) if pc.any(mounted).as_py() else False


def _devices(among: Any, columns: Mapping[str, Any]) -> set[str]:
    """The file systems of rows, each with its boot: another boot numbers them anew."""
    import pyarrow.compute as pc

    both = pc.binary_join_element_wise(columns["boot"].filter(among), columns["file_device"].filter(among), " ")
    return set(pc.unique(both).drop_null().to_pylist())


def _with_host(namespaces: Any, kind: str) -> Any:
    """Whether each of these lists of the host's namespaces, words with spaces between, has one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    words = (namespaces.combine_chunks() if isinstance(namespaces, pa.ChunkedArray) else namespaces).dictionary_encode()
    has = pc.match_substring_regex(words.dictionary, rf"(^| ){kind}( |$)")
    return pc.fill_null(has.take(words.indices), False)


def names_of(record: str) -> list[str]:
    """The name that an answer's record (`NAME TTL TYPE VALUE`) is of, and what it says of it: a name there is as its sender spelled it."""
    return [word.lower().removesuffix(".") for word in record.split(" ")[0:4:3]]


def _beginning(value: str, length: int) -> str:
    return f"\0{length} {value[:length]}"


def _bloom(different: Any) -> bytes:
    import numpy as np
    import pyarrow as pa

    if pa.types.is_integer(different.type):
        hashes = _mixed(different.to_numpy(zero_copy_only=False).astype(np.int64).view(np.uint64))
    else:
        hashes = np.array([_hash(value) for value in different.to_pylist()], dtype=np.uint64)
    bits = -(-len(hashes) * _BITS // 8) * 8
    field = np.zeros(bits, dtype=np.uint8)
    step, at = (hashes >> np.uint64(32)) | np.uint64(1), hashes & np.uint64(0xFFFFFFFF)
    for number in range(_HASHES):
        field[((at + np.uint64(number) * step) % np.uint64(bits)).astype(np.int64)] = 1
    return np.packbits(field, bitorder="little").tobytes()


def _mixed(values: Any) -> Any:
    """As `_mix`, of an array of uint64."""
    import numpy as np

    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _mix(value: int) -> int:
    """SplitMix64's output function (Steele, Lea, Flood, OOPSLA 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def _hash(value: int | str) -> int:
    if isinstance(value, int):
        return _mix(value & _MASK)
    return struct.unpack("<Q", hashlib.blake2b(value.encode(), digest_size=8).digest())[0]  # type: ignore[no-any-return]


# ---- as readers ask them ----


@dataclass(frozen=True)
class SegmentHead:
    """What a segment's head says: the first and the last microsecond by column, with the number of rows that have none, and whether its
    columns are this version's."""

    times: Mapping[str, tuple[int | None, int | None, int]]
    whole: bool

    def within(self, since: datetime, until: datetime) -> bool:
        """Whether all rows happened between two moments."""
        low, high, without = self.times.get("time", (None, None, 1))
        return low is not None and high is not None and not without and _micro(since) <= low and high <= _micro(until)


def head(part: bytes | None, sha256: str, table: str) -> SegmentHead | None:
    """None where nothing is known of a segment."""
    data = opened(part, sha256, HEAD)
    if data is None:
        return None
    try:
        said = json.loads(data)
        times = {name: (low, high, without) for name, (low, high, without) in said["times"].items()}
        return SegmentHead(times, said["layout"] == layout(table))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def columns(condition: Condition) -> set[str]:
    """The columns whose values a condition asks for."""
    if condition.parts:
        return {name for part in condition.parts for name in columns(part)}
    return {condition.column} if condition.sign in ("=", "prefix", "holds") else set()


def may(condition: Condition, known: SegmentHead, values: Mapping[str, bytes | None]) -> bool:
    """Whether a segment can hold a row for which a condition is true. `values`: what is known of each column, by `opened`."""
    sign = condition.sign
    if sign == "and":
        return all(may(part, known, values) for part in condition.parts)
    if sign == "or":
        return any(may(part, known, values) for part in condition.parts)
    if sign == "false":
        return False
    if condition.column in known.times and sign in (">", ">=", "<", "<=", "="):
        return _within(sign, condition.values, *known.times[condition.column][:2])
    data = values.get(condition.column)
    if data is None or sign not in ("=", "prefix", "holds"):
        return True
    return _holds(condition.column, data, condition.values, prefix=sign == "prefix")


def _micro(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _within(sign: str, values: Iterable[Any], low: int | None, high: int | None) -> bool:
    """Times of microseconds; a column without any value fulfils nothing."""
    if low is None or high is None:
        return False
    for value in values:
        if not isinstance(value, datetime) or value.tzinfo is not None:
            return True
        at = _micro(value)
        if (
            (sign == "=" and low <= at <= high)
            or (sign in (">", ">=") and high >= at)
            or (sign in ("<", "<=") and low <= at)
        ):
            return True
    return False


def _holds(column: str, data: bytes, values: Collection[Any], *, prefix: bool) -> bool:
    kind, data = data[:1], data[1:]
    if kind == _ALL:
        try:
            every = json.loads(data)
        except ValueError:
            return True
        return any(_one_of(value, every, prefix=prefix) for value in values)
    if kind != _BLOOM or not data:
        return True
    if prefix:
        values = [_begins(column, value) for value in values]
    kind_of = int if column in _NUMBERS else str
    return any(type(value) is not kind_of or _in_bloom(data, value) for value in values)


def _begins(column: str, value: Any) -> str | None:
    """What a filter has of values that begin so; None: nothing."""
    lengths = [length for length in _PREFIXES.get(column, ()) if isinstance(value, str) and length <= len(value)]
    return _beginning(value, max(lengths)) if lengths else None


def _one_of(value: Any, every: list[Any], *, prefix: bool) -> bool:
    if type(value) not in (int, str) or any(type(one) is not type(value) for one in every):
        return bool(every)
    return any(one.startswith(value) for one in every) if prefix else value in every


def _in_bloom(data: bytes, value: int | str) -> bool:
    found, bits = _hash(value), len(data) * 8
    at, step = found & 0xFFFFFFFF, (found >> 32) | 1
    return all(
        data[place >> 3] >> (place & 7) & 1 for place in ((at + number * step) % bits for number in range(_HASHES))
    )
