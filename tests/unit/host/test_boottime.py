"""The kernel's own clock, also from inside a time namespace; live in tests/kernel/test_clocks.py."""

from __future__ import annotations

import time

import pytest

from firsthand.host import boottime

_DAY = 86_400 * 1_000_000_000


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("monotonic           0         0\nboottime            0         0\n", 0),
        ("monotonic       86400         0\nboottime        86400         5\n", _DAY + 5),
        ("monotonic          -1         0\nboottime           -2 500000000\n", -1_500_000_000),
        ("1 0 0\n7 3 0\n", 3_000_000_000),
    ],
)
def test_offsets_are_read_as_the_kernel_writes_them(text: str, offset: int) -> None:
    """Seconds and nanoseconds, the latter never negative."""
    assert boottime.parse(text) == offset


@pytest.mark.parametrize("text", ["", "monotonic 1 0\n", "boottime\n", "boottime x y\n"])
def test_what_does_not_tell_is_no_offset(text: str) -> None:
    """Never a guess: a wrong clock would have the kernel side count only."""
    with pytest.raises(ValueError):
        boottime.parse(text)


def test_here_it_is_the_machines() -> None:
    """Outside of any time namespace both are the same clock."""
    assert abs(boottime.now_ns() + boottime.offset_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) < 1_000_000_000
