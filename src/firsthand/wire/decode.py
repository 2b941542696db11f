"""Records to columns: one batch per table, rows in ring order, driven by the layout that the records name.

Everything is vectorised; what is not UTF-8 is shown escaped in its text column and kept as it is in `<name>_bytes`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv6Address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firsthand.errors import WireError
from firsthand.schema.layout import Field, Layout, Record
from firsthand.schema.lock import columns_of
from firsthand.schema.tables import TABLES
from firsthand.subjects.column import TYPES, Column, Table
from firsthand.subjects.columns import COMMON
from firsthand.wire import _drain
from firsthand.wire.batch import Batch, Fixed, Lists, Text, Vector, distinct, spread, text, worded

Bytes = NDArray[np.uint8]
_ListParts = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_], int]
_ABSENT = -1
#: Roles whose numbers become words.
_WORDED = frozenset(("flags", "set", "enum", "device"))


@dataclass(frozen=True)
class RingRecords:
    """Records of one table: where each begins in the ring's data, and its kind."""

    data: Bytes
    offsets: NDArray[np.uint32]
    kinds: NDArray[np.uint8]
    _carrying: dict[bytes, NDArray[np.bool_] | None] = field(default_factory=dict)

    def carrying(self, place: Place) -> NDArray[np.bool_] | None:
        """Which records are of a kind that has a field, None where all are; asked once for all fields of the same kinds."""
        if place.kinds not in self._carrying:
            found = np.frombuffer(place.kinds, dtype=bool)[self.kinds]
            self._carrying[place.kinds] = None if found.all() else found
        return self._carrying[place.kinds]

    def __len__(self) -> int:
        return len(self.offsets)


@dataclass(frozen=True)
class Place:
    """One field of a table: where it stands by kind (-1: not there), and the same where all kinds agree (else -1)."""

    field: Field
    column: Column
    fields: NDArray[np.int32]
    same: int

    @cached_property
    def kinds(self) -> bytes:
        """A byte for each kind: 1 where it has the field."""
        return (self.fields >= 0).tobytes()

    @cached_property
    def everywhere(self) -> bool:
        return self.same != _ABSENT

    @cached_property
    def role(self) -> str:
        return self.field.role.partition(":")[0]

    @cached_property
    def name(self) -> str:
        return self.field.name

    @cached_property
    def plain(self) -> bool:
        """Whether its numbers stand for themselves, and none of them for null."""
        return self.everywhere and self.field.null is None and self.role not in _WORDED

    @cached_property
    def role_argument(self) -> str:
        return self.field.role.partition(":")[2]

    @cached_property
    def dtype(self) -> str:
        """Of the column's values; codes that become words are int64 meanwhile."""
        return TYPES[self.column.type][0] or "int64"

    @cached_property
    def code(self) -> int:
        """How _drain.numbers is to read and widen it."""
        field = self.field
        return 100 * field.size + (10 if field.kind == "int" else 0) + np.dtype(self.dtype).itemsize


class DecodePlan:
    """The places of one table, by the way they are read, as the arrays that _drain wants."""

    def __init__(self, places: list[Place]) -> None:
        self.lists = [p for p in places if p.role in ("list", "environment")]
        self.addresses = [p for p in places if p.role == "address"]
        apart = (*self.lists, *self.addresses)
        self.texts = [p for p in places if p.field.kind in ("text", "char") and p not in apart]
        self.numbers = [p for p in places if p.field.kind in ("uint", "int")]
        self.number_fields = _stacked(self.numbers)
        self.number_same = np.array([p.same for p in self.numbers], dtype=np.int32)
        self.number_codes = np.array([p.code for p in self.numbers], dtype=np.int32)
        self._dtypes = [np.dtype(p.dtype) for p in self.numbers]
        self._widths_before = np.cumsum([0, *(kind.itemsize for kind in self._dtypes)])
        self.text_fields = _stacked(self.texts)
        self.text_sizes = np.array([0 if p.field.kind == "text" else p.field.size for p in self.texts], dtype=np.int32)
        strange = sorted({p.field.name for p in self.numbers if p.code not in _drain.CODES})
        if strange:
            raise WireError(f"the drain cannot read {', '.join(strange)}: add their sizes to wire/_drain.pyx")

    def columns(self, rows: int) -> tuple[list[NDArray[Any]], NDArray[np.uint64]]:
        """Room for each number's column in one piece of memory, and where each begins."""
        begins = self._widths_before * -(-rows // 8) * 8
        whole = np.empty(int(begins[-1]), dtype=np.uint8)
        arrays = [
            whole[begin : begin + rows * kind.itemsize].view(kind)
            for begin, kind in zip(begins.tolist(), self._dtypes, strict=False)
        ]
        return arrays, (begins[:-1] + whole.ctypes.data).astype(np.uint64)


def _stacked(places: list[Place]) -> NDArray[np.int32]:
    return np.stack([place.fields for place in places]) if places else np.zeros((0, 256), dtype=np.int32)


@dataclass
class Decoder:
    """Columns from records of one layout. `malformed` counts strings that did not lie inside their record."""

    layout: Layout
    allowed_environment: Collection[bytes] = ()
    malformed: int = 0
    _tables: dict[str, DecodePlan] = field(default_factory=dict)
    _kinds: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    _words: NDArray[Any] = field(init=False)
    _lengths: NDArray[np.int32] = field(init=False)

    def __post_init__(self) -> None:
        by_table: dict[str, list[Record]] = {}
        for record in self.layout.records.values():
            by_table.setdefault(record.table, []).append(record)
        self._tables = {table: DecodePlan(_places(records)) for table, records in by_table.items()}
        words = [self._word(kind) for kind in range(256)]
        self._words, self._lengths = np.array(words), np.array([len(word) for word in words], dtype=np.int32)
        tables = list(by_table)
        numbers = [tables.index(self.layout.records[k].table) if k in self.layout.records else 255 for k in range(256)]
        self._kinds = {"table": np.array(numbers, dtype=np.uint8)}

    def _word(self, kind: int) -> bytes:
        record = self.layout.records.get(kind)
        return record.event.encode() if record else b""

    @property
    def sizes(self) -> NDArray[np.uint32]:
        """The fixed part of each kind in bytes, for scan(); 0 for kinds that the layout does not know."""
        known = self.layout.records
        return np.array([known[kind].size if kind in known else 0 for kind in range(256)], dtype=np.uint32)

    def split(self, data: Bytes, offsets: NDArray[np.uint32], kinds: NDArray[np.uint8]) -> dict[str, RingRecords]:
        """Records by table. Kinds that the layout does not know are counted as malformed."""
        numbers = self._kinds["table"][kinds]
        self.malformed += int((numbers == 255).sum())
        found = {}
        for number, table in enumerate(self._tables):
            chosen = numbers == number
            if chosen.all():
                return {table: RingRecords(data, offsets, kinds)}
            if chosen.any():
                found[table] = RingRecords(data, offsets[chosen], kinds[chosen])
        return found

    def decode(self, table: str, rows: RingRecords) -> Batch:
        """All columns that the kernel sends for these rows, `event` among them."""
        batch = Batch(table, len(rows), {"event": spread(rows.kinds, self._words, self._lengths)})
        plan = self._tables[table]
        batch.columns.update(self._numbers(plan, rows))
        batch.columns.update(self._texts(plan, rows))
        for place in plan.addresses:
            batch.columns[place.field.name] = _addresses(place, rows)
        for place in plan.lists:
            named = self._environment if place.role == "environment" else self._list
            batch.columns.update(named(place, rows))
        return batch

    def _numbers(self, plan: DecodePlan, rows: RingRecords) -> dict[str, Vector]:
        arrays, outs = plan.columns(len(rows))
        _drain.numbers(
            rows.data, rows.offsets, rows.kinds, plan.number_fields, plan.number_same, plan.number_codes, outs
        )
        found: dict[str, Vector] = {}
        for place, values in zip(plan.numbers, arrays, strict=True):
            if place.plain:
                found[place.name] = Fixed(values)
            elif place.role not in _WORDED:
                found[place.name] = Fixed(values, _known(place, rows, values))
            else:
                found.update(self._meaning(place, Fixed(values, _known(place, rows, values))))
        return found

    def _meaning(self, place: Place, column: Fixed) -> dict[str, Vector]:
        """A number as it is, or as the words that its role gives it."""
        name, enum = place.field.name, place.role_argument
        if place.role == "flags":
            return {name: column, f"{name.removesuffix('s')}_names": self.flag_names(column, enum)}
        if place.role == "set":
            return {name: mapped(column, lambda bits: " ".join(_bits(bits, self.layout.enums[enum])).lower())}
        if place.role == "enum":
            names = {number: word.lower() for word, number in self.layout.enums[enum].items()}
            return {name: mapped(column, lambda code: names.get(code, str(code)))}
        if place.role == "device":
            return {name: mapped(column, lambda dev: f"{dev >> 20}:{dev & 0xFFFFF}")}
        return {name: column}

    def flag_names(self, value: Fixed, enum: str) -> Text:
        """The names of each row's bits, comma separated, null where none is set."""
        return mapped(value, lambda bits: ",".join(_bits(bits, self.layout.enums[enum])))

    def _texts(self, plan: DecodePlan, rows: RingRecords) -> dict[str, Vector]:
        offsets, data, absent, invalid, malformed = _drain.texts(
            rows.data, rows.offsets, rows.kinds, plan.text_fields, plan.text_sizes
        )
        self.malformed += malformed
        found: dict[str, Vector] = {}
        some_absent, some_invalid = (np.logical_or.reduce(marks, axis=1) for marks in (absent, invalid))
        for i, place in enumerate(plan.texts):
            name, column = place.name, Text(offsets[i], data[i], ~absent[i] if some_absent[i] else None)
            found[name] = column
            if some_invalid[i] and place.role != "bytes":
                found[name], found[f"{name}_bytes"] = escape(column, invalid[i]), only(column, invalid[i])
        return found

    def _list(self, place: Place, rows: RingRecords) -> dict[str, Vector]:
        parts = _drain.lists(rows.data, rows.offsets, rows.kinds, place.fields)
        found, invalid = self._listed(parts)
        if not invalid.any():
            return {place.field.name: found}
        bad = _rows_of(invalid, found.offsets)
        whole = _joined(found, bad)
        items = escape(found.items, invalid)
        return {place.field.name: Lists(found.offsets, items, found.valid), f"{place.field.name}_bytes": whole}

    def _listed(self, parts: _ListParts) -> tuple[Lists, NDArray[np.bool_]]:
        offsets, item_offsets, data, absent, invalid, malformed = parts
        self.malformed += malformed
        return Lists(offsets, Text(item_offsets, data), ~absent), invalid

    def _environment(self, place: Place, rows: RingRecords) -> dict[str, Vector]:
        names, invalid = self._listed(_drain.environments(rows.data, rows.offsets, rows.kinds, place.fields))
        if invalid.any():
            names.items = escape(names.items, invalid)
        found: dict[str, Vector] = {f"{place.field.name}_names": names}
        if self.allowed_environment:
            parts = _drain.allowed_environments(
                rows.data, rows.offsets, rows.kinds, place.fields, self.allowed_environment
            )
            values, bad = self._listed(parts)
            values.items = escape(values.items, bad)
            found[f"{place.field.name}_values"] = values
        return found


def _places(records: list[Record]) -> list[Place]:
    names = {f.name: f for record in records for f in record.fields if columns_of(f)}
    known = _table(records[0].table).names  # a newer version's record may have more
    return [_place(f, records) for f in names.values() if columns_of(f)[0].name in known]


def _table(name: str) -> Table:
    """A table; of one that another version has, the columns that every table has."""
    return TABLES.get(name) or Table(name, "", COMMON)


def _place(wanted: Field, records: list[Record]) -> Place:
    column = _table(records[0].table).column(columns_of(wanted)[0].name)
    fields = np.full(256, _ABSENT, dtype=np.int32)
    for record in records:
        for found in record.fields:
            if found.name == wanted.name:
                fields[record.kind] = found.offset
    held = {int(fields[record.kind]) for record in records}
    return Place(wanted, column, fields, held.pop() if len(held) == 1 else _ABSENT)


def _known(place: Place, rows: RingRecords, values: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Null where the kind lacks the field or the value stands for none."""
    valid = None if place.everywhere else rows.carrying(place)
    if valid is None and place.field.null is None:
        return None
    if place.field.null is None:
        return valid
    known = values != place.field.null
    valid = known if valid is None else valid & known
    return None if valid.all() else valid


def mapped(column: Fixed, name: Callable[[int], str]) -> Text:
    """Texts named by number, each distinct number once; empty names are null."""
    codes, found_values = distinct(column.values)
    return _mapped(column, codes, *worded([name(value).encode() for value in found_values] or [b""]))


def _mapped(column: Fixed, codes: NDArray[Any], words: NDArray[Any], lengths: NDArray[np.int32]) -> Text:
    found = spread(codes, words, lengths)
    if lengths.all():
        found.valid = column.valid
        return found
    named = lengths[codes] > 0
    valid = named if column.valid is None else named & column.valid
    found.valid = None if valid.all() else valid
    return found


def _bits(value: int, names: Mapping[str, int]) -> list[str]:
    return [name for name, bit in names.items() if value & bit]


def only(column: Text, chosen: NDArray[np.bool_]) -> Text:
    """The chosen rows' bytes as they are, null elsewhere."""
    rows = [column.row(i) if chosen[i] else b"" for i in range(len(column))]
    return text(rows, chosen.copy())


def escape(column: Text, invalid: NDArray[np.bool_]) -> Text:
    """Rows that are not UTF-8 with their stray bytes written as \\xNN; the others as they are."""
    if not invalid.any():
        return column
    rows = [column.row(i) for i in range(len(column))]
    shown = [r.decode("utf-8", "backslashreplace").encode() if invalid[i] else r for i, r in enumerate(rows)]
    return text(shown, column.valid)


def _addresses(place: Place, rows: RingRecords) -> Text:
    """Addresses as text, each distinct one named once; null where a record has none (all bits set)."""
    at = place.fields[rows.kinds].astype(np.int64)
    has = at >= 0
    begins = rows.offsets.astype(np.int64) + np.where(has, at, 0)
    raw = np.ascontiguousarray(rows.data[begins[:, None] + np.arange(16)])
    found, codes = np.unique(raw.view("V16")[:, 0], return_inverse=True)
    words = [_address(word.tobytes()) for word in found]
    lengths = np.array([len(word) for word in words], dtype=np.int32)
    column = spread(codes.astype(np.int32), np.array(words), lengths)
    known = has & (lengths[codes] > 0)
    column.valid = None if known.all() else known
    return column


def _address(raw: bytes) -> bytes:
    """RFC 5952 text of 16 bytes; IPv4-mapped ones as IPv4; empty for none."""
    if raw == b"\xff" * 16:
        return b""
    address = IPv6Address(raw)
    return str(address.ipv4_mapped or address).encode()


def _rows_of(items: NDArray[np.bool_], offsets: NDArray[np.int32]) -> NDArray[np.bool_]:
    total = np.concatenate(([0], np.cumsum(items)))
    return np.asarray(total[offsets[1:]] > total[offsets[:-1]])


def _joined(found: Lists, chosen: NDArray[np.bool_]) -> Text:
    rows = [b"\0".join(found.row(i)) if chosen[i] else b"" for i in range(len(found))]
    return text(rows, chosen)
