"""The real observer on Debian's kernels, while clock_settime(2) sets the machine's wall clock ahead and back."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests import require
from tests.vm import chosen, kernels
from tests.vm.clock import STEPS
from tests.vm.initramfs import build
from tests.vm.machine import boot

_HOUR = 3600 * 1_000_000


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(one.series, marks=pytest.mark.xdist_group(" ".join(one)))
        for one in chosen.boots()
        if one.work == chosen.CLOCK
    ],
)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the guest's log holds, by table."""
    require.qemu()
    kernel = kernels.kernel(request.param)
    require.kernels(kernel is not None, f"Debian's cloud kernel {request.param} cannot be fetched")
    assert kernel is not None
    return boot(kernel, build(tmp_path_factory.mktemp("initramfs")), "v2", "clock").clock


def test_each_row_has_the_wall_time_of_its_moment(told: dict[str, Any]) -> None:
    """Before, two hours ahead, three hours back: by the sample that was in force, and nothing is lost meanwhile."""
    execs = {row["args"][1]: row for row in told["process"] if row["event"] == "exec"}
    assert list(execs) == list(STEPS)
    apart = [row["time"] - row["ktime"] // 1000 for row in execs.values()]
    assert abs(apart[1] - apart[0] - 2 * _HOUR) < 10_000_000
    assert abs(apart[2] - apart[1] + 3 * _HOUR) < 10_000_000
    assert told["loss"] == []


def test_each_step_is_a_sample(told: dict[str, Any]) -> None:
    """The table `clock` says when the clock was another, so that any time can be traced to the kernel's own."""
    offsets = [(row["realtime"] - row["boottime"]) // 1000 for row in told["clock"]]
    steps = [round((after - before) / _HOUR) for before, after in itertools.pairwise(offsets)]
    assert [step for step in steps if step] == [2, -3]


def test_the_observer_tells_both_sides_of_a_step(told: dict[str, Any]) -> None:
    """A sign of life by the old time and one by the new: what was observed has exact borders."""
    rows = sorted(told["observer"], key=lambda row: row["ktime"])
    jumps = [
        (before["event"], after["event"], round((after["time"] - before["time"]) / _HOUR))
        for before, after in itertools.pairwise(rows)
        if abs(after["time"] - before["time"]) > _HOUR // 2
    ]
    assert jumps == [("alive", "alive", 2), ("alive", "alive", -3)]
