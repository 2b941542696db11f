"""What all processes of ours cost together under a paced load, idle, and how soon an exec is seen: scoped and unscoped, drained.

Lives come at moments of a Poisson process (tests/kernel/programs/paced.c), so that each commit finds what a busy machine gives it.
Several processes start them, each its part: one alone waits for every exec, and where others compute brings a third of the rate. The rate
that came is told with each figure.
Bursts hide what a look at the ring costs. Unscoped, what else runs on the machine is observed and counted as well.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests import require
from tests.bench.machine import machine
from tests.cgroups import TestCgroup
from tests.kernel import roles
from tests.kernel.observed import Observed, compiled

pytestmark = pytest.mark.bench
ROUNDS, SECONDS = 3, 20
#: Processes that start lives.
STARTERS = 8
#: Seconds after which the keeper has handed over what was left (keeper.EVERY * keeper.LOOKS), and of a measure of idling.
DRAINED, IDLE = 35, 300


@pytest.fixture
def cgroup() -> Iterator[TestCgroup]:
    require.bpf()
    with TestCgroup() as made:
        yield made


@pytest.fixture
def paced(tmp_path: Path) -> Path:
    """The load, static: an exec of it is the cheapest there is."""
    return compiled("paced", tmp_path, "-static", "-lm")


def pause(seconds: float) -> None:
    """A measure takes its time."""
    threading.Event().wait(seconds)


def _ours(observed: Observed) -> dict[str, int]:
    """Role and pid of every process of ours."""
    return {"supervisor": observed.process.pid, **roles.pids(observed.process.pid)}


def user_time(pid: int) -> float:
    """Seconds of user-space processor time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / os.sysconf("SC_CLK_TCK")


def ran(pid: int) -> float:
    """Seconds on a processor, of all threads that live (Documentation/scheduler/sched-stats.rst)."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def pss(pid: int) -> float:
    """MB; what processes share is counted once."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def lives(cgroup: TestCgroup, paced: Path, rate: int, seconds: float) -> tuple[int, float]:
    """How many lives there were, and how many a second came: less than `rate` where the machine does not bring them."""
    began = time.monotonic()
    commands = [[str(paced), str(rate / STARTERS), str(seconds), str(number + 1)] for number in range(STARTERS)]
    children = [cgroup.run(command, stdout=subprocess.PIPE) for command in commands]
    made = sum(int(child.communicate()[0].split()[0]) for child in children)
    return made, made / max(time.monotonic() - began, seconds)


def _ended(supervisor: int) -> tuple[float, float]:
    """User-space seconds, and all, of the children that have ended: of a keeper that rests."""
    fields = Path(f"/proc/{supervisor}/stat").read_text().rpartition(")")[2].split()
    user, system = (int(field) / os.sysconf("SC_CLK_TCK") for field in fields[13:15])
    return user, user + system


#: What each process of ours ran, by role and pid: seconds.
Spent = dict[tuple[str, int], float]


def _spent(observed: Observed) -> tuple[float, Spent]:
    """User-space seconds of all, and seconds on a processor of each; those that have ended together."""
    pids = _ours(observed)
    user, ended = _ended(observed.process.pid)
    return user + sum(map(user_time, pids.values())), {
        ("ended", 0): ended,
        **{one: ran(one[1]) for one in pids.items()},
    }


def _less(after: Spent, before: Spent) -> dict[str, float]:
    """What each role ran meanwhile. One that ended, or began, is counted with those that have ended."""
    found = {one[0]: after[one] - before[one] for one in after if one in before and one[1]}
    return found | {"ended": sum(after.values()) - sum(before.values()) - sum(found.values())}


def round_of(cgroup: TestCgroup, paced: Path, rate: int, observed: Observed) -> tuple[float, dict[str, float], float]:
    """Microseconds a life: user-space time of all, and time on a processor by role; drained, idling included. And the rate that came."""
    user, before = _spent(observed)
    made, came = lives(cgroup, paced, rate, SECONDS)
    pause(DRAINED)
    user_after, ran_after = _spent(observed)
    parts = {role: part / made * 1e6 for role, part in _less(ran_after, before).items()}
    return (user_after - user) / made * 1e6, parts, came


@pytest.mark.parametrize("scoped", [True, False], ids=("scoped", "unscoped"))
@pytest.mark.parametrize("rate", [1000, 5000])
def test_paced_load(cgroup: TestCgroup, paced: Path, tmp_path: Path, rate: int, scoped: bool) -> None:
    """Processor time of a life, all processes together."""
    with Observed(tmp_path / "history", [cgroup.path] if scoped else []) as observed:
        pause(DRAINED)
        rounds = [round_of(cgroup, paced, rate, observed) for _ in range(ROUNDS)]
    user = sorted(one for one, _, _ in rounds)
    parts = {role: statistics.median(ran.get(role, 0.0) for _, ran, _ in rounds) for role in rounds[0][1]}
    came = statistics.median(one for _, _, one in rounds)
    print(
        f"\n{machine()}\n{rate} lives/s for {SECONDS} s ({came:,.0f} came), {'scoped' if scoped else 'unscoped'}, drained: user-space time a life "
        f"{statistics.median(user):.0f} us [{user[0]:.0f}-{user[-1]:.0f}]; on a processor "
        f"{sum(parts.values()):.0f} us ({', '.join(f'{role} {value:.0f}' for role, value in parts.items())}); "
        f"lost {observed.lost():,}"
    )


@pytest.mark.parametrize("scoped", [True, False], ids=("scoped", "unscoped"))
def test_idle(cgroup: TestCgroup, tmp_path: Path, scoped: bool) -> None:
    """Five minutes in which nothing happens in the scope (unscoped: what the machine does), and PSS after them."""
    options = ("--runtime", "containerd:/nonexistent.sock")  # one that is waited for: the follower runs
    with Observed(tmp_path / "history", [cgroup.path] if scoped else [], *options) as observed:
        pause(DRAINED)
        (_, before), began = _spent(observed), time.monotonic()
        pause(IDLE)
        (_, after), passed = _spent(observed), time.monotonic() - began
        parts = {role: part / passed for role, part in _less(after, before).items()}
        memory = {role: pss(pid) for role, pid in _ours(observed).items()}
    print(
        f"\n{machine()}\nidle, {'scoped' if scoped else 'unscoped'}, {passed:.0f} s: {sum(parts.values()):.2%} of a core "
        f"({', '.join(f'{role} {value:.2%}' for role, value in parts.items())}); PSS {sum(memory.values()):.0f} MB "
        f"({', '.join(f'{role} {value:.0f}' for role, value in memory.items())})"
    )


def test_exec_to_visible(cgroup: TestCgroup, paced: Path, tmp_path: Path) -> None:
    """From the exec's own time to its line from `tail`, at 1,000 lives a second. The reader comes before others here (nice -20)."""
    with Observed(tmp_path / "history", [cgroup.path]) as observed:
        command = [sys.executable, "-m", "firsthand", "tail", "--history", str(observed.history), "--output", "jsonl"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as tail:
            Path(f"/proc/{tail.pid}/autogroup").write_text("-20")
            seen: list[tuple[float, bytes]] = []
            assert tail.stdout is not None
            lines = tail.stdout
            reader = threading.Thread(target=lambda: seen.extend((time.time(), line) for line in lines))
            reader.start()
            while not seen:  # until it follows
                lives(cgroup, paced, 1000, 0.1)
            seen.clear()
            lives(cgroup, paced, 1000, SECONDS)
            pause(2)
            tail.terminate()
            reader.join()
    waits = sorted(_waits(seen))
    p50, p99 = (waits[int(len(waits) * part)] * 1000 for part in (0.5, 0.99))
    print(f"\n{machine()}\nexec to visible in `tail`, {len(waits):,} execs: p50 {p50:.0f} ms, p99 {p99:.0f} ms")


def _waits(seen: list[tuple[float, bytes]]) -> Iterator[float]:
    for moment, line in seen:
        row = json.loads(line)
        if row["event"] == "exec":
            yield moment - datetime.fromisoformat(row["time"]).astimezone(UTC).timestamp()
