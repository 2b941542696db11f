"""The list of families and protocols in docs/network.md, against the kernel's: none is left out of what is said to be recorded or not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from firsthand.schema.layout import installed
from firsthand.subjects.registry import SUBJECTS

_ROOT = Path(__file__).parents[3]
_DOCS = _ROOT / "docs/network.md"
_PROTOCOLS = Path("/proc/net/protocols")
#: Where the C library lists the families that its kernel headers knew (PF_X and its number).
_HEADERS = sorted(Path("/usr/include").glob("*/bits/socket.h"))


def _listed(column: int) -> set[str]:
    """Words in code font in a column of the list."""
    section = _DOCS.read_text().partition("\n## Sockets of every kind\n")[2].partition("\n## ")[0]
    rows = [line.strip().strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    return {word for row in rows for word in re.findall(r"`([^`]+)`", row[column])}


def _families() -> dict[str, int]:
    """By name, from the C library's header."""
    found = re.findall(r"^#define\s+PF_(\w+)\s+(\d+)", _HEADERS[0].read_text(), re.MULTILINE)
    return {name: int(number) for name, number in found if name not in ("UNSPEC", "MAX")}


def test_every_family_of_the_kernel_is_listed() -> None:
    """Each address family of the headers stands in the list by its name."""
    assert {f"AF_{name}" for name in _families()} <= _listed(0)


def test_every_protocol_of_this_kernel_is_listed() -> None:
    """Each socket implementation that this kernel has registered stands in the list."""
    names = {line.split()[0] for line in _PROTOCOLS.read_text().splitlines()[1:]}
    assert len(names) > 5 and names <= _listed(1)


def test_the_families_of_rows_are_the_kernels() -> None:
    """`family` has the headers' numbers; those that `transport` says are not among them."""
    ours = installed().enums["family"]
    known = _families()
    for name, number in ours.items():
        assert known.get(name, number) == number, name
    said = {"UNIX", "LOCAL", "FILE", "INET", "INET6", "PACKET"}
    assert {name for name, number in known.items() if number not in ours.values()} <= said | {"ROUTE"}


@pytest.mark.parametrize(("page", "spot"), [(one.page, spot) for one in SUBJECTS for spot in one.standing])
def test_what_is_not_recorded_is_documented(page: str, spot: str) -> None:
    """Each standing blind spot is a sentence of its subject's page."""
    assert spot in (_ROOT / page.partition(",")[0]).read_text()
