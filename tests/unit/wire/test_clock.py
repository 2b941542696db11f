"""Kernel time becomes wall time by the last sample, and a step of the wall clock makes a new one."""

from __future__ import annotations

import numpy as np

from firsthand.wire.clock import PERIOD, TOLERANCE, Clock, Sample


def _clock(samples: list[Sample]) -> Clock:
    return Clock(lambda: samples.pop(0))


def test_times_are_exact_microseconds() -> None:
    """time = realtime of the sample + (ktime - boottime of the sample), cut to microseconds."""
    clock = _clock([Sample(1_700_000_000_000_000_000, 5_000_000_000)])
    assert clock.times(np.array([5_000_000_000, 5_000_001_999])).tolist() == [
        1_700_000_000_000_000,
        1_700_000_000_000_001,
    ]


def test_a_sample_lasts_a_minute_unless_the_clock_steps() -> None:
    """Below a millisecond of drift and a minute of age the sample stays in force."""
    start = Sample(10**18, 0)
    kept = Sample(10**18 + TOLERANCE, 0)
    stepped = Sample(10**18 + TOLERANCE + 1, 0)
    clock = _clock([start, kept, stepped, Sample(stepped.realtime + PERIOD, PERIOD)])
    assert [clock.resample() for _ in range(3)] == [False, True, True]


def test_the_real_clocks_are_read_together() -> None:
    """A sample of this machine agrees with the machine to a second."""
    import time

    clock = Clock()
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert abs(int(clock.times(np.array([now]))[0]) - time.time_ns() // 1000) < 1_000_000
