"""Record layouts: what the kernel side sends, read from the BTF of the objects that are loaded (law 1)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from firsthand.errors import SchemaError
from firsthand.schema import btf as _btf
from firsthand.schema.btf import Btf, Type

#: The object of what is attached (kernel/include/spine.h): its maps are each program's own.
SPINE = "spine.bpf.o"
#: The layout of the installed objects, which the build writes beside them (kernel/build.py).
KEPT = "layout.json"
#: How the enums of records' kinds are named: so, or with a subject's name before.
_KINDS = "record_kind"


@dataclass(frozen=True)
class Field:
    """One member of a record. `kind` is uint, int, char (a fixed array) or text (offset and length of a string)."""

    name: str
    kind: str
    offset: int
    size: int
    doc: str = ""
    unit: str = ""
    role: str = ""
    null: int | None = None


@dataclass(frozen=True)
class Record:
    """One kind of record: its number, the table and the `event` word of its rows, and its fixed part."""

    kind: int
    table: str
    event: str
    struct: str
    size: int
    fields: tuple[Field, ...]


@dataclass
class Layout:
    """All records of the loaded objects. `hash` is a SHA-256 over names, offsets, types, roles and enumerations.

    `maps`: the maps that the objects share, with those that have them (NAME of NAME.bpf.o); `failures`: by subject what its map
    SUBJECT_failures counts, words in small letters by place. Neither is of its text. `text` and `hash` are made once: whoever asks for
    them has added every record.
    """

    records: dict[int, Record] = field(default_factory=dict)
    enums: dict[str, dict[str, int]] = field(default_factory=dict)
    maps: dict[str, set[str]] = field(default_factory=dict)
    failures: dict[str, dict[str, int]] = field(default_factory=dict)

    @cached_property
    def text(self) -> str:
        """The canonical text that is hashed and saved under history/schema."""
        return json.dumps(self._raw(), sort_keys=True, indent=1)

    def _raw(self) -> dict[str, Any]:
        return {"records": [asdict(record) for _, record in sorted(self.records.items())], "enums": self.enums}

    @property
    def kept(self) -> str:
        """All of it, as the build keeps it beside the objects: enumerators in their order."""
        maps = {name: sorted(objects) for name, objects in self.maps.items()}
        return json.dumps({**self._raw(), "maps": maps, "failures": self.failures})

    @cached_property
    def hash(self) -> str:
        """64 hexadecimal digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def number(self) -> int:
        """The layout id in each record (__u32): the hash's first four bytes."""
        return int(self.hash[:8], 16)


def parse(text: str) -> Layout:
    """The layout whose `text` was saved. SchemaError where it is none."""
    try:
        return _parsed(json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        raise SchemaError(f"not a record layout ({error}): restore schema/ from a backup of the history") from error


def _parsed(raw: dict[str, Any]) -> Layout:
    found = Layout(enums=raw["enums"])
    for record in raw["records"]:
        fields = tuple(Field(**one) for one in record.pop("fields"))
        found.records[record["kind"]] = Record(fields=fields, **record)
    return found


def objects() -> list[Path]:
    """The compiled BPF objects of this installation. SchemaError where they were not built."""
    folder = Path(__file__).parents[1] / "probe" / "objects"
    found = sorted(folder.glob("*.bpf.o"))
    if not found:
        raise SchemaError(f"{folder}: no BPF objects; run `make setup` or install the wheel again")
    return found


@cache
def installed() -> Layout:
    """The layout of the installed objects: as the build kept it; else, or where that cannot be read, from the objects."""
    paths = objects()
    try:
        raw = json.loads((paths[0].parent / KEPT).read_text())
        found = _parsed(raw)
        found.maps = {name: set(having) for name, having in raw["maps"].items()}
        found.failures = raw["failures"]
    except (OSError, ValueError, KeyError, TypeError):
        return read(paths)
    return found


def read(paths: Sequence[Path]) -> Layout:
    """The layout of several objects; SchemaError where two describe one struct differently."""
    layout = Layout()
    for path in paths:
        btf = _btf.read_object(path)
        if path.name != SPINE:
            for name in btf.section(".maps"):
                layout.maps.setdefault(name, set()).add(path.name.partition(".")[0])
            layout.failures |= _failures(btf)
        for kind in btf.types:
            if kind.kind == _btf.STRUCT and any(t.startswith("table:") for t in btf.tags.get((kind.number, -1), ())):
                _add(layout, btf, kind, str(path))
    return layout


@cache
def enumerators(name: str) -> Mapping[str, int]:
    """An enum of the kernel side (kernel/include/maps.h), without its name's prefix; read once, for it is asked for each second."""
    found = _btf.read_object(objects()[0]).enumerators(name)
    return MappingProxyType({key.removeprefix(f"{name.upper()}_"): value for key, value in found.items()})


def _add(layout: Layout, btf: Btf, kind: Type, where: str) -> None:
    tags = btf.tags[(kind.number, -1)]
    table = next(tag.removeprefix("table:") for tag in tags if tag.startswith("table:"))
    fields = tuple(_fields(btf, kind, 0))
    numbers = {key: value for one in btf.enums(_KINDS) for key, value in btf.enumerators(one).items()}
    for tag in tags:
        if not tag.startswith("record:"):
            continue
        _, enumerator, event = tag.split(":")
        if enumerator not in numbers:
            raise SchemaError(f"{where}: {kind.name} is tagged {tag}, which no enum {_KINDS} or NAME_{_KINDS} holds")
        record = Record(numbers[enumerator], table, event, kind.name, kind.value, fields)
        other = layout.records.setdefault(record.kind, record)
        if (other.table, other.event) != (table, event):
            raise SchemaError(
                f"{where}: kind {record.kind} is {table} {event} and {other.table} {other.event}: choose another"
            )
        if other != record:
            raise SchemaError(f"{where}: {kind.name} differs from another object's; build all objects together")
    for found in fields:
        if ":" in found.role:
            name = found.role.partition(":")[2]
            layout.enums[name] = _shortened(name, btf.enumerators(name))


def _failures(btf: Btf) -> dict[str, dict[str, int]]:
    """What subjects count that failed, by subject: `enum SUBJECT_failure`."""
    found = {}
    for name in btf.enums("failure"):
        subject = name.removesuffix("failure").rstrip("_")
        if subject:
            words = _shortened(subject, btf.enumerators(name))
            found[subject] = {word.lower(): place for word, place in words.items()}
    return found


def _shortened(name: str, values: dict[str, int]) -> dict[str, int]:
    """Enumerators without the enum's first word: PROCESS_SETUID of process_flag is SETUID."""
    prefix = name.split("_")[0].upper() + "_"
    return {key.removeprefix(prefix): value for key, value in values.items()}


def _fields(btf: Btf, kind: Type, base: int) -> list[Field]:
    found: list[Field] = []
    for index, (name, number, offset) in enumerate(btf.members(kind)):
        member = btf.resolve(number)
        if member.kind == _btf.STRUCT and member.name != "text":
            found += _fields(btf, member, base + offset)
        elif name != "pad":
            found.append(_field(name, member, btf, base + offset, btf.tags.get((kind.number, index), [])))
    return found


def _field(name: str, member: Type, btf: Btf, offset: int, tags: list[str]) -> Field:
    words = dict(tag.split(":", 1) for tag in tags)
    null = int(words["null"]) if "null" in words else None
    kind, size = _kind(member, btf, name)
    return Field(name, kind, offset, size, words.get("doc", ""), words.get("unit", ""), words.get("role", ""), null)


def _kind(member: Type, btf: Btf, name: str) -> tuple[str, int]:
    if member.kind == _btf.STRUCT:
        return "text", member.value
    if member.kind == _btf.ARRAY:
        return "char", int.from_bytes(member.extra[8:12], "little")
    if member.kind == _btf.INT:
        signed = (int.from_bytes(member.extra, "little") >> 24) & 1
        return ("int" if signed else "uint"), member.value
    raise SchemaError(f"member {name}: a BTF type of kind {member.kind} cannot be a column")
