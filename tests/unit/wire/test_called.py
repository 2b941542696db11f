"""Programs' names in rows, held against the regular expression that says the same."""

from __future__ import annotations

import random
import re

import pytest

from firsthand.wire._called import Names
from firsthand.wire.commands import _ENDS

#: Beginnings, ends and middles of each other, with every byte that a name may have.
_NAMES = (b"ab", b"b", b"a.b", b"b-c", b"c+", b"ab-b", b"x_1", b"b.exe", b"c.exe", b"c")
_PIECES = (
    *(
        b"a",
        b"b",
        b"c",
        b"x",
        b"_",
        b"1",
        b".",
        b"-",
        b"+",
        b"/",
        b"\\",
        b" ",
        b"\0",
        b"\t",
        b"\v",
        b"\f",
        b"\r",
        b"\n",
    ),
    *(
        b'"',
        b"'",
        b";",
        b"|",
        b"&",
        b")",
        b"`",
        b"(",
        b"$",
        b"=",
        b"A",
        b"B",
        b"\xe9",
        b"\xff",
        b".exe",
        b".EXE",
        b"ab",
        b"b-c",
    ),
)
#: Python's \b knows Latin-1 letters, RE2's does not, and \s has no \v here.
_REFERENCE = re.compile(
    rb"(?m)(?<![A-Za-z0-9_])(?=[A-Za-z0-9_])(?:"
    + b"|".join(map(re.escape, sorted(_NAMES, key=lambda name: (-len(name), name))))
    + rb")(?:\.exe)?(?:(?=\n)|[\0\t\f\r \"';|&)`])",
    re.IGNORECASE,
)


def _expected(buffer: bytes) -> dict[bytes, list[tuple[int, int]]]:
    found: dict[bytes, list[tuple[int, int]]] = {}
    for match in _REFERENCE.finditer(buffer):
        row = buffer.rfind(b"\n", 0, match.start()), buffer.find(b"\n", match.start())
        rows = found.setdefault(match.group().rstrip(_ENDS).lower().removesuffix(b".exe"), [])
        rows += [row] if row not in rows else []
    return found


@pytest.mark.parametrize("seed", range(4))
def test_names_are_found_as_the_expression_finds_them(seed: int) -> None:
    """Random rows of pieces of names and of all that may stand around them."""
    names, pieces, hits = Names(_NAMES, _ENDS), random.Random(seed), 0
    for _ in range(2_000):
        buffer = b"\n" + b"".join(pieces.choices(_PIECES, k=40)) + b"\n"
        found = names.find(buffer)
        assert found == _expected(buffer), buffer
        hits += len(found)
    assert hits > 2_000


def test_the_same_name_twice_in_a_row_is_one_row() -> None:
    """And a row is told once for each name that it holds."""
    assert Names(_NAMES, _ENDS).find(b"\nb\0B.exe;b\nx\nab b\n") == {b"b": [(0, 10), (12, 17)], b"ab": [(12, 17)]}


def test_no_names_are_nowhere() -> None:
    """Nor are names in nothing."""
    assert Names([], _ENDS).find(b"\nab\n") == {} and Names(_NAMES, _ENDS).find(b"") == {}
