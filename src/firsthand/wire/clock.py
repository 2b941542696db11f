"""Kernel time to wall time, by samples of both clocks taken together (DESIGN.md, "Types").

`time` is computed once, at the first drain, from the last sample; a new sample is taken each minute and whenever the
two clocks have moved apart by more than a millisecond.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firsthand.host import boottime

PERIOD = 60_000_000_000
TOLERANCE = 1_000_000
#: From here on the wall clock was not drifting but set.
SET = 1_000_000_000


@dataclass(frozen=True)
class Sample:
    """Both clocks at one moment, in nanoseconds; `boottime` as host/boottime.py gives it."""

    realtime: int
    boottime: int

    @property
    def offset(self) -> int:
        return self.realtime - self.boottime


def read_clocks() -> Sample:
    """CLOCK_REALTIME between two readings of the kernel's clock."""
    before = boottime.now_ns()
    realtime = time.clock_gettime_ns(time.CLOCK_REALTIME)
    after = boottime.now_ns()
    return Sample(realtime, (before + after) // 2)


class Clock:
    """The sample in force. `read` is a seam for tests."""

    def __init__(self, read: Callable[[], Sample] = read_clocks) -> None:
        self._read = read
        self.sample = read()

    def now(self) -> int:
        """The wall time of this moment by the sample in force, in microseconds: as an event of this moment would get it."""
        return (self._read().boottime + self.sample.offset) // 1000

    def resample(self) -> bool:
        """Take a new sample where one is due; True where it was."""
        now = self._read()
        aged = now.boottime - self.sample.boottime >= PERIOD
        if not aged and abs(now.offset - self.sample.offset) <= TOLERANCE:
            return False
        self.sample = now
        return True

    def times(self, ktime: NDArray[Any]) -> NDArray[np.int64]:
        """Wall time in microseconds since 1970, UTC, of kernel times in nanoseconds."""
        return np.asarray((ktime + self.sample.offset) // 1000, dtype=np.int64)
