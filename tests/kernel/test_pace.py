"""The work of the observer under a load that keeps coming: a commit takes what is there, in one chunk."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from firsthand.history.log.log import LogReader
from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel.observed import Observed, compiled

RATE, SECONDS = 1000, 4
#: One by the clock beside those of the commit interval: each second the numbers are held against the kernel's.
_EACH_SECOND = 1
_COMMIT_MS = 250


def _load(cgroup: TestCgroup, program: Path) -> int:
    """Lives at a thousand a second in the mean, as many moments as lives; how many there were."""
    child = cgroup.run([str(program), str(RATE), str(SECONDS)], stdout=subprocess.PIPE)
    return int(child.communicate()[0].split()[0])


def _chunks(history: Path) -> Counter[int]:
    """Chunks with records of a ring, by the second of their writing."""
    found = (chunk.header for chunk in LogReader(history).chunks())
    return Counter(header.written // 1_000_000 for header in found if header.spans)


@pytest.mark.landing("a flood")
def test_a_commit_is_one_chunk_while_events_keep_coming(
    cgroup: TestCgroup, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In no second are there more chunks than commits are due: what comes during a commit waits for the next one."""
    configured(tmp_path, monkeypatch, f"commit_ms = {_COMMIT_MS}\ncanary_seconds = 0\n")
    program = compiled("paced", tmp_path, "-static", "-lm")
    with Observed(history, [cgroup.path]) as observed:
        lives = _load(cgroup, program)
        observed.wait("SELECT * FROM process WHERE event = 'exit'", lives + 1)
        chunks = _chunks(history)
    assert observed.lost() == 0
    assert len(chunks) >= SECONDS and max(chunks.values()) <= 1000 // _COMMIT_MS + _EACH_SECOND, chunks
