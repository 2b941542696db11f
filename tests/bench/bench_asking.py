"""What a question costs: on a small history, imports included, and after 30 days of observing against one."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import firsthand
from firsthand.ask.registry import QUESTIONS
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogWriter
from firsthand.wire.batch import Batch
from tests import samples
from tests.bench.machine import machine
from tests.golden import before

pytestmark = pytest.mark.bench
HOUR, QUARTER = 3_600_000_000, 900_000_000
#: As much as a real row says of itself, which is what made a month of them dear.
MEASURES = {f"measure_{number}": number * 1.5 for number in range(90)}
#: What 30 days may cost, as a part of what one day does.
MOST = 1.10
ABOUT = ("pods {hour}", "pods", "processes {hour}", "processes exe=/bin/none", "connected example.org")


def _observing(directory: Path, days: int) -> Path:
    """A history of an observer that ran for so many days, by the product's own writer and keeper, and of processes in the last hour."""
    now, step = samples.START, 10_000_000
    keeper = Keeper(directory, linger=0, now=lambda: now / 1e6)
    with LogWriter(directory, samples.NODE, samples.BOOT) as log:
        log.append([samples.observed(now, now, last="alive", measures=json.dumps(MEASURES))], [])
        for part in range(96 * days):
            rows = [_alive(at) for at in range(now + step, now + QUARTER + 1, step)]
            log.append([Batch.from_rows("observer", rows)], [])
            now += QUARTER
            keeper.pass_once(last=True)
            if part % 96 == 95:
                keeper.tidy()
        log.append([samples.process_lives(300, start=now - HOUR)], [])
        keeper.pass_once(last=True)
        log.append([Batch.from_rows("observer", [_alive(now) | {"event": "stop"}])], [])
    keeper.close()
    return directory


def _alive(at: int) -> dict[str, object]:
    ktime = samples.KTIME + (at - samples.START) * 1000
    return samples.observer("alive", at, ktime=ktime, measures=json.dumps(MEASURES | _proven(at)))


def _proven(at: int) -> dict[str, float]:
    """A round of canaries each minute."""
    seconds = (at - samples.START) / 1e6
    return {"monotonic": seconds, "proven_monotonic": seconds // 60 * 60, "canary_seconds": 60}


#: A small process that runs commands by turns and prints what each used: a child's peak begins with its parent's.
_RUN = """
import json, os, subprocess, sys
times, commands = int(sys.argv[1]), json.loads(sys.argv[2])
used = [[] for _ in commands]
for _ in range(times):
    for command, mine in zip(commands, used):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0
        mine.append((usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024))
print(json.dumps(used))
"""


def _costs(asked: list[tuple[Path, str]], times: int = 9) -> list[tuple[float, float]]:
    """Processor seconds (the median) and peak megabytes of each question to a history, a process of its own, all by turns."""
    commands = [
        [sys.executable, "-m", "firsthand", "ask", *question.split(), "--history", str(history)]
        for history, question in asked
    ]
    return costs(commands, times)


def costs(commands: list[list[str]], times: int) -> list[tuple[float, float]]:
    """The same of any commands."""
    run = [sys.executable, "-c", _RUN, str(times), json.dumps(commands)]
    used = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    return [(statistics.median(seconds for seconds, _ in mine), max(peak for _, peak in mine)) for mine in used]


#: What a question that takes an argument is asked.
_ARGUMENTS = {
    "process": "{process}",
    "timeline": "web-6d4f8c-x2abc",
    "connected": "known-bad.actorz.com",
    "address": "10.1.0.7",
}


def test_small(tmp_path: Path) -> None:
    """Every question on an attack among ordinary traffic (tests/golden), some hundred rows of it in segments, the others in the log; and
    where FIRSTHAND_BEFORE is the `src` of a build before, the same by that one, in turns."""
    written = before.made(tmp_path / "history", before.scene(traffic=60))
    sources = [str(Path(firsthand.__file__).parents[1]), *filter(None, [os.environ.get("FIRSTHAND_BEFORE")])]
    held = json.loads(_ask(written, "processes", "--json"))["rows"]
    print(f"\n{machine()}, load {os.getloadavg()[0]:.1f}")
    for name in QUESTIONS:
        question = f"{name} {_ARGUMENTS.get(name, '')}".format(process=held[0]["exec_id"]).split()
        told = ["-m", "firsthand", "ask", *question, "--history", str(written)]
        commands = [
            ["env", f"PYTHONPATH={source}", "FIRSTHAND_READER=none", sys.executable, *told] for source in sources
        ]
        said = [f"{seconds:.3f} processor seconds, {peak:.0f} MB" for seconds, peak in costs(commands, 7)]
        print(f"ask {' '.join(question)}: {'; before: '.join(said)}")


def _ask(history: Path, *words: str) -> str:
    command = [sys.executable, "-m", "firsthand", "ask", *words, "--history", str(history)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_observing_for_a_month(tmp_path: Path) -> None:
    """Law: after 30 days of `alive` rows a question costs at most a tenth more than after one day, in time and in memory."""
    places = {days: _observing(tmp_path / str(days), days) for days in (1, 30)}
    print(f"\n{machine()}")
    ratios = {}
    for question in ABOUT:
        asked = []
        for days, at in places.items():
            end = samples.START + 24 * days * HOUR
            asked.append((at, question.format(hour=f"--since {_iso(end - HOUR)} --until {_iso(end)}")))
        (day, day_peak), (month, month_peak) = _costs(asked)
        print(
            f"ask {question.format(hour='of the last hour')}: 1 day {day:.3f} processor seconds, {day_peak:.0f} MB; "
            f"30 days {month:.3f}, {month_peak:.0f} MB"
        )
        ratios[question] = (month / day, month_peak / day_peak)
    assert all(ratio <= MOST for both in ratios.values() for ratio in both), ratios


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1e6, UTC).isoformat().replace("+00:00", "Z")
