"""`firsthand run` gets ready however little of the processor it gets: it is judged by what it does, not by how long it takes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from firsthand.observe import canaries
from firsthand.probe.spec import HOOKS, wanted
from firsthand.settings import Settings
from tests import require
from tests.cgroups import TestCgroup
from tests.kernel.observed import Observed

#: Processes that compute all the time beside a start.
BUSY = 24
#: Microseconds of processor time that a start gets in each of 100,000: it takes longer than a minute.
LITTLE, PERIOD = 3_500, 100_000


@pytest.fixture
def poor() -> Iterator[TestCgroup]:
    """Where the start runs, apart from what is observed."""
    require.bpf()
    with TestCgroup() as made:
        yield made


def _bound(cgroup: TestCgroup, microseconds: int | None) -> None:
    """How much of a processor its processes get in each PERIOD; None: all."""
    quotas = [folder / "cpu.cfs_quota_us" for folder in cgroup.folders]
    most = [folder / "cpu.max" for folder in cgroup.folders]
    require.processor_bounds(*quotas, *most)
    for file in filter(Path.exists, quotas):
        (file.parent / "cpu.cfs_period_us").write_text(str(PERIOD))
        file.write_text(str(microseconds or -1))
    for file in filter(Path.exists, most):
        file.write_text(f"{microseconds or 'max'} {PERIOD}")


def _proven(observed: Observed) -> None:
    """Every hook that a canary can prove was proven when `ready` was said, and nothing was lost."""
    row = observed.rows("SELECT hooks FROM observer WHERE event = 'ready'")[0]
    hooks: dict[str, str] = json.loads(row["hooks"])
    provable = {hook.name for hook in wanted(HOOKS, Settings())} & set(canaries.HOOKS)
    assert {name: hooks[name].partition(":")[0] for name in provable} == dict.fromkeys(provable, "present")
    assert observed.rows("SELECT * FROM loss") == []


@pytest.mark.landing("a start that hardly gets a processor")
def test_ready_where_the_processor_is_hardly_to_be_had(cgroup: TestCgroup, poor: TestCgroup, history: Path) -> None:
    """A start that takes minutes, for it waits for its share: every hook attached, every canary seen, then `ready`."""
    _bound(poor, LITTLE)
    observed = Observed(history, [cgroup.path])
    observed.popen = poor.run
    observed.start()
    _bound(poor, None)
    cgroup.run(["/bin/true"]).wait()
    assert observed.stop() == 0
    _proven(observed)


@pytest.mark.budget(240, "24 processes compute beside the start, for as long as it takes")
def test_ready_beside_many_that_compute(cgroup: TestCgroup, poor: TestCgroup, history: Path) -> None:
    """Two dozen processes are runnable all the time, in the same cgroup."""
    busy = [poor.run([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(BUSY)]
    observed = Observed(history, [cgroup.path])
    observed.popen = poor.run
    observed.start()
    assert all(one.poll() is None for one in busy)
    for one in busy:
        one.kill()
        one.wait()
    cgroup.run(["/bin/true"]).wait()
    assert observed.stop() == 0
    _proven(observed)
