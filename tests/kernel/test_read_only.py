"""The history's mount becomes read-only while observing goes on: in the kernel's rings, said once, unhealthy meanwhile; and back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests import disks, require
from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel import roles
from tests.kernel.observed import Observed
from tests.kernel.test_disk import SupervisorLines, all_recorded, run_words, wait_for

_PATIENCE = 120.0


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    """A filesystem in memory of the test's own."""
    place = tmp_path / "own"
    place.mkdir()
    with disks.small(place, "64m") as made:
        yield made


class Failing:
    """An ext4 filesystem of the test's own on a loop device, which turns read-only at an error as a real one does."""

    def __init__(self, folder: Path) -> None:
        self.image, self.place = folder / "image", folder / "disk"
        self.place.mkdir()
        self.image.write_bytes(b"")
        os.truncate(self.image, 48 << 20)
        subprocess.run(["mkfs.ext4", "-q", str(self.image)], check=True)

    def mount(self) -> None:
        """Mount it, whole."""
        _mount("-o", "loop,errors=remount-ro", str(self.image), str(self.place))

    def fail(self) -> None:
        """The kernel finds an error on it (Documentation/ABI/testing/sysfs-fs-ext4), and takes no more writes."""
        source = subprocess.run(
            ["findmnt", "-n", "-o", "SOURCE", str(self.place)], capture_output=True, text=True, check=True
        )
        Path(f"/sys/fs/ext4/{Path(source.stdout.strip()).name}/trigger_fs_error").write_text("of a test")

    def mend(self) -> None:
        """As somebody does who is called: unmount, copy to a new disk, check, mount.

        A new one, because whoever has a mount namespace of his own holds the failed one still, and a mount of it would find that.
        """
        self.umount()
        failed, self.image = self.image, self.image.with_name("new")
        shutil.copyfile(failed, self.image)
        subprocess.run(["e2fsck", "-fy", str(self.image)], check=False, capture_output=True)
        self.mount()

    def umount(self) -> None:
        """Take it away."""
        subprocess.run(["umount", str(self.place)], check=True)


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[Failing]:
    require.loop_devices()
    made = Failing(tmp_path)
    made.mount()
    with subprocess.Popen(["unshare", "--mount", "sleep", "infinity"]) as other:  # as runtimes do
        try:
            yield made
        finally:
            other.kill()
    made.umount()


def _health(history: Path) -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "firsthand", "status", "--history", str(history), "--json", "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    found: dict[str, Any] = json.loads(result.stdout)
    return result.returncode, found["reasons"]


def _until(observed: Observed, health: int) -> list[str]:
    """Until the health is that; the reasons."""
    until = time.monotonic() + _PATIENCE
    while (found := _health(observed.history))[0] != health:
        assert observed.process.poll() is None
        assert time.monotonic() < until, found
    return found[1]


def _dead(pid: int) -> bool:
    """Whether a child of somebody else has ended; it may not have been waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] in "ZX"
    except FileNotFoundError:
        return True


def _remount_read_only(observed: Observed, place: Path) -> None:
    """No file may be open for writing then: whoever writes dies just before, and the supervisor sees it afterwards."""
    os.kill(observed.process.pid, signal.SIGSTOP)
    for pid in roles.pids(observed.process.pid).values():
        os.kill(pid, signal.SIGKILL)
        while not _dead(pid):
            os.sched_yield()
    until = time.monotonic() + _PATIENCE
    while subprocess.run(["mount", "-o", "remount,ro", str(place)], check=False, capture_output=True).returncode:
        assert time.monotonic() < until  # a dead process's files are closed a moment later
    os.kill(observed.process.pid, signal.SIGCONT)


def _observed(
    history: Path, cgroup: TestCgroup, ring: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Observed:
    configured(
        tmp_path,
        monkeypatch,
        f"ring_bytes = {ring}\nrestart_most_seconds = 1\ncanary_seconds = 0\n[integrity]\nheads = ''\n",
    )
    observed = Observed(history, [cgroup.path])
    observed.start()
    return observed


def _end(observed: Observed, heard: SupervisorLines) -> None:
    observed.process.send_signal(signal.SIGINT)
    assert observed.process.wait() == 0, heard.lines
    heard.join()


@pytest.mark.landing("a disk that is waited for")
def test_a_mount_made_read_only_and_back(
    cgroup: TestCgroup, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens meanwhile waits in the ring: nobody can write, it is said once, health is red; made writable it is recorded."""
    observed = _observed(own / "history", cgroup, 8 << 20, tmp_path, monkeypatch)
    heard = SupervisorLines(observed)
    run_words(cgroup, range(10))
    wait_for(observed, "SELECT 1 FROM process WHERE args = ['/bin/true', '9']")
    assert _until(observed, 0) == []
    _remount_read_only(observed, own)
    run_words(cgroup, range(10, 100))
    heard.wait("the log cannot be written, it is mounted read-only")
    assert "the history's disk is mounted read-only" in _until(observed, 1)
    run_words(cgroup, range(100, 200))
    _mount("-o", "remount,rw", str(own))
    heard.wait("the observer is well again")
    run_words(cgroup, range(200, 210))
    wait_for(observed, "SELECT 1 FROM process WHERE args = ['/bin/true', '209']")
    assert _until(observed, 0) == []
    _end(observed, heard)
    assert all_recorded(observed, range(210))
    assert observed.lost() == 0
    assert heard.said("the log cannot be written") == 1
    assert heard.said("keeper: ") <= 2, heard.lines  # that it cannot write, and that it can


@pytest.mark.landing("a disk that is waited for")
def test_a_mount_read_only_for_longer_than_the_ring_holds(
    cgroup: TestCgroup, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What did not fit is a row of `loss`, to the event."""
    observed = _observed(own / "history", cgroup, 65536, tmp_path, monkeypatch)
    heard = SupervisorLines(observed)
    _remount_read_only(observed, own)
    heard.wait("the log cannot be written, it is mounted read-only")
    run_words(cgroup, range(400))
    _mount("-o", "remount,rw", str(own))
    heard.wait("the observer is well again")
    _end(observed, heard)
    lost = observed.rows(
        "SELECT sum(events) AS n, string_agg(detail) AS why FROM loss WHERE cause IN ('sequence_gap', 'open_tail')"
    )[0]
    assert lost["n"] > 0 and "held back in a flood" in lost["why"]
    held = observed.rows(
        "SELECT (SELECT count(*) FROM process) + (SELECT count(*) FROM container WHERE event = 'seen') AS n"
    )
    assert held[0]["n"] + lost["n"] == 3 * 400 + 3


@pytest.mark.landing("a file system fails under an observer")
def test_a_disk_that_fails_under_the_observer(
    cgroup: TestCgroup, failing: Failing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own open files take nothing any more: the rings hold on, also over the end of `run`, and once the disk is mended the next
    run takes everything in."""
    observed = _observed(failing.place / "history", cgroup, 8 << 20, tmp_path, monkeypatch)
    heard = SupervisorLines(observed)
    run_words(cgroup, range(10))
    wait_for(observed, "SELECT 1 FROM process WHERE args = ['/bin/true', '9']")
    failing.fail()
    run_words(cgroup, range(10, 100))
    heard.wait("the log cannot be written, it is mounted read-only")
    assert "nothing is being observed" in _until(observed, 1)
    observed.process.send_signal(signal.SIGINT)
    assert observed.process.wait() == 1
    heard.join()
    assert heard.said("the log cannot be written") == 1
    assert heard.said("what the rings hold waits there until the next") == 1
    since = datetime.now(UTC)
    run_words(cgroup, range(100, 110))
    until = datetime.now(UTC)
    failing.mend()
    assert all_recorded(observed, range(10))
    observed.start()
    heard = SupervisorLines(observed)
    run_words(cgroup, range(110, 120))
    _end(observed, heard)
    assert all_recorded(observed, [*range(100), *range(110, 120)])
    assert any("not recorded from" in reason for reason in observed.judged(since, until)), "nothing was attached then"
