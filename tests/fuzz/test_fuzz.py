"""Coverage-guided fuzzing, bounded: hostile bytes of a ring, a log, a manifest and a bundle do nothing but what they may.

`FIRSTHAND_FUZZ_SECONDS` makes it longer (`make fuzz`); what was found to be new ground then stays in build/fuzz/corpus.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import profile, require
from tests.fuzz import build

TARGETS = ("wire", "log", "manifest", "bundle")
#: Inputs of each target where no seconds are given, and the seconds after which a busy machine ends it: all in all at most a minute; a
#: tenth of them in the quick profile.
RUNS = {"wire": 1500, "log": 500, "manifest": 800, "bundle": 1500}
_PART = 10 if profile.name() == profile.QUICK else 1
_BOUND = 9
_SECONDS = int(os.environ.get("FIRSTHAND_FUZZ_SECONDS", "0"))
#: One input may take so long; a hang is a failure. The machine may be busy.
_TIMEOUT = 60


@pytest.fixture(scope="module", autouse=True)
def drain() -> None:
    """The sanitized drain."""
    require.fuzzing()
    build.drain()


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    """A process of the fuzzer; what it says on both outputs is in `stdout`."""
    return subprocess.run(
        [sys.executable, *words],
        env=build.environment(),
        cwd=build.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        errors="replace",
        text=True,
        check=False,
    )


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_hostile_hurts(target: str, tmp_path: Path) -> None:
    """Law: whatever the bytes, an error is one of ours, no array is left, nothing hangs and no memory runs away."""
    corpus = build.BUILD / "corpus" / target if _SECONDS else tmp_path / target
    bounds = (
        (f"-max_total_time={_SECONDS}",)
        if _SECONDS
        else (f"-runs={RUNS[target] // _PART}", f"-max_total_time={_BOUND}")
    )
    seed = "-seed=0" if _SECONDS else "-seed=1"  # 0: another one each time
    limits = (
        "-max_len=16384",
        f"-timeout={_TIMEOUT}",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={_artifacts()}/{target}-",
    )
    found = _run("-m", "tests.fuzz.harness", target, str(corpus), *bounds, seed, *limits)
    last = "\n".join(line for line in found.stdout.splitlines() if not line.startswith(("#", "INFO")))
    assert found.returncode == 0 and "Done " in found.stdout, last[-8000:]
    print(f"{target}: {found.stdout.splitlines()[-1]}")


def _artifacts() -> Path:
    """Where an input that hurt is kept."""
    folder = build.BUILD / "found"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("raise ValueError('planted')", "ValueError: planted"),
        ("while data: pass", "timeout"),
        ("numbers(beside=True)", "AddressSanitizer: heap-buffer-overflow"),
        ("numbers(beside=False)", "Done 3 runs"),
    ],
)
def test_what_is_planted_is_found(what: str, said: str, tmp_path: Path) -> None:
    """Law: an error of another tree, a hang, and a read beside an array of the drain each end a run with a report."""
    script = tmp_path / "planted.py"
    script.write_text(_PLANTED.format(what=what))
    found = _run(str(script), "-runs=3", "-timeout=2", "-seed=1", f"-artifact_prefix={tmp_path}/")
    assert said in found.stdout, found.stdout[-4000:]
    assert (found.returncode == 0) is said.startswith("Done")


_PLANTED = '''
import sys
import atheris
from tests.fuzz import harness
harness.sanitized()
import numpy as np
from firsthand.wire import _drain

def numbers(beside):
    """The last record of an array of 64 bytes, and a field that stands in it or behind it."""
    out = np.zeros(1, dtype=np.int64)
    field = np.full((1, 256), 32 if beside else 24, dtype=np.int32)
    same, codes = np.array([-1], dtype=np.int32), np.array([808], dtype=np.int32)
    data, rows, kinds = np.zeros(64, dtype=np.uint8), np.array([32], dtype=np.uint32), np.array([1], dtype=np.uint8)
    _drain.numbers(data, rows, kinds, field, same, codes, np.array([out.ctypes.data], dtype=np.uint64))

def one(data):
    {what}

atheris.Setup(sys.argv, harness.expected(one))
atheris.Fuzz()
'''
