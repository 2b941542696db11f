"""Processor seconds are counted wherever they are used."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import require
from tests.cgroups import TestCgroup
from tests.processor import Meter, used

_SECONDS = 0.3
_BURN = f"import time\nwhile time.process_time() < {_SECONDS}: pass\n"
#: Its child leaves it, and is nobody's that waits; the end of both is the end of their output.
_LEAVE = f"import os\nif os.fork(): os._exit(0)\nos.setsid()\n{_BURN}"


@pytest.fixture
def meter() -> Iterator[Meter]:
    """One of the test's own, in a cgroup."""
    require.root()
    made = Meter()
    made.begin()
    yield made
    made.end()


def _run(script: str) -> None:
    """Until it and all that it started have closed their output."""
    process = subprocess.Popen([sys.executable, "-S", "-c", script], stdout=subprocess.PIPE)
    process.communicate()


def test_a_process_that_left_counts(meter: Meter) -> None:
    """Law: what a daemon uses counts, though nobody waits for it; and what this process uses."""
    assert meter.own is not None
    before = meter.seconds()
    _run(_LEAVE)
    assert meter.seconds() - before >= _SECONDS
    between = meter.seconds()
    sum(range(5_000_000))
    assert meter.seconds() > between


def test_a_cgroup_elsewhere_counts(meter: Meter) -> None:
    """Law: what is used in a test's own cgroup counts, while it is there and when it is gone, once."""
    before = meter.seconds()
    with TestCgroup() as cgroup:
        meter.add(cgroup.folders)
        cgroup.run([sys.executable, "-S", "-c", _BURN]).wait()
        within = meter.seconds() - before
        meter.remove(cgroup.folders)
    assert within >= _SECONDS
    assert within <= meter.seconds() - before < 2 * within + _SECONDS


def test_it_leaves_nothing(meter: Meter) -> None:
    """Law: the process is back where it was, and the cgroup is gone."""
    where, own = Path("/proc/self/cgroup").read_text(), meter.own
    meter.end()
    assert own is not None and not own.exists() and Path("/proc/self/cgroup").read_text() != where
    meter.begin()
    assert meter.own not in (None, own)


def test_without_a_cgroup_children_count_when_they_end() -> None:
    """Law: where no cgroup can be had, getrusage(2) counts this process and the children it waited for."""
    meter = Meter()
    before = meter.seconds()
    _run(_BURN)
    assert meter.seconds() - before >= _SECONDS


def test_a_user_without_rights_counts_all_the_same(tmp_path: Path) -> None:
    """Law: without root no cgroup is made, and nothing fails."""
    require.root()
    script = "import os\nos.setuid(65534)\nfrom tests.processor import Meter\nm = Meter()\nm.begin()\nprint(m.own, m.seconds() > 0)\n"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
    )
    assert done.stdout.split() == ["None", "True"]


def test_both_versions_are_read(tmp_path: Path) -> None:
    """Law: v1 counts in nanoseconds, v2 in microseconds."""
    for name, text in [("cpuacct.usage", "1500000000\n"), ("cpu.stat", "usage_usec 1500000\nuser_usec 9\n")]:
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text(text)
        assert used(folder) == 1.5
