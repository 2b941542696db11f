"""How long a question waits until the observer has written what happened until then, and what that costs the observer."""

from __future__ import annotations

import os
import random
import statistics
import time
from pathlib import Path

import pytest

from firsthand.history.log import asked
from tests import require
from tests.bench.machine import machine
from tests.cgroups import TestCgroup
from tests.kernel import roles
from tests.kernel.observed import Observed

pytestmark = [pytest.mark.bench, pytest.mark.budget(120, "one observer, some hundred questions")]
TIMES = 300
_TICK = os.sysconf("SC_CLK_TCK")


def _used(pid: int) -> float:
    """Processor seconds of a process (proc_pid_stat(5), fields 14 and 15)."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _TICK


def test_asked_at_once(tmp_path: Path) -> None:
    """Some hundred times at moments of a Poisson process, beside programs that run one after another."""
    require.bpf()
    chance = random.Random(7)
    waits = []
    with TestCgroup() as cgroup, Observed(tmp_path / "history", [cgroup.path]) as observed:
        observer = roles.pids(observed.process.pid)["observer"]
        before = _used(observer)
        for _ in range(TIMES):
            time.sleep(chance.expovariate(4))  # a load, not a wait
            cgroup.run(["/bin/true"]).wait()
            began = time.monotonic()
            found = asked.through(observed.history)
            waits.append(1000 * (time.monotonic() - began))
            assert found is not None
        used = 1000 * (_used(observer) - before) / TIMES
    waits.sort()
    print(f"\n{machine()}, load {os.getloadavg()[0]:.1f}")
    print(
        f"a question waits p50 {statistics.median(waits):.1f} ms, p99 {waits[int(TIMES * 0.99)]:.0f} ms, at most {waits[-1]:.0f} ms"
    )
    print(f"observer: {used:.2f} ms of a processor a question, its other work of that time included")
