"""`firsthand status` beside a real run: who runs, how it goes, and that a death is seen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cgroups import TestCgroup
from tests.kernel import roles
from tests.kernel.observed import Observed


def _status(history: Path, *options: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "firsthand", "status", "--history", str(history), "--json", *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.returncode, json.loads(result.stdout)


def test_processes_are_those_that_hold_the_history(cgroup: TestCgroup, history: Path) -> None:
    """Pids and roles as the kernel shows them; nobody after the end; unhealthy while a role is missing."""
    with Observed(history, [cgroup.path]) as observed:
        code, found = _status(history, "--check")
        told = {one["role"]: one["pid"] for one in found["processes"]}
        children = roles.pids(observed.process.pid)
        while (
            "dissector" not in told
        ):  # which has no way to the history: the supervisor tells of it with its next sign of life
            told = {one["role"]: one["pid"] for one in _status(history)[1]["processes"]}
        assert told == {"supervisor": observed.process.pid} | children
        assert code == 0 and _status(history, "--observing")[0] == 0, found["reasons"]
        assert found["observers"][0]["measures"]["ring_waiting_bytes_limit"] == 8 << 20
        assert found["disk"]["log"] > 0
        keeper = told["keeper"]
        os.kill(keeper, signal.SIGSTOP)  # it holds its lock still
        assert "keeper" in {one["role"] for one in _status(history)[1]["processes"]}
        os.kill(keeper, signal.SIGKILL)
        while (now := roles.pids(observed.process.pid).get("keeper", keeper)) == keeper:
            os.sched_yield()
        while {one["role"]: one["pid"] for one in _status(history)[1]["processes"]}.get("keeper") != now:
            assert observed.process.poll() is None
    code, found = _status(history, "--check")
    assert (code, found["healthy"], found["processes"]) == (1, False, [])
    assert _status(history, "--observing")[0] == 1
    assert "nothing is being observed" in found["reasons"]
