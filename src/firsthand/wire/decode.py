"""Records to columns: one batch per table, rows in ring order, driven by the layout that the records name.

Everything is vectorised; what is not UTF-8 is shown escaped in its text column and kept as it is in `<name>_bytes`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firsthand.schema.column import TYPES, Column
from firsthand.schema.layout import Field, Layout, Record
from firsthand.schema.lock import columns_of
from firsthand.schema.tables import TABLES
from firsthand.wire import _drain
from firsthand.wire.batch import Batch, Fixed, Lists, Text, Vector, spread, text

Bytes = NDArray[np.uint8]
_ListParts = tuple[
    NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_], int
]
_ABSENT = -1


@dataclass(frozen=True)
class Rows:
    """Records of one table: where each begins in the ring's data, and its kind."""

    data: Bytes
    offsets: NDArray[np.uint32]
    kinds: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.offsets)


@dataclass(frozen=True)
class Place:
    """One field of a table: where it stands by kind (-1: not there), and the same where all kinds agree (else -1)."""

    field: Field
    column: Column
    fields: NDArray[np.int32]
    same: int

    @property
    def everywhere(self) -> bool:
        return self.same != _ABSENT


@dataclass
class Decoder:
    """Columns from records of one layout. `malformed` counts strings that did not lie inside their record."""

    layout: Layout
    allowed_environment: Collection[bytes] = ()
    malformed: int = 0
    _tables: dict[str, list[Place]] = field(default_factory=dict)
    _kinds: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    _words: NDArray[Any] = field(init=False)

    def __post_init__(self) -> None:
        by_table: dict[str, list[Record]] = {}
        for record in self.layout.records.values():
            by_table.setdefault(record.table, []).append(record)
        self._tables = {table: _places(records) for table, records in by_table.items()}
        self._words = np.array([self._word(kind) for kind in range(256)])
        tables = list(by_table)
        numbers = [tables.index(self.layout.records[k].table) if k in self.layout.records else 255 for k in range(256)]
        self._kinds = {"table": np.array(numbers, dtype=np.uint8)}

    def _word(self, kind: int) -> bytes:
        record = self.layout.records.get(kind)
        return record.event.encode() if record else b""

    def split(self, data: Bytes, offsets: NDArray[np.uint32], kinds: NDArray[np.uint8]) -> dict[str, Rows]:
        """Records by table. Kinds that the layout does not know are counted as malformed."""
        numbers = self._kinds["table"][kinds]
        self.malformed += int((numbers == 255).sum())
        found = {}
        for number, table in enumerate(self._tables):
            chosen = numbers == number
            if chosen.all():
                return {table: Rows(data, offsets, kinds)}
            if chosen.any():
                found[table] = Rows(data, offsets[chosen], kinds[chosen])
        return found

    def decode(self, table: str, rows: Rows) -> Batch:
        """All columns that the kernel sends for these rows, `event` among them."""
        batch = Batch(table, len(rows), {"event": coded(rows.kinds, self._words)})
        for place in self._tables[table]:
            batch.columns.update(self._columns(place, rows))
        return batch

    def _columns(self, place: Place, rows: Rows) -> dict[str, Vector]:
        role, _, name = place.field.role.partition(":")
        special: dict[str, Callable[[Place, Rows, str], dict[str, Vector]]] = {
            "list": self._list,
            "environment": self._environment,
            "flags": self._flags,
            "set": self._set,
            "enum": self._enum,
            "device": self._device,
        }
        if role in special:
            return special[role](place, rows, name)
        if place.field.kind in ("text", "char"):
            return self._text(place, rows)
        return {place.field.name: numbers(place, rows)}

    def _text(self, place: Place, rows: Rows) -> dict[str, Vector]:
        size = place.field.size if place.field.kind == "char" else 0
        offsets, data, absent, invalid, malformed = _drain.texts(rows.data, rows.offsets, rows.kinds, place.fields, size)
        self.malformed += malformed
        found = Text(offsets, data, ~absent)
        if not invalid.any():
            return {place.field.name: found}
        return {place.field.name: escape(found, invalid), f"{place.field.name}_bytes": only(found, invalid)}

    def _list(self, place: Place, rows: Rows, _: str) -> dict[str, Vector]:
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

    def _environment(self, place: Place, rows: Rows, _: str) -> dict[str, Vector]:
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

    def _flags(self, place: Place, rows: Rows, enum: str) -> dict[str, Vector]:
        value = numbers(place, rows)
        return {place.field.name: value, f"{place.field.name.removesuffix('s')}_names": self.flag_names(value, enum)}

    def flag_names(self, value: Fixed, enum: str) -> Text:
        """The names of each row's bits, comma separated, null where none is set."""
        return mapped(value, lambda bits: ",".join(_bits(bits, self.layout.enums[enum])))

    def _set(self, place: Place, rows: Rows, enum: str) -> dict[str, Vector]:
        def words(bits: int) -> str:
            return " ".join(_bits(bits, self.layout.enums[enum])).lower()

        return {place.field.name: mapped(numbers(place, rows), words)}

    def _enum(self, place: Place, rows: Rows, enum: str) -> dict[str, Vector]:
        names = {number: name.lower() for name, number in self.layout.enums[enum].items()}
        return {place.field.name: mapped(numbers(place, rows), lambda code: names.get(code, str(code)))}

    def _device(self, place: Place, rows: Rows, _: str) -> dict[str, Vector]:
        return {place.field.name: mapped(numbers(place, rows), lambda dev: f"{dev >> 20}:{dev & 0xFFFFF}")}


def _places(records: list[Record]) -> list[Place]:
    names = {f.name: f for record in records for f in record.fields if columns_of(f)}
    return [_place(f, records) for f in names.values()]


def _place(wanted: Field, records: list[Record]) -> Place:
    column = TABLES[records[0].table].column(columns_of(wanted)[0].name)
    fields = np.full(256, _ABSENT, dtype=np.int32)
    for record in records:
        for found in record.fields:
            if found.name == wanted.name:
                fields[record.kind] = found.offset
    held = {int(fields[record.kind]) for record in records}
    return Place(wanted, column, fields, held.pop() if len(held) == 1 else _ABSENT)


def numbers(place: Place, rows: Rows) -> Fixed:
    """A field's numbers, widened to its column's type, null where the kind lacks it or the value stands for none."""
    dtype = TYPES[place.column.type][0] or "int64"
    values: NDArray[Any] = np.empty(len(rows), dtype=dtype)
    signed = place.field.kind == "int"
    _drain.numbers(rows.data, rows.offsets, rows.kinds, place.fields, place.same, place.field.size, signed, values)
    valid = None if place.everywhere else place.fields[rows.kinds] >= 0
    if place.field.null is not None:
        known = values != place.field.null
        valid = known if valid is None else valid & known
    return Fixed(values, None if valid is None or valid.all() else valid)


def coded(codes: NDArray[np.uint8], words: NDArray[Any]) -> Text:
    """Texts by a small code: words[code], a byte string array."""
    lengths = np.char.str_len(words).astype(np.int32)
    return spread(codes, words, lengths)


def mapped(column: Fixed, name: Callable[[int], str]) -> Text:
    """Texts named by number, each distinct number once; empty names are null."""
    distinct, codes = np.unique(column.values, return_inverse=True)
    words = np.array([name(int(value)).encode() for value in distinct] or [b""])
    lengths = np.char.str_len(words).astype(np.int32)
    found = spread(codes, words, lengths)
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


def _rows_of(items: NDArray[np.bool_], offsets: NDArray[np.int32]) -> NDArray[np.bool_]:
    total = np.concatenate(([0], np.cumsum(items)))
    return np.asarray(total[offsets[1:]] > total[offsets[:-1]])


def _joined(found: Lists, chosen: NDArray[np.bool_]) -> Text:
    rows = [b"\0".join(found.row(i)) if chosen[i] else b"" for i in range(len(found))]
    return text(rows, chosen)
