"""The rings' sizes."""

from __future__ import annotations

import pytest

from firsthand.settings.sections.top import Top, ring_bytes


@pytest.mark.parametrize(
    ("processors", "gibibytes", "mebibytes"),
    [(1, 1, 8), (2, 24, 8), (4, 16, 16), (6, 16, 16), (8, 8, 16), (16, 64, 64), (128, 512, 64)],
)
def test_the_ring_is_sized_by_the_machine(processors: int, gibibytes: int, mebibytes: int) -> None:
    """Law: a power of two that grows with processors, within a share of memory, and within bounds."""
    assert ring_bytes(processors, gibibytes << 30) == mebibytes << 20


def test_a_size_that_is_given_is_taken() -> None:
    """0 leaves it to the machine."""
    assert Top(ring_bytes=4096).rings == {"ring": 4096, "urgent": 1 << 20}
    assert Top().rings["ring"] >= 8 << 20
