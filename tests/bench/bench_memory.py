"""Resident memory of observer and keeper with 65,536 processes known, made while observing and before."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import require
from tests.bench.bench_load import pss
from tests.bench.machine import machine
from tests.cgroups import TestCgroup
from tests.kernel import roles
from tests.kernel.observed import Observed

pytestmark = pytest.mark.bench
WANTED = 65_536
_PID_MAX = Path("/proc/sys/kernel/pid_max")


@pytest.fixture(autouse=True)
def room_for_pids() -> Iterator[None]:
    """The machine's highest pid, raised while this runs where it is too low."""
    require.bpf()
    before = int(_PID_MAX.read_text())
    _PID_MAX.write_text(str(max(before, 4 * WANTED)))
    yield
    _PID_MAX.write_text(str(before))


@pytest.mark.parametrize("when", ["made while observing", "there before"])
def test_many_processes(tmp_path: Path, when: str) -> None:
    """PSS of all together; VmRSS, VmHWM and PSS of each, in the first two of which the mapped ring counts twice."""
    require.bpf()
    program = tmp_path / "life"
    source = Path(__file__).with_name("programs") / "life.c"
    subprocess.run(["gcc", "-O2", "-static", "-o", str(program), str(source)], check=True)
    with TestCgroup() as cgroup:
        if when == "there before":
            made = _many(cgroup, program)
        with Observed(tmp_path / "history", [cgroup.path]) as observed:
            if when != "there before":
                made = _many(cgroup, program)
            _await(observed, made)
            ours = {"supervisor": observed.process.pid, **roles.pids(observed.process.pid)}
            print(f"\n{made:,} processes {when}: PSS of all {sum(map(pss, ours.values())):.0f} MB")
            for name, pid in ours.items():
                print(f"\n{machine()}\n{made:,} processes {when}: {name} {_memory(pid)}")
        recorded = observed.rows("SELECT count(DISTINCT exec_tgid) AS n FROM process WHERE event IN ('fork', 'seen')")
        print(f"recorded {recorded[0]['n']:,}, lost {observed.lost():,}")


def _many(cgroup: TestCgroup, program: Path) -> int:
    child = cgroup.run([str(program), "many", str(WANTED)], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    assert child.stdout is not None
    return int(child.stdout.readline())


def _await(observed: Observed, made: int) -> None:
    """Until the record holds them all, or counts them as lost."""
    query = "SELECT (SELECT count(*) FROM process WHERE event IN ('fork', 'seen')) + (SELECT coalesce(sum(events), 0) FROM loss) AS n"
    while observed.rows(query)[0]["n"] < made:
        assert observed.process.poll() is None


def _memory(pid: int) -> str:
    status = Path(f"/proc/{pid}/status").read_text()
    found = ", ".join(f"{name} {int(size) >> 10} MB" for name, size in re.findall(r"(VmHWM|VmRSS):\s+(\d+)", status))
    return f"{found}, PSS {pss(pid):.0f} MB"
