"""What keeping costs by rate: processor time of first writings and merges, how often a row is written, memory, bytes on disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from firsthand.history.log.log import LogWriter
from tests import samples
from tests.bench.lives import lives

pytestmark = pytest.mark.bench

ROOT = Path(__file__).parents[2]
#: A keeper in a process of its own: all passes of 5 s each, then all merges, then the day's close.
KEEP = """
import json, sys, time
from pathlib import Path
from firsthand.history.store import manifest
from firsthand.history.keep.keeper import Keeper
directory, rows, now = Path(sys.argv[1]), int(sys.argv[2]), [float(sys.argv[3])]

def peak():
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return int(line.split()[1]) / 1024

keeper = Keeper(directory, linger=0, max_rows=rows, now=lambda: now[0])
base, began = peak(), time.process_time()
came = keeper.pass_once(last=True)
passed, first = time.process_time() - began, peak()
files = len(keeper.manifest.snapshot().segments)
began = time.process_time()
keeper.tidy()
merged, most, again = time.process_time() - began, peak(), keeper.written_again
open_files = len(keeper.manifest.snapshot().segments)
now[0] += 2 * 86400
keeper.tidy()
held = keeper.manifest.snapshot().segments
close, closed = time.process_time() - began - merged, peak()
keeper.close()
print(json.dumps({"came": came, "passed": passed, "merged": merged, "close": close, "written": (came + again) / came,
    "with_close": (came + keeper.written_again) / came, "files": [files, open_files, len(held)], "bytes": sum(one.bytes for one in held) / came,
    "memory": [base, first, most, closed]}))
"""


@pytest.mark.parametrize(("rate", "number"), [(5_000, 450_000), (20_000, 450_000)])
def test_keeping_at_a_rate(tmp_path: Path, rate: int, number: int) -> None:
    """At 5,000 rows of `process` a second at most 15% of a core, at 20,000 it keeps up, and at most 30 bytes a row."""
    with LogWriter(tmp_path, "node-1", "b") as writer:
        for batch in lives(number):
            writer.append([batch], [])
    command = [sys.executable, "-c", KEEP, str(tmp_path), str(rate * 5), str(samples.START / 1e6 + 7200)]
    found = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    seconds = found["came"] / rate
    share = (found["passed"] + found["merged"]) / seconds
    base, first, most, closed = found["memory"]
    print(
        f"\nlevels: {rate:,} rows/s: {share:.1%} of a core ({found['passed'] / seconds:.1%} first writing, {found['merged'] / seconds:.1%}"
        f" merges), {found['close'] / seconds:.1%} at the close; {found['came']:,} rows written {found['written']:.2f} times,"
        f" {found['with_close']:.2f} with the close; files {found['files']}; {found['bytes']:.1f} bytes a row; resident at most {first:.0f} MB"
        f" in passes, {most:.0f} in merges, {closed:.0f} at the close, {base:.0f} before"
    )
    assert found["written"] <= 6 and found["bytes"] <= 30
    assert share <= (0.15 if rate == 5_000 else 1.0)
