"""The record's own figures: what a commit costs, how late a row is durable, how long a restart takes, what all of it takes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from firsthand.history.log.log import LogReader, LogWriter, RingSpan
from firsthand.schema.layout import installed
from firsthand.wire.batch import Batch
from firsthand.wire.decode import Decoder
from tests import require
from tests.bench.bench_memory import WANTED, _await, _many, room_for_pids
from tests.bench.bench_wire import SIZE, _lives
from tests.bench.machine import machine
from tests.cgroups import TestCgroup
from tests.kernel import roles
from tests.kernel.observed import Observed, compiled
from tests.kernel.test_torture import Truth
from tests.records import ring

pytestmark = pytest.mark.bench
_ = room_for_pids  # a fixture of that module, in force here as well


def _batch(rows: int) -> Batch:
    from firsthand.wire import _drain

    data, end = ring(_lives(), SIZE)
    decoder = Decoder(installed())
    _, offsets, kinds, _ = _drain.scan(data, 0, end, SIZE, rows, decoder.sizes)
    (found,) = decoder.split(data, offsets, kinds).values()
    return decoder.decode("process", found)


@pytest.mark.parametrize(("rate", "rows"), [(1_000, 250), (50_000, 12_500)])
def test_commit(tmp_path: Path, rate: int, rows: int) -> None:
    """Processor time of encode, checksum, write and fdatasync, for each 1,000 events, at four commits a second."""
    batch = _batch(rows)
    spent = []
    with LogWriter(tmp_path, "node", "boot") as log:
        for number in range(60):
            began = time.process_time()
            log.append([batch], [RingSpan(0, 1, number, number + 1)])
            spent.append((time.process_time() - began) * 1000 / batch.length)
    low, median, high = np.percentile(spent, [5, 50, 95]) * 1000
    print(f"\n{machine()}\ncommit at {rate:,} events/s: {median:.2f} ms for 1,000 events ({low:.2f} to {high:.2f})")


def _lateness(history: Path) -> list[float]:
    """Milliseconds from each process row's time to the moment its chunk was put together."""
    from firsthand.history.log import arrow

    found: list[float] = []
    for chunk in LogReader(history).chunks():
        for name, stream in chunk.streams():
            if name == "process":
                times = arrow.read(stream)["time"].cast("int64").to_numpy()
                found += ((chunk.header.written - times) / 1000).tolist()
    return found


def test_durable(tmp_path: Path) -> None:
    """How late rows are durable, at the default commit."""
    require.bpf()
    with TestCgroup() as cgroup:
        with Observed(tmp_path / "history", [cgroup.path]):
            work = Truth(cgroup, tmp_path, "300")
            work.past(4000)
            work.end()
        late = _lateness(tmp_path / "history")
    p50, p99 = np.percentile(late, [50, 99])
    print(f"\n{machine()}\n{len(late):,} rows: durable after p50 {p50:.0f}, p99 {p99:.0f} ms (fdatasync aside)")


def test_restart(tmp_path: Path) -> None:
    """From the observer's death to the first event that is durable again."""
    require.bpf()
    took = []
    with TestCgroup() as cgroup, Observed(tmp_path / "history", [cgroup.path]) as observed:
        work = Truth(cgroup, tmp_path, "1000")
        for _round in range(8):
            work.past(work.counted()[0] + 100)
            os.kill(roles.pids(observed.process.pid)["observer"], signal.SIGKILL)
            began, before = time.monotonic(), _size(tmp_path / "history")
            while _size(tmp_path / "history") <= before:
                os.sched_yield()
            took.append(time.monotonic() - began)
            time.sleep(11)  # it counts as well again
        work.end()
    low, median, high = np.percentile(took, [0, 50, 100])
    print(f"\n{machine()}\nrestart to first durable event: {median:.2f} s ({low:.2f} to {high:.2f})")


def _size(history: Path) -> int:
    return sum(int(path.stem) << 40 | path.stat().st_size for path in sorted((history / "log").glob("*.log"))[-1:])


def test_everything(tmp_path: Path) -> None:
    """All processes of a node with 65,536 processes known and about 5,000 events a second: PSS and processor time."""
    require.bpf()
    program = tmp_path / "life"
    source = Path(__file__).with_name("programs") / "life.c"
    subprocess.run(["gcc", "-O2", "-static", "-o", str(program), str(source)], check=True)
    compiled("count", tmp_path)
    with (
        TestCgroup() as cgroup,
        Observed(tmp_path / "history", [cgroup.path], "--runtime", str(tmp_path / "none.sock")) as observed,
    ):
        _await(observed, _many(cgroup, program))
        works = [
            Truth(cgroup, tmp_path / str(number), "300") for number in range(3) if not (tmp_path / str(number)).mkdir()
        ]
        pids = {"supervisor": observed.process.pid, **roles.pids(observed.process.pid)}
        began, before, counted = (
            time.monotonic(),
            {r: _spent(p) for r, p in pids.items()},
            sum(w.counted()[0] for w in works),
        )
        time.sleep(40)
        passed = time.monotonic() - began
        events = 3 * (sum(w.counted()[0] for w in works) - counted) / passed
        used = {role: (_spent(pid) - before[role]) / passed for role, pid in pids.items()}
        memory = {role: _pss(pid) for role, pid in pids.items()}
        for work in works:
            work.end()
    print(f"\n{machine()}\n{WANTED:,} processes, {events:,.0f} events/s: PSS {sum(memory.values())} MB {memory}")
    print(f"processor: {sum(used.values()):.1%} of a core { {role: f'{share:.1%}' for role, share in used.items()} }")


def _spent(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pss(pid: int) -> int:
    found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) >> 10
