"""What a question costs by the reader: whoever asks, and in all, beside the same question without it.

FIRSTHAND_MONTH as in bench_month.py.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from firsthand.reader import place
from tests import readers
from tests.bench import month
from tests.bench.bench_month import SIZES
from tests.bench.machine import machine

pytestmark = pytest.mark.bench
_ROUNDS = 5
_TICK = os.sysconf("SC_CLK_TCK")
#: About one pod, process, name or address.
QUESTIONS = (
    f"process {month.exec_id()}",
    f"tree {month.POD}",
    f"timeline {month.POD}",
    f"processes exe~tool-1 --pod {month.POD}",
    f"connected {month.RARE} --since 2026-03-01T00:00Z",
    "connected 203.3.113.9",
    "pods",
)


def _used(pid: int) -> float:
    """Processor seconds of a process and of its children that have ended (proc_pid_stat(5), fields 14 to 17)."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, words[11:15])) / _TICK


def _asked(history: Path, question: str, environment: Mapping[str, str]) -> tuple[float, str]:
    """Processor seconds of a command, and what it said about who answered."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "firsthand", "ask", *question.split(), "--history", str(history), "--verbose"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stderr


@pytest.mark.parametrize("rows", SIZES)
def test_by_the_reader(rows: int, tmp_path: Path) -> None:
    """In turns with the same question without it; rounds that the reader did not answer in time are left out, and counted."""
    history = month.history(rows)
    print(f"\n{machine()}, load {os.getloadavg()[0]:.1f}, {rows:,} rows")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with readers.serving(history, tmp_path / "reader.sock") as serving:
        print(f"start: {_used(serving.process.pid):.2f} processor seconds, {_own(serving.process.pid)}")
        for question in QUESTIONS:
            without, caller, every, bypassed = [], [], [], 0
            for _ in range(_ROUNDS):
                without.append(_asked(history, question, {**os.environ, place.VARIABLE: place.NONE})[0])
                began = _used(serving.process.pid)
                seconds, told = _asked(history, question, {**os.environ, place.VARIABLE: str(serving.path)})
                serving.wait_for_workers(0)
                if "answered by the reader" in told:
                    caller.append(seconds)
                    every.append(seconds + _used(serving.process.pid) - began)
                else:
                    bypassed += 1
            medians = [statistics.median(one) if one else float("nan") for one in (without, caller, every)]
            said = "without {:.2f}, caller {:.2f}, in all {:.2f}".format(*medians)
            print(f"ask {question}: {said} processor seconds; {bypassed} of {_ROUNDS} bypassed")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > before.ru_utime


def _own(pid: int) -> str:
    """What a process takes of memory by itself."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    sizes = {name: int(value.split()[0]) / 1000 for name, _, value in (line.partition(":") for line in lines[1:])}
    return f"{sizes['Pss']:.0f} MB (PSS), {sizes['Rss']:.0f} MB resident"
