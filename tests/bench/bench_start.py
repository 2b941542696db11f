"""What a start costs: processor time of all processes from `run` through `ready` to the end, and the time until `ready`.

With FIRSTHAND_BEFORE, the `src` of another build, its starts are measured between these, in turn.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests import require
from tests.bench.machine import machine
from tests.cgroups import TestCgroup

pytestmark = [pytest.mark.bench, pytest.mark.budget(600, "some dozen starts")]
TIMES = 5
_HERE = Path(__file__).parents[2] / "src"


def _start(history: Path, cgroup: TestCgroup, source: Path) -> tuple[float, float, float]:
    """Seconds until `ready`; processor seconds in user space and in the kernel, the supervisor's and all its children's."""
    command = [sys.executable, "-m", "firsthand", "run", "--quiet", "--for", "0s", "--runtime", "none"]
    command += ["--history", str(history), "--instance", f"bench-{uuid.uuid4().hex[:8]}", "--scope", str(cgroup.path)]
    began = time.monotonic()
    run = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd="/", env={**os.environ, "PYTHONPATH": str(source)}
    )
    assert run.stderr is not None
    assert any(line.strip() == "ready" for line in iter(run.stderr.readline, ""))
    ready = time.monotonic() - began
    run.stderr.read()
    _, status, used = os.wait4(run.pid, 0)
    assert status == 0
    return ready, used.ru_utime, used.ru_stime


def _print(name: str, found: Sequence[tuple[float, float, float]]) -> None:
    totals = [user + system for _, user, system in found]
    for what, values in (("processor seconds", totals), ("seconds until ready", [ready for ready, _, _ in found])):
        print(f"{name}: {what} {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})")


def test_start_and_stop(tmp_path: Path) -> None:
    """In turn, so that what else the machine does falls on all alike; the first start of each is not counted."""
    require.bpf()
    trees = {"now": _HERE} | ({"before": Path(told)} if (told := os.environ.get("FIRSTHAND_BEFORE")) else {})
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in trees}
    with TestCgroup() as cgroup:
        for number in range(TIMES + 1):
            for name, source in trees.items():
                measured = _start(tmp_path / f"{name}-{number}", cgroup, source)
                found[name] += [measured] if number else []
    print(f"\n{machine()}, load {os.getloadavg()[0]:.1f}")
    for name, values in found.items():
        _print(name, values)
