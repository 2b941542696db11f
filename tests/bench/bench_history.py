"""Figures of the history, in CPU time: the disk's own speed is left out."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from firsthand.history.keep.keeper import Keeper
from firsthand.history.keep.scrub import CORE, Scrub
from firsthand.history.log.log import LogWriter, RingSpan
from firsthand.history.store import manifest
from firsthand.history.store.connection import History
from tests import histories, samples

pytestmark = pytest.mark.bench


def cpu(action: Callable[[], object], times: int) -> float:
    """CPU seconds of one run, user and kernel, over several."""
    begun = time.process_time()
    for _ in range(times):
        action()
    return (time.process_time() - begun) / times


@pytest.mark.parametrize("lives", [84, 3_334, 10_900])
def test_log(tmp_path: Path, lives: int) -> None:
    """Batch to durable log: at least 500,000 rows a second and core in batches of 10,000; 2 ms for one of 250 rows."""
    batch = samples.process_lives(lives)
    times = max(4, 200_000 // batch.length // 3)
    with LogWriter(tmp_path, "n", "b") as writer:
        writer.append([batch], [])
        one = cpu(lambda: writer.append([batch], [RingSpan(0, 1, 0, 1)]), times)
    print(
        f"\nlog: {batch.length} rows of {len(batch.columns)} columns: {one * 1e3:.2f} ms, {batch.length / one:,.0f}/s"
    )
    assert one < 0.004 or batch.length / one > 500_000


def test_keeper(tmp_path: Path) -> None:
    """Log to Parquet segments."""
    with LogWriter(tmp_path, "n", "b") as writer:
        for i in range(60):
            writer.append([samples.process_lives(3_334, first=i * 3_334)], [])
    keeper = Keeper(tmp_path, linger=0)
    one = cpu(keeper.pass_once, 1)
    keeper.close()
    found = manifest.load(tmp_path).segments
    rows, size = sum(s.rows for s in found), sum(s.bytes for s in found)
    print(f"\nkeeper: {rows / one:,.0f} rows/s; {size / rows:.1f} bytes a row in Parquet (synthetic rows)")


def test_memory() -> None:
    """What importing the log's writer costs the observer."""
    read = "print([l for l in open('/proc/self/status') if l.startswith('VmRSS')][0].split()[1])"
    for module in ("sys", "numpy", "firsthand.history.log.log", "firsthand.history.store.connection"):
        out = subprocess.run(
            [sys.executable, "-c", f"import {module}; {read}"], check=True, capture_output=True, text=True
        )
        print(f"\nmemory after import {module}: {int(out.stdout) / 1024:.0f} MiB", end="")


def test_questions(tmp_path: Path) -> None:
    """A connection, and a count over segments and tail."""
    with LogWriter(tmp_path, "n", "b") as writer:
        for i in range(30):
            writer.append([samples.process_lives(3_334, first=i * 3_334)], [])
        histories.keep(tmp_path, linger=0, last=False)
        writer.append([samples.process_lives(3_334, first=100_020)], [])
    history = History(tmp_path)
    print(f"\nconnection: {cpu(lambda: history.connection().close(), 5) * 1e3:.0f} ms")
    connection = history.connection()
    sql = "SELECT namespace, pod, count(*) FROM process WHERE event = 'exec' GROUP BY ALL"
    print(f"group over 310,000 rows: {cpu(lambda: connection.execute(sql).fetchall(), 5) * 1e3:.0f} ms")


def test_scrub(tmp_path: Path) -> None:
    """All of the history read again: the part of a processor that 20 GB in 7 days take."""
    with LogWriter(tmp_path, "n", "b") as writer:
        for i in range(240):
            writer.append([samples.process_lives(3_334, first=i * 3_334)], [])
    keeper = Keeper(tmp_path, linger=0)
    keeper.pass_once(last=True)
    moments = iter(range(60, 1 << 40, 60))
    scrub = Scrub(tmp_path, keeper.manifest, 1e-6, time.time, lambda: next(moments))
    begun = time.process_time()
    while scrub.progress.finished == 0:
        scrub.step()
    used, read = time.process_time() - begun, keeper.manifest.bytes()
    scrub.close()
    keeper.close()
    part = used / read * 20e9 / (7 * 86_400)
    print(
        f"\nscrub: {read / used / 1e6:,.0f} MB a processor second; 20 GB in 7 days take {100 * part:.3f}% of a processor"
    )
    assert part < CORE
