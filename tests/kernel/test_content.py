"""`ask tampered` on a real run: a filesystem of the test's own, whose disk is changed below its page cache. One observer for all of it."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from firsthand.confine import wall
from firsthand.schema import capability
from tests import asking, disks, require
from tests.cgroups import TestCgroup
from tests.disks import Disk
from tests.kernel import roles
from tests.kernel.health.test_status import _status
from tests.kernel.observed import Observed

pytestmark = pytest.mark.xdist_group("users of the machine")

_RANDOM = random.Random(1)
_TRUE = Path("/bin/true").read_bytes()
#: A program; what stands behind its end is not looked at.
_SU = _TRUE + _RANDOM.randbytes(9_000)
_END = len(_SU) - 10


class CheckedDisk:
    """A run whose settings name the files of a disk, and of a filesystem in memory."""

    def __init__(self, place: Path, disk: Disk, cgroup: TestCgroup) -> None:
        self.place, self.disk, self.cgroup = place, disk, cgroup
        self.files = {
            name: disk.file(name, _RANDOM.randbytes(20_000)) for name in ("same", "written", "replaced", "cut")
        }
        self.su = disk.file("su", _SU, 0o4711)
        self.memory = place / "memory"
        self.memory.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(self.memory)], check=True)
        (self.memory / "file").write_bytes(b"x")
        for path in self.files.values():
            path.read_bytes()
        (place / "settings.toml").write_text(
            f'[content]\nevery_seconds = 10\nfiles = ["{disk.place}/*", "{self.memory}/file"]\n'
        )
        self.observed = Observed(place / "history", [cgroup.path])

    def start(self) -> None:
        """Until the first round has ended."""
        self.observed.start(env={**os.environ, "FIRSTHAND_CONFIG": str(self.place / "settings.toml")})
        self.round()

    def round(self, **counts: int) -> dict[str, Any]:
        """A round that began after this moment, or the first of these that has such counts."""
        now = datetime.now(UTC).replace(tzinfo=None)
        query = "SELECT since, checked, differing, unchecked, reasons FROM content WHERE event = 'round' ORDER BY since"
        found: list[dict[str, Any]] = []

        def met(rows: list[dict[str, Any]]) -> bool:
            found[:] = [row for row in rows if row["since"] > now and row.items() >= counts.items()]
            return bool(found)

        self.observed.until(query, met)
        return found[0]

    def ask(self, *words: str) -> dict[str, Any]:
        """The answer."""
        return asking.ask(self.place / "history", "tampered", *words)

    def checker(self) -> int:
        """Its pid."""
        return roles.pids(self.observed.process.pid)["checker"]

    def kill(self) -> None:
        """Kill the checker; it is started again."""
        before = self.checker()
        os.kill(before, signal.SIGKILL)
        while roles.pids(self.observed.process.pid).get("checker", before) == before:
            os.sched_yield()


@pytest.fixture
def case(cgroup: TestCgroup) -> Iterator[CheckedDisk]:
    """Below a folder that every user can reach, so that the checker has a user of its own."""
    require.loop_devices()
    place = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:8]}"
    place.mkdir(mode=0o755)
    try:
        with disks.disk(place) as disk:
            found = CheckedDisk(place, disk, cgroup)
            try:
                found.start()
                yield found
            finally:
                subprocess.run(["umount", "-q", str(found.memory)], check=False)
                if found.observed.process.poll() is None:
                    found.observed.stop()
    finally:
        shutil.rmtree(place)


@pytest.mark.budget(60, "seven rounds of checks beside a real run, and its questions")
def test_what_was_changed_below_the_cache(case: CheckedDisk) -> None:
    """Law: a change that is no write is found within one round, with both hashes and who executed it; honest writes before and after they are
    written back, a file replaced, cut, gone, in memory are none; what was not compared has its reason; a killed checker begins anew."""
    disk, history = case.disk, case.place / "history"
    _rights(case)
    first = case.ask()
    assert first["answer"].startswith("No: 0 of 5 checked files differed when they were compared, in "), first
    assert "1 because its file system is tmpfs" in first["answer"] and first["rows"] == []
    assert not first["completeness"]["complete"] and any("tmpfs" in one for one in first["completeness"]["reasons"])
    assert case.ask(str(case.files["same"]))["answer"].startswith(f"No: {case.files['same']} was the same")
    absent = case.ask("/nowhere/su")
    assert (
        absent["answer"].startswith("Not checked: /nowhere/su was not compared")
        and not absent["completeness"]["complete"]
    )

    disk.change(case.su, _END, b"evil")
    case.files["written"].write_bytes(b"honest" * 5_000)
    case.files["replaced"].with_name("new").write_bytes(b"another")
    case.files["replaced"].with_name("new").rename(case.files["replaced"])
    os.truncate(case.files["cut"], 5_000)
    case.round(differing=1)
    case.cgroup.run([str(case.su)]).wait()
    found = case.ask()
    assert found["answer"].startswith("Yes: 1 file differed from the disk in the page cache, 1 of them to the end"), (
        found
    )
    (row,) = found["rows"]
    changed = _SU[:_END] + b"evil" + _SU[_END + 4 :]
    assert (row["cached_sha256"], row["disk_sha256"]) == tuple(
        hashlib.sha256(one).hexdigest() for one in (_SU, changed)
    )
    assert (row["path"], row["first_offset"], row["bytes_differ"]) == (str(case.su), _END, 4)
    assert row["file_inode"] == case.su.stat().st_ino and row["same_before"] < row["found"]
    executed = "SELECT count(*) AS n FROM process WHERE event = 'exec' AND exe = '%s'" % case.su  # noqa: UP031
    case.observed.until(executed, lambda rows: rows[0]["n"] == 1)
    assert [(one["executed"], one["by"]) for one in case.ask(str(case.su))["rows"]] == [(1, ["host"])]

    case.kill()
    assert case.round(differing=1)["checked"] >= 5
    assert len(case.ask()["rows"]) == 1, "what the next checker tells again is no second finding"
    status = _status(history)[1]
    (told,) = status["content"]
    assert (told["differing"], told["late"], list(told["reasons"])) == (1, False, ["its file system is tmpfs"])
    assert status["observers"][0]["checks"] is True
    processes = {one["role"]: one["pid"] for one in status["processes"]}
    assert processes.get("checker", case.checker()) == case.checker()

    disk.settle(case.su)
    case.round(differing=0)
    ended = case.ask()
    assert ended["answer"].startswith("Yes: 1 file differed from the disk in the page cache, 0 of them to the end"), (
        ended
    )
    assert ended["rows"][0]["until"] is not None
    _another_observer(case)
    _switched_off(case)
    assert case.observed.stop() == 0
    told = case.observed.rows("SELECT DISTINCT path FROM content WHERE event = 'differs'")
    assert told == [{"path": str(case.su)}]


def _rights(case: CheckedDisk) -> None:
    """As /proc shows it: a user of its own, two capabilities, a filter, and no descriptor into the history."""
    process = Path(f"/proc/{case.checker()}")
    status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
    own = wall.identity("checker", case.place / "history")
    assert status["Uid"].split() == [str(own.uid)] * 4 and status["Gid"].split() == [str(own.gid)] * 4
    assert own.uid not in (0, *(wall.identity(role, case.place / "history").uid for role in ("observer", "keeper")))
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert capability.names(int(status[name], 16)) == ["dac_read_search", "fowner"], name
    assert int(status["CapAmb"], 16) == 0 and (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    opened = {os.readlink(fd) for fd in (process / "fd").iterdir() if int(fd.name) > 2}
    assert not any(str(case.place) in one for one in opened), opened


def _another_observer(case: CheckedDisk) -> None:
    """A killed observer: the next one has a checker that reports to it."""
    before = roles.pids(case.observed.process.pid)
    os.kill(before["observer"], signal.SIGKILL)
    assert case.round(differing=0)["checked"] == 5
    assert case.checker() != before["checker"], "it began again with the next observer"


def _switched_off(case: CheckedDisk) -> None:
    """The setting ends the checker while it runs, and is the reason of answers from then on."""
    settings = case.place / "settings.toml"
    settings.write_text(settings.read_text() + "enabled = false\n")
    while "checker" in roles.pids(case.observed.process.pid):
        assert case.observed.process.poll() is None
        os.sched_yield()
    case.observed.until(
        "SELECT settings FROM observer ORDER BY ktime", lambda rows: '"content": false' in rows[-1]["settings"]
    )
    off = case.ask("--since", datetime.now(UTC).isoformat())
    assert off["answer"].startswith("Not checked: no file was compared with the disk"), off
    assert any("content.enabled" in one for one in off["completeness"]["reasons"]), off
