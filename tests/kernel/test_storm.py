"""A storm of processes on every processor: the observer gets its share, and each event is recorded or counted as lost.

What starves an observer differs by place: in a terminal the scheduler groups by session, under the unit and in a pod by cgroup.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from firsthand.confine.roles import ROLES
from firsthand.probe import hierarchy
from tests import require
from tests.cgroups import UNIFIED, TestCgroup
from tests.kernel import roles
from tests.kernel.observed import Observed

pytestmark = pytest.mark.budget(60, "40,000 execs, and what records them")
_HERE = Path(__file__).parents[2]
EXECS = 40_000
#: Lives that fill the default ring and more; and those of another cgroup behind them.
FLOOD, FEW = 9_000, 8
#: Each of the two that make the storm: a shell, setsid and the program itself, which ends.
_EXECS_OF_ITS_OWN, _EXITS_OF_ITS_OWN = 3, 1
#: A whole processor in cpu.shares, and systemd's default CPUWeight (systemd.resource-control(5)).
WHOLE, ORDINARY = 1024, 100


@pytest.fixture
def life(tmp_path: Path) -> Path:
    """The cheapest process there is: more of it come in a second than of any other."""
    target = tmp_path / "life"
    source = _HERE / "tests/bench/programs/life.c"
    subprocess.run(["gcc", "-O2", "-static", "-o", str(target), str(source)], check=True)
    return target


@pytest.fixture
def scope() -> Iterator[TestCgroup]:
    """In the observer's hierarchy alone: processors are not shared by it."""
    require.bpf()
    with TestCgroup(hierarchy.choose([]).controller or UNIFIED) as made:
        yield made


def _unit() -> int:
    """cpu.shares as systemd gives them to our unit, where others have the default."""
    unit = (_HERE / "deploy/firsthand.service").read_text()
    found = re.search(r"^CPUWeight=(\d+)$", unit, re.MULTILINE)
    assert found
    return int(found[1]) * WHOLE // ORDINARY


def _pod() -> int:
    """cpu.shares as kubelet gives them to our pod: a thousandth of a processor is WHOLE / 1000."""
    manifest = (_HERE / "deploy/daemonset.yaml").read_text()
    found = re.search(r"requests: \{cpu: (\d+)m", manifest)
    assert found
    return int(found[1]) * WHOLE // 1000


def _weighed(stack: ExitStack, shares: int) -> Path:
    """A cgroup's file of processes, of a cgroup with that weight in the controller cpu."""
    cgroup = stack.enter_context(TestCgroup(require.processor_weights()))
    if (cgroup.path / "cpu.shares").exists():
        (cgroup.path / "cpu.shares").write_text(str(shares))
    else:  # as runc reckons
        (cgroup.path / "cpu.weight").write_text(str(1 + (shares - 2) * 9999 // 262142))
    return cgroup.path / "cgroup.procs"


def _storm(scope: TestCgroup, life: Path, procs: Path | None) -> int:
    """Two programs that spawn as fast as they can, in sessions of their own; how many records that makes."""
    enter = f"echo 0 > {procs}; " if procs else ""
    command = ["sh", "-c", f"{enter}exec setsid {life} spawn {EXECS // 2}"]
    children = [scope.run(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [child.wait() for child in children] == [0, 0]
    return 3 * EXECS + 2 * (_EXECS_OF_ITS_OWN + _EXITS_OF_ITS_OWN)


def _recorded(observed: Observed) -> int:
    """Rows, each once."""
    (found,) = observed.rows("SELECT count(*) AS n, count(DISTINCT (ring, cpu, seq)) AS numbers FROM process")
    assert found["n"] == found["numbers"]
    return int(found["n"])


def _nice(pid: int) -> set[int]:
    """Of all threads of a process."""
    return {os.getpriority(os.PRIO_PROCESS, int(task)) for task in os.listdir(f"/proc/{pid}/task")}


def test_who_records_is_preferred(scope: TestCgroup, history: Path) -> None:
    """Each role runs with the nice value of its row in the wall's table; where the scheduler groups by session, so does the observer's."""
    with Observed(history, [scope.path]) as observed:
        found = roles.pids(observed.process.pid)
        assert {role: _nice(pid) for role, pid in found.items()} == {role: {ROLES[role].nice} for role in found}
        autogroup = Path(f"/proc/{found['observer']}/autogroup")
        if autogroup.exists():
            assert autogroup.read_text().endswith(f"nice {ROLES['observer'].nice}\n")
    assert ROLES["observer"].nice < 0


@pytest.mark.parametrize("place", ["terminal", "unit", "pod"])
@pytest.mark.counts_losses
def test_a_storm_loses_none(scope: TestCgroup, life: Path, history: Path, place: str) -> None:
    """recorded + lost = produced, exactly, where the storm's cgroup has a processor's weight and the observer's the one that is deployed.

    With the default ring nothing is lost but in a pod, whose share is what it requests: how long that lasts others decide, too.
    """
    with ExitStack() as stack:
        ours, theirs = (None, None)
        if place != "terminal":
            ours, theirs = _weighed(stack, _unit() if place == "unit" else _pod()), _weighed(stack, WHOLE)
        observed = Observed(history, [scope.path])
        observed.start()
        if ours:  # not before: what a start takes of a busy machine is not the question
            for pid in (observed.process.pid, *roles.pids(observed.process.pid).values()):
                ours.write_text(str(pid))
        produced = _storm(scope, life, theirs)
        assert observed.stop() == 0, observed.errors
    lost = observed.lost()
    assert _recorded(observed) + lost == produced
    print(f"{place}: {lost:,} of {produced:,} lost")
    assert place == "pod" or lost == 0, f"{lost:,} of {produced:,} records"


@pytest.mark.counts_losses
def test_who_floods_loses_its_own_records_first(scope: TestCgroup, life: Path, history: Path) -> None:
    """While nobody reads, a ring of which a cgroup's storm fills seven eighths has room for others; recorded + lost = produced, and the
    row of the loss says who it was."""
    with TestCgroup(within=scope) as flooding, TestCgroup(within=scope) as quiet:
        observed = Observed(history, [scope.path])
        observed.start()
        reader = roles.pids(observed.process.pid)["observer"]
        os.kill(reader, signal.SIGSTOP)
        child = flooding.run([str(life), "spawn", str(FLOOD)], stdout=subprocess.DEVNULL)
        assert child.wait() == 0
        for _ in range(FEW):
            assert quiet.run([str(life)]).wait() == 0
        os.kill(reader, signal.SIGCONT)
        assert observed.stop() == 0, observed.errors
    lost = observed.lost()
    assert lost > 0, "the ring was never full"
    assert _recorded(observed) + lost == 3 * FLOOD + 2 + 3 * FEW - FEW
    (mine,) = observed.rows(f"SELECT count(*) AS n FROM process WHERE cgroup_path LIKE '%{quiet.name}'")
    assert mine["n"] == 2 * FEW, "what others did is all there"
    details = " ".join(row["detail"] or "" for row in observed.rows("SELECT detail FROM loss"))
    who = rf'of "(?:life|exe)" \(parent {child.pid}\) in "\S*{flooding.name}"'
    found = re.search(rf"held back in a flood: ([\d,]+) {who}", details)
    assert found and 0 < int(found[1].replace(",", "")) <= lost, details
