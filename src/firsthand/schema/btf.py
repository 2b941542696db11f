"""Read BTF, the type information of a compiled BPF object, straight from the file.

Source: Documentation/bpf/btf.rst, include/uapi/linux/btf.h (Linux 6.18), ELF-64 as in elf(5).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

from firsthand.errors import SchemaError

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF = 1, 2, 3, 4, 5, 6, 7, 8
VOLATILE, CONST, FUNC, FUNC_PROTO, VAR, DATASEC, DECL_TAG, ENUM64 = 9, 10, 12, 13, 14, 15, 17, 19
#: Bytes that follow a type's 12-byte head: (per type, per member).
_EXTRA = {
    INT: (4, 0),
    ARRAY: (12, 0),
    STRUCT: (0, 12),
    UNION: (0, 12),
    ENUM: (0, 8),
    FUNC_PROTO: (0, 8),
    VAR: (4, 0),
    DATASEC: (0, 12),
    DECL_TAG: (4, 0),
    ENUM64: (0, 12),
}
_TRANSPARENT = (TYPEDEF, VOLATILE, CONST)


@dataclass(frozen=True)
class Type:
    """One BTF type: its kind (a BTF_KIND number), name, `size_or_type` and the bytes behind its head."""

    number: int
    kind: int
    name: str
    vlen: int
    value: int
    extra: bytes


@dataclass
class Btf:
    """All types of one object, and the tags on them: tags[(type number, member index or -1)] in source order."""

    types: list[Type]
    strings: bytes
    tags: dict[tuple[int, int], list[str]] = field(default_factory=dict)

    def string(self, offset: int) -> str:
        """The string at that offset of the string section."""
        return self.strings[offset : self.strings.index(b"\0", offset)].decode()

    def named(self, kind: int, name: str) -> Type | None:
        """The type of that kind and name, or None."""
        return next((t for t in self.types if t.kind == kind and t.name == name), None)

    def resolve(self, number: int) -> Type:
        """The type behind typedefs and qualifiers."""
        found = self.types[number]
        while found.kind in _TRANSPARENT:
            found = self.types[found.value]
        return found

    def members(self, kind: Type) -> list[tuple[str, int, int]]:
        """Members of a struct: (name, type number, offset in bytes)."""
        found = []
        for index in range(kind.vlen):
            name, number, bits = _TYPE.unpack_from(kind.extra, index * 12)
            found.append((self.string(name), number, (bits & 0xFFFFFF) // 8))
        return found

    def enums(self, ending: str) -> list[str]:
        """Names of the enums that are called so, or so behind an underscore."""
        return [t.name for t in self.types if t.kind == ENUM and (t.name == ending or t.name.endswith(f"_{ending}"))]

    def section(self, name: str) -> list[str]:
        """Names of the variables in a section of data; none where it is not there."""
        kind = self.named(DATASEC, name)
        if kind is None:
            return []
        return [self.types[_TYPE.unpack_from(kind.extra, index * 12)[0]].name for index in range(kind.vlen)]

    def enumerators(self, name: str) -> dict[str, int]:
        """Names and values of an enum; empty where it is not there."""
        kind = self.named(ENUM, name)
        if kind is None:
            return {}
        pairs = struct.iter_unpack("<Ii", kind.extra)
        return {self.string(offset): value for offset, value in pairs}


def read_object(path: Path) -> Btf:
    """The BTF of a BPF object file. SchemaError where there is none."""
    return parse(section(path.read_bytes(), ".BTF", str(path)))


def section(elf: bytes, name: str, where: str) -> bytes:
    """The contents of one section of a little-endian ELF-64 file."""
    if elf[:6] != b"\x7fELF\x02\x01":
        raise SchemaError(f"{where}: not a little-endian ELF-64 object; build it again with `make setup`")
    offset, size, count, names = *struct.unpack_from("<Q", elf, 40), *struct.unpack_from("<HHH", elf, 58)
    heads = [struct.unpack_from("<IIQQQQIIQQ", elf, offset + i * size) for i in range(count)]
    table = heads[names]
    for head in heads:
        start = table[4] + head[0]
        if elf[start : elf.index(b"\0", start)].decode() == name:
            return elf[head[4] : head[4] + head[5]]
    raise SchemaError(f"{where}: no section {name}; it must be compiled with -g -target bpf")


def parse(raw: bytes) -> Btf:
    """Types, strings and declaration tags of a raw BTF section."""
    magic, _, _, head, type_off, type_len, str_off, str_len = _HEADER.unpack_from(raw)
    if magic != _MAGIC:
        raise SchemaError(f"BTF magic is {magic:#x}, expected {_MAGIC:#x}: not a BTF section of this byte order")
    strings = raw[head + str_off : head + str_off + str_len]
    btf = Btf([Type(0, 0, "void", 0, 0, b"")], strings)
    at, end = head + type_off, head + type_off + type_len
    while at < end:
        at = _read_type(btf, raw, at)
    return btf


def _words(raw: bytes, at: int) -> tuple[int, int, int]:
    first, second, third = _TYPE.unpack_from(raw, at)
    return int(first), int(second), int(third)


def _read_type(btf: Btf, raw: bytes, at: int) -> int:
    name, info, value = _words(raw, at)
    kind, vlen = (info >> 24) & 0x1F, info & 0xFFFF
    fixed, each = _EXTRA.get(kind, (0, 0))
    size = fixed + each * vlen
    extra = raw[at + 12 : at + 12 + size]
    found = Type(len(btf.types), kind, btf.string(name), vlen, value, extra)
    btf.types.append(found)
    if kind == DECL_TAG:
        (member,) = struct.unpack("<i", extra)
        btf.tags.setdefault((value, member), []).append(found.name)
    return at + 12 + size
