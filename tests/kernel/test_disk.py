"""The observer where its history cannot be written: it goes on, says so once, and resumes by itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests import disks
from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel.observed import Observed

_PATIENCE = 60.0


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of the test's own, 12 MB."""
    place = tmp_path / "small"
    place.mkdir()
    with disks.small(place, "12m") as made:
        yield made


class SupervisorLines:
    """Lines of standard error, taken in while it runs."""

    def __init__(self, observed: Observed) -> None:
        self.lines: list[str] = []
        self._stream = observed.process.stderr
        self._more = threading.Condition()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._stream is not None
        for line in iter(self._stream.readline, ""):
            with self._more:
                self.lines.append(line)
                self._more.notify_all()

    def wait(self, text: str, times: int = 1) -> None:
        """Until so many lines hold a text."""
        with self._more:
            assert self._more.wait_for(lambda: self.said(text) >= times, _PATIENCE), "".join(self.lines)

    def said(self, text: str) -> int:
        """How many lines hold a text."""
        return sum(text in line for line in self.lines)

    def join(self) -> None:
        """All of it."""
        self._thread.join()


def run_words(cgroup: TestCgroup, words: range) -> None:
    """One program for each number, named by it."""
    script = f"i={words.start}; while [ $i -lt {words.stop} ]; do /bin/true $i; i=$((i+1)); done"
    assert cgroup.run(["/bin/sh", "-c", script]).wait() == 0


def wait_for(observed: Observed, query: str) -> None:
    """Until a query has rows."""
    observed.until(query, lambda found: found, _PATIENCE)


def all_recorded(observed: Observed, words: Iterable[int]) -> bool:
    """Whether each of the programs stands in the history."""
    rows = observed.rows("SELECT DISTINCT args[2] AS word FROM process WHERE event = 'exec' AND args[1] = '/bin/true'")
    return {row["word"] for row in rows} >= {str(word) for word in words}


@pytest.mark.landing("a disk that is waited for")
def test_a_full_disk_is_waited_for(cgroup: TestCgroup, small: Path) -> None:
    """What happens meanwhile stays in the ring and is recorded once there is room; the message comes once."""
    observed = Observed(small / "history", [cgroup.path])
    observed.start()
    heard = SupervisorLines(observed)
    run_words(cgroup, range(10))
    wait_for(observed, "SELECT 1 FROM process WHERE args = ['/bin/true', '9']")
    with (small / "fill").open("wb") as fill:
        found = os.statvfs(small)
        fill.write(bytes(found.f_bavail * found.f_frsize))
    run_words(cgroup, range(10, 200))
    heard.wait("the disk is full; free space there")
    (small / "fill").unlink()
    heard.wait("the history is written again")
    run_words(cgroup, range(200, 210))
    assert observed.process.poll() is None
    observed.process.send_signal(2)
    assert observed.process.wait() == 0
    heard.join()
    assert all_recorded(observed, range(210))
    assert observed.lost() == 0
    assert heard.said("the disk is full") == 1


@pytest.mark.landing("a disk that is waited for")
@pytest.mark.counts_losses
def test_a_full_disk_for_longer_than_the_ring_is_a_loss_row(
    cgroup: TestCgroup, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the ring could not hold is counted, with the reason."""
    configured(tmp_path, monkeypatch, "ring_bytes = 65536\n")
    observed = Observed(small / "history", [cgroup.path])
    observed.start()
    heard = SupervisorLines(observed)
    with (small / "fill").open("wb") as fill:
        found = os.statvfs(small)
        fill.write(bytes(found.f_bavail * found.f_frsize))
    run_words(cgroup, range(400))
    heard.wait("the disk is full")
    (small / "fill").unlink()
    heard.wait("the history is written again")
    observed.process.send_signal(2)
    assert observed.process.wait() == 0
    heard.join()
    rows = observed.rows(
        "SELECT sum(events) AS n, min(detail) AS why FROM loss WHERE cause IN ('sequence_gap', 'open_tail')"
    )
    assert rows[0]["n"] > 0
    assert "the history could not be written" in rows[0]["why"]
    held = observed.rows("SELECT count(*) AS n FROM process")[0]["n"]
    assert (
        held + rows[0]["n"] + observed.rows("SELECT count(*) AS n FROM container WHERE event = 'seen'")[0]["n"]
        == 3 * 400 + 3
    )
