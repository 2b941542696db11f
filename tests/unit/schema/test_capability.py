"""schema/capability.py: capabilities by number, as this kernel has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthand.errors import UsageError
from firsthand.schema.capability import NAMES, bits, names


def test_the_kernel_has_no_other() -> None:
    """Each of this kernel's capabilities has a name here: its last one's number is below their count."""
    assert int(Path("/proc/sys/kernel/cap_last_cap").read_text()) < len(NAMES) == len(set(NAMES))
    assert (NAMES.index("net_admin"), NAMES.index("sys_admin"), NAMES.index("bpf")) == (12, 21, 39)


@given(found=st.sets(st.sampled_from(NAMES)))
def test_names_and_bits_are_the_same(found: set[str]) -> None:
    """In either case, with or without the prefix; the names in the order of their bits."""
    for words in (found, {f"CAP_{name.upper()}" for name in found}, {f"cap_{name}" for name in found}):
        assert names(bits(words)) == sorted(found, key=NAMES.index)


@given(value=st.integers(0, 2**64 - 1))
def test_a_bit_without_a_name_is_shown(value: int) -> None:
    """As its number: a later kernel's capability is not left out."""
    found = names(value)
    assert len(found) == value.bit_count()
    assert [one for one in found if one.startswith("cap_")] == [
        f"cap_{bit}" for bit in range(len(NAMES), 64) if value >> bit & 1
    ]


@pytest.mark.parametrize("name", ["", "cap_", "sysadmin", "cap_41", "sys_admin "])
def test_a_name_that_is_none(name: str) -> None:
    """It is refused by itself, among others too."""
    with pytest.raises(UsageError, match="is no capability"):
        bits(["chown", name])


def test_no_names_are_no_bits() -> None:
    """And the other way round."""
    assert (bits([]), names(0)) == (0, [])
