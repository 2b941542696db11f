"""What observing costs a process: paired runs with and without the observer, and the programs' own time."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firsthand.probe import handover, hierarchy, load, stats
from firsthand.probe.options import LoadOptions
from firsthand.probe.ring import Ring
from firsthand.schema.layout import installed
from firsthand.settings import Settings
from firsthand.settings.sections.folding import Folding
from firsthand.settings.sections.top import Top
from firsthand.wire import _drain
from tests import require
from tests.bench.machine import machine
from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel import roles
from tests.kernel.observed import Observed

pytestmark = pytest.mark.bench
PAIRS, BLOCK, LIVES, CALLS = 120, 10, 300, 1_000_000
RING = 8 << 20


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workload, static: an exec of it is the cheapest there is, so the ratio is the worst."""
    require.bpf()
    target = tmp_path_factory.mktemp("life") / "life"
    source = Path(__file__).with_name("programs") / "life.c"
    subprocess.run(["gcc", "-O2", "-static", "-o", str(target), str(source)], check=True)
    return target


@pytest.fixture
def cgroup() -> Iterator[TestCgroup]:
    with TestCgroup() as made:
        yield made


def _run(cgroup: TestCgroup, life: Path, what: str, count: int) -> float:
    child = cgroup.run([str(life), what, str(count)], stdout=subprocess.PIPE)
    return float(child.communicate()[0])


def _pairs(cgroup: TestCgroup, life: Path, what: str, count: int, folder: Path) -> list[tuple[float, float]]:
    """(observed, not observed) of each pair; blocks take turns in coming first."""
    pairs: list[tuple[float, float]] = []
    for block in range(PAIRS // BLOCK):
        sides: dict[bool, list[float]] = {}
        for observing in (block % 2 == 0, block % 2 == 1):
            if observing:
                with Observed(folder / str(block), [cgroup.path]):
                    sides[True] = [_run(cgroup, life, what, count) for _ in range(BLOCK)]
            else:
                sides[False] = [_run(cgroup, life, what, count) for _ in range(BLOCK)]
        pairs += list(zip(sides[True], sides[False], strict=True))
    return pairs


def _show(what: str, pairs: list[tuple[float, float]]) -> None:
    logs = [math.log(on / off) for on, off in pairs]
    middle, half = statistics.fmean(logs), 1.96 * statistics.stdev(logs) / math.sqrt(len(logs))
    off = statistics.median(value for _, value in pairs)
    print(
        f"\n{machine()}\n{what}: {math.exp(middle):.4f}x (95%: {math.exp(middle - half):.4f} to "
        f"{math.exp(middle + half):.4f}; {len(pairs)} pairs; unobserved median {off:,.0f} ns)"
    )


def test_spawn_and_exec(cgroup: TestCgroup, life: Path, tmp_path: Path) -> None:
    """posix_spawn, exec, exit and wait."""
    _show("spawn+exec", _pairs(cgroup, life, "spawn", LIVES, tmp_path))


def test_getppid(cgroup: TestCgroup, life: Path, tmp_path: Path) -> None:
    """A system call that nothing hooks."""
    _show("getppid", _pairs(cgroup, life, "call", CALLS, tmp_path))


@pytest.mark.parametrize("fold", [False, True], ids=("", "folding"))
def test_program_time(cgroup: TestCgroup, life: Path, fold: bool) -> None:
    """The kernel's own measure of the attached programs, for each life, beside what a life takes and what it leaves in the ring."""
    options = LoadOptions(
        installed(),
        hierarchy.choose([cgroup.path]),
        [hierarchy.key(cgroup.path)],
        Settings(Top(instance=f"bench-{os.getpid()}"), Folding(processes=fold)),
    )
    loaded = load.bring_in(options)
    try:
        ring = Ring(loaded.maps["ring"], RING)
        list(handover.read_existing(loaded))
        _run(cgroup, life, "spawn", 100)
        for _ in range(5):
            measuring = stats.enable()
            before = {p.name: p for p in stats.programs(loaded)}
            took = _run(cgroup, life, "spawn", 2000)
            after = {p.name: p for p in stats.programs(loaded)}
            stats.disable(measuring)
            left = (_drain.position(ring.producer_page) - ring.consumed) / 2000
            _drain.release(ring.consumer_page, _drain.position(ring.producer_page))
            each = {name: (after[name].run_time - before[name].run_time) / 2000 / 1000 for name in after}
            shown = ", ".join(f"{name} {value:.2f}" for name, value in each.items() if value > 0.01)
            print(
                f"\nprogram time of a life: {sum(each.values()):.2f} us ({shown}); a life: {took / 1000:.0f} us, {left:.0f} bytes of ring"
            )
    finally:
        loaded.close()


def _processor_time(pids: list[int]) -> float:
    """utime and stime of these processes, seconds."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("fold", [False, True], ids=("", "folding"))
def test_processor_time_to_disk(
    cgroup: TestCgroup, life: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fold: bool
) -> None:
    """Observer and keeper for each life at about 1,000 lives a second, and idle; rows and bytes of what they leave."""
    configured(tmp_path, monkeypatch, f"[folding]\nprocesses = {str(fold).lower()}\n")
    with Observed(tmp_path / "history", [cgroup.path]) as observed:
        pids = roles.pids(observed.process.pid)
        pause = threading.Event()
        pause.wait(12)
        before, began = _processor_time(list(pids.values())), time.monotonic()
        pause.wait(20)
        idle = (_processor_time(list(pids.values())) - before) / (time.monotonic() - began)
        before, began, lives = _processor_time(list(pids.values())), time.monotonic(), 0
        while (elapsed := time.monotonic() - began) < 20:
            if lives < elapsed * 1000:
                _run(cgroup, life, "spawn", 100)
                lives += 101
            else:
                pause.wait(0.01)
        pause.wait(11)  # the keeper's turn
        spent = _processor_time(list(pids.values())) - before - 11 * idle
    rows = observed.rows("SELECT count(*) AS n FROM process")[0]["n"]
    bytes_ = sum(path.stat().st_size for path in (tmp_path / "history/current/process").rglob("*.parquet"))
    print(
        f"\n{lives:,} lives: {rows:,} rows, {bytes_:,} bytes of segments as first written"
        f"\nidle: {idle:.2%} of a core; {lives / 20:.0f} lives/s: {spent / lives * 1e6:.1f} us of processor time a life ({pids})"
    )
