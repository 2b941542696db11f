"""settings/kinds.py: how values are written in the settings file."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthand.settings import kinds
from firsthand.settings.declare import Notation


@pytest.mark.parametrize(
    ("value", "bytes_"),
    [
        (0, 0),
        (20_000_000_000, 20_000_000_000),
        ("20GB", 20 * 10**9),
        (" 1.5 GiB ", 3 << 29),
        ("0.5kB", 500),
        ("7", 7),
        ("1.9", 1),
        ("9007199254740993", 9007199254740993),
        ("1TiB", 1 << 40),
        ((1 << 63) - 1, (1 << 63) - 1),
    ],
)
def test_sizes(value: object, bytes_: int) -> None:
    """A number of bytes, or one with a unit of ten or of two; whole ones exactly."""
    assert kinds.size(value) == bytes_


@pytest.mark.parametrize(
    "value",
    [
        -1,
        1.5,
        True,
        None,
        [],
        "",
        "GB",
        "-1GB",
        "1 gb",
        "1kb",
        "1e9",
        "1,5GB",
        "0x10",
        "1GB GB",
        1 << 63,
        "9223372036854775808",
        "10000000TB",
        "9" * 400 + ".5GB",
    ],
)
def test_what_is_no_size(value: object) -> None:
    """It is refused, however long it is."""
    with pytest.raises(ValueError, match=r"^"):
        kinds.size(value)


@given(size=st.integers(0, 1 << 50))
def test_a_size_is_shown_as_it_can_be_written(size: int) -> None:
    """And read back as the same."""
    assert kinds.SIZE.read(kinds.SIZE.written(size)) == size


def test_a_round_size_has_its_unit() -> None:
    """The largest that divides it; 0 has none."""
    assert [kinds.SIZE.written(size) for size in (0, 1500, 20 * 10**9, 3 * 10**12, 1023)] == [
        0,
        1500,
        "20GB",
        "3TB",
        1023,
    ]


@pytest.mark.parametrize(
    ("notation", "given", "read"),
    [
        (kinds.POWER, 4096, 4096),
        (kinds.POWER, 1 << 30, 1 << 30),
        (kinds.POWER_OR_ZERO, 0, 0),
        (kinds.POWER_OR_ZERO, 8192, 8192),
        (kinds.PATH_OR_NONE, "", ""),
        (kinds.PATH_OR_NONE, "/a b", "/a b"),
        (kinds.RANGES, ["10.0.0.0/8", "fd00::/8"], ("10.0.0.0/8", "fd00::/8")),
        (kinds.RANGES, ["192.0.2.1"], ("192.0.2.1/32",)),
        (kinds.HOSTS, ["10.1.2.3/8", "::1"], ("10.0.0.0/8", "::1/128")),
        (kinds.SOCKETS, ["/run/x.sock", "docker:/run/docker.sock"], ("/run/x.sock", "docker:/run/docker.sock")),
        (kinds.paths("/x"), [], ()),
        (kinds.paths("/x"), ["/a", "/b/"], ("/a", "/b/")),
    ],
)
def test_what_is_taken(notation: Notation, given: Any, read: Any) -> None:
    """In the form that the program has it."""
    assert notation.read(given) == read


@pytest.mark.parametrize(
    ("notation", "given"),
    [
        (kinds.POWER, 4095), (kinds.POWER, 2048), (kinds.POWER, 12288), (kinds.POWER, 0), (kinds.POWER, True), (kinds.POWER, "4096"),
        (kinds.POWER_OR_ZERO, False), (kinds.POWER_OR_ZERO, 1), (kinds.POWER_OR_ZERO, -4096), (kinds.POWER_OR_ZERO, None),
        (kinds.PATH_OR_NONE, "relative"), (kinds.PATH_OR_NONE, None), (kinds.PATH_OR_NONE, ["/a"]),
        (kinds.RANGES, ["10.0.0.1/8"]), (kinds.RANGES, ["10.0.0.0/33"]), (kinds.RANGES, "10.0.0.0/8"), (kinds.RANGES, [10]),
        (kinds.HOSTS, ["example.com"]), (kinds.HOSTS, [""]),
        (kinds.SOCKETS, ["run/x.sock"]), (kinds.SOCKETS, ["podmann:/x"]), (kinds.SOCKETS, ["docker:x"]), (kinds.SOCKETS, [""]),
        (kinds.paths("/x"), ["a"]), (kinds.paths("/x"), "/a"), (kinds.paths("/x"), ["/a", 1]),
    ],
)  # fmt: skip
def test_what_is_refused(notation: Notation, given: Any) -> None:
    """Each by a ValueError, of which the settings make a message with the key."""
    with pytest.raises(ValueError, match=r"^"):
        notation.read(given)
