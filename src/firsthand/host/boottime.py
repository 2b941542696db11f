"""The kernel's own clock, by which everything in the kernel is dated: CLOCK_BOOTTIME as bpf_ktime_get_boot_ns gives it.

In a time namespace (time_namespaces(7), since Linux 5.6) CLOCK_BOOTTIME is shifted for the processes inside, and the kernel's own is
not: what we read here is put right by the namespace's offset.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

from firsthand.errors import NotSupportedError

_OFFSETS = Path("/proc/self/timens_offsets")


def now_ns() -> int:
    """Nanoseconds since boot, suspend included, as the kernel counts them in the initial time namespace."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - offset_ns()


@cache
def offset_ns() -> int:
    """By how much this process's CLOCK_BOOTTIME is before the kernel's own; 0 outside of any time namespace.

    The file tells the offsets of the namespace that children get (fs/proc/base.c, timens_offsets_show): for who did not call unshare(2)
    itself that is its own. NotSupportedError where it cannot be read.
    """
    try:
        return parse(_OFFSETS.read_text())
    except FileNotFoundError:
        return 0  # a kernel without time namespaces (CONFIG_TIME_NS)
    except (OSError, ValueError) as error:
        raise NotSupportedError(
            f"{_OFFSETS}: expected a line `boottime SECONDS NANOSECONDS`, found {error}; mount a whole /proc"
        ) from error


def parse(text: str) -> int:
    """The offset of CLOCK_BOOTTIME in nanoseconds. ValueError where the text does not tell it."""
    for line in text.splitlines():
        name, *numbers = line.split()
        if name in ("boottime", "7") and len(numbers) == 2:  # the kernel takes the number as well as the name
            return int(numbers[0]) * 1_000_000_000 + int(numbers[1])
    raise ValueError(repr(text))
