"""BTF is read as the kernel's own tool reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from firsthand.errors import SchemaError
from firsthand.schema import btf
from firsthand.schema.layout import objects

_SOURCE = """
enum color { COLOR_RED = 1, COLOR_BLUE = 7 };
typedef unsigned short half;
struct inner { half a; int b; };
struct outer { struct inner first; char name[5]; enum color color; } __attribute__((btf_decl_tag("table:x")));
struct outer *anchor;
"""


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> btf.Btf:
    """The BTF of a small object, compiled for the test."""
    folder = tmp_path_factory.mktemp("btf")
    (folder / "a.c").write_text(_SOURCE)
    command = ["clang", "-target", "bpf", "-g", "-O2", "-c", str(folder / "a.c"), "-o", str(folder / "a.o")]
    subprocess.run(command, check=True)
    return btf.read_object(folder / "a.o")


def test_members_have_their_offsets(types: btf.Btf) -> None:
    """Names and byte offsets are the compiler's."""
    outer = types.named(btf.STRUCT, "outer")
    assert outer is not None
    assert [(name, offset) for name, _, offset in types.members(outer)] == [("first", 0), ("name", 8), ("color", 16)]


def test_typedefs_are_seen_through(types: btf.Btf) -> None:
    """A member's type is what stands behind its typedef."""
    inner = types.named(btf.STRUCT, "inner")
    assert inner is not None
    assert types.resolve(types.members(inner)[0][1]).value == 2


def test_enumerators_and_tags_are_read(types: btf.Btf) -> None:
    """Enumerations by name, declaration tags by struct."""
    outer = types.named(btf.STRUCT, "outer")
    assert outer is not None
    assert types.enumerators("color") == {"COLOR_RED": 1, "COLOR_BLUE": 7}
    assert types.enumerators("nothing") == {}
    assert types.tags[outer.number, -1] == ["table:x"]


def test_what_is_no_object_is_refused(tmp_path: Path) -> None:
    """A file that is no BPF object is named in the error."""
    (tmp_path / "text").write_text("not an object, whatever it is called")
    with pytest.raises(SchemaError, match="not a little-endian ELF-64"):
        btf.read_object(tmp_path / "text")
    with pytest.raises(SchemaError, match="no section"):
        btf.section(objects()[0].read_bytes(), ".absent", "x")
    with pytest.raises(SchemaError, match="magic"):
        btf.parse(bytes(64))
