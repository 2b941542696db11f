"""A peer under the same load: bpftrace (Debian) prints forks, execs and exits of the test's cgroup, in turn with an observer of ours.

It keeps and evaluates nothing: what it costs is about the least for having each event in user space, one by one, as text. auditd would
observe the machine; what execsnoop (bcc) attaches to needs kprobes.
"""

from __future__ import annotations

import re
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import require
from tests.bench.bench_load import DRAINED, SECONDS, lives, pause, ran, round_of, user_time
from tests.bench.machine import machine
from tests.cgroups import UNIFIED, TestCgroup
from tests.kernel.observed import Observed, compiled

pytestmark = pytest.mark.bench
ROUNDS = 3
#: By bpftrace(8); what it prints stands for a row of ours.
_PROGRAM = """
BEGIN { printf("begun\\n"); }
tracepoint:sched:sched_process_fork /cgroup == HERE/ { printf("%lld fork %d %d\\n", nsecs, pid, args->child_pid); }
tracepoint:sched:sched_process_exec /cgroup == HERE/ { printf("%lld exec %d %d %s %s\\n", nsecs, pid, uid, comm, str(args->filename)); }
tracepoint:sched:sched_process_exit /cgroup == HERE && pid == tid/ { printf("%lld exit %d %s\\n", nsecs, pid, comm); }
"""


@contextmanager
def _peer(cgroup: TestCgroup, printed: Path) -> Iterator[subprocess.Popen[str]]:
    """bpftrace, from its first line on; ended as Ctrl-C does."""
    text = _PROGRAM.replace("HERE", f'cgroupid("{cgroup.path}")')
    with printed.open("w") as to:
        process = subprocess.Popen(["bpftrace", "-q", "-e", text], stdout=to, stderr=subprocess.PIPE, text=True)
        try:
            while "begun" not in printed.read_text():
                assert process.poll() is None, process.communicate()[1]
                pause(0.1)
            yield process
        finally:
            process.send_signal(2)
            process.wait()


def _of_peer(cgroup: TestCgroup, paced: Path, rate: int, printed: Path) -> tuple[float, float, int]:
    """Microseconds a life in user space and on a processor, and the events that it lost by its own count."""
    with _peer(cgroup, printed) as process:
        user, on = user_time(process.pid), ran(process.pid)
        made, _ = lives(cgroup, paced, rate, SECONDS)
        pause(2)
        used = ((user_time(process.pid) - user) / made * 1e6, (ran(process.pid) - on) / made * 1e6)
        process.send_signal(2)
        assert process.stderr is not None
        lost = sum(map(int, re.findall(r"Lost (\d+) events", process.stderr.read())))
    return *used, lost


@pytest.mark.parametrize("rate", [1000, 5000])
def test_beside_a_peer(paced: Path, tmp_path: Path, rate: int) -> None:
    """Processor time of a life, of all processes of each, in turn."""
    require.bpf()
    require.programs("bench", "bpftrace")
    with TestCgroup(UNIFIED) as cgroup:
        ours, peers, lost = list[tuple[float, float]](), list[tuple[float, float]](), 0
        for number in range(ROUNDS):
            with Observed(tmp_path / f"history-{number}", [cgroup.path]) as observed:
                pause(DRAINED)
                user, parts, _ = round_of(cgroup, paced, rate, observed)
                ours.append((user, sum(parts.values())))
            *used, gone = _of_peer(cgroup, paced, rate, tmp_path / f"printed-{number}")
            peers.append((used[0], used[1]))
            lost += gone
    print(
        f"\n{machine()}\n{rate} lives/s for {SECONDS} s in a cgroup, {ROUNDS} rounds in turn, us a life, user space; on a processor:"
    )
    for name, rounds in (("firsthand", ours), ("bpftrace", peers)):
        said = [
            f"{statistics.median(part):.0f} [{min(part):.0f}-{max(part):.0f}]" for part in zip(*rounds, strict=True)
        ]
        print(f"{name}: {'; '.join(said)}" + (f"; lost {lost:,} events" if name == "bpftrace" else ""))


@pytest.fixture
def paced(tmp_path: Path) -> Path:
    """The load of bench_load."""
    return compiled("paced", tmp_path, "-static", "-lm")
