"""The watch over the watchers: a role that is stopped is told, and what nobody proved meanwhile is not proven."""

from __future__ import annotations

import os
import signal
import struct
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from firsthand.ask.completeness import ALIVE_WITHIN
from firsthand.history.log import alive
from firsthand.probe import libbpf, pins
from tests import asking
from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel import roles
from tests.kernel.health.test_status import _status
from tests.kernel.observed import Observed


@pytest.mark.landing("waits until a round of canaries is overdue")
def test_nothing_is_proven_while_the_supervisor_is_stopped(
    cgroup: TestCgroup, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP to the supervisor, a hook emptied, a program run: health is red, and "no such process" is not complete; after SIGCONT
    the hook's silence is a loss from the last proven round on."""
    configured(tmp_path, monkeypatch, "canary_seconds = 1\n")
    observed = Observed(history, [cgroup.path])
    observed.start()
    observed.wait("SELECT 1 FROM observer WHERE measures LIKE '%proven_monotonic%'")
    stopped = datetime.now(UTC)
    os.kill(observed.process.pid, signal.SIGSTOP)
    try:
        entry = libbpf.call("bpf_obj_get", str(pins.folder_of(observed.instance) / "entry_process_exec").encode())
        libbpf.call("bpf_map_delete_elem", entry, struct.pack("<I", 0))
        cgroup.run(["/bin/true", "unseen"]).wait()
        unseen = datetime.now(UTC)
        assert any("the supervisor" in reason and "is stopped" in reason for reason in _status(history)[1]["reasons"])
        while "no canary has proven" not in " ".join(_status(history)[1]["reasons"]):
            assert observed.process.poll() is None
        assert not _status(history)[1]["healthy"]
        assert any("no canary proved the hooks" in reason for reason in observed.judged(stopped, unseen))
    finally:
        os.kill(observed.process.pid, signal.SIGCONT)
    silent = observed.wait(
        "SELECT since, until FROM loss WHERE cause = 'canary_silent' AND detail LIKE '%process_exec%'"
    )
    assert silent[0]["since"].replace(tzinfo=UTC) <= unseen
    assert not observed.rows("SELECT 1 FROM process WHERE args[2] = 'unseen' AND event = 'exec'")
    assert observed.stop() == 0
    assert any("no canary proved the hooks" in reason for reason in observed.judged(stopped, unseen))


def test_each_role_that_is_stopped_is_told(cgroup: TestCgroup, history: Path) -> None:
    """Supervisor, observer, dissector, keeper: each is in `status`, and red while it stands still."""
    with Observed(history, [cgroup.path]) as observed:
        there = roles.pids(observed.process.pid) | {"supervisor": observed.process.pid}
        while {one["role"]: one["pid"] for one in _status(history)[1]["processes"]} != there:
            assert observed.process.poll() is None
        for role, pid in there.items():
            os.kill(pid, signal.SIGSTOP)
            try:
                while f"the {role} (pid {pid}) is stopped: kill -CONT {pid}" not in _status(history)[1]["reasons"]:
                    assert observed.process.poll() is None
            finally:
                os.kill(pid, signal.SIGCONT)


def test_what_a_stopped_observer_has_not_written_is_not_denied(cgroup: TestCgroup, history: Path) -> None:
    """SIGSTOP to the observer, then a program: "no such program" is at once incomplete; after SIGCONT the program is there."""
    with Observed(history, [cgroup.path]) as observed:
        began = datetime.now(UTC)
        question = ("processes", "args~unseen", "--since", began.isoformat())
        pid = roles.pids(observed.process.pid)["observer"]
        os.kill(pid, signal.SIGSTOP)
        try:
            cgroup.run(["/bin/true", "unseen"]).wait()
            found = asking.apart(history, *question)
            assert datetime.now(UTC) - began < ALIVE_WITHIN, "its last row alone would tell it"
            assert found["answer"].startswith("No") and not found["completeness"]["complete"]
        finally:
            os.kill(pid, signal.SIGCONT)
        observed.wait("SELECT 1 FROM process WHERE event = 'exec' AND args[2] = 'unseen'")
        found = asking.apart(history, *question)
        assert found["answer"].startswith("Yes") and found["completeness"]["complete"], found


def test_the_loader_leaves_no_zombie(cgroup: TestCgroup, history: Path) -> None:
    """It has ended once observing is ready; the supervisor asks for it at its next turn."""
    with Observed(history, [cgroup.path]) as observed:
        until = time.monotonic() + 30
        while zombies := _zombies(observed.process.pid):
            assert time.monotonic() < until, zombies


def _zombies(run: int) -> list[int]:
    """The supervisor's children that have ended and were not asked for."""
    found = [
        int(pid) for task in Path(f"/proc/{run}/task").iterdir() for pid in (task / "children").read_text().split()
    ]
    return [pid for pid in found if alive.state(pid)[0] == "Z"]


def test_a_reader_can_hold_no_lock_of_a_history(cgroup: TestCgroup, history: Path) -> None:
    """A process in the readers' group, no root: it reads the signs, and opens none of the files that are locked."""
    with Observed(history, [cgroup.path]):
        locks = [path for path in history.rglob("*lock") if path.is_file()]
        assert {path.name for path in locks} >= {"run.lock", "keeper.lock", "lock"}
        child = os.fork()
        if child == 0:
            opened = 101
            try:
                opened = _opened(history, [path.relative_to(history) for path in locks])
            finally:
                os._exit(opened)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _opened(history: Path, locks: list[Path]) -> int:
    """As a reader, from within the history, since the folders above may be closed: how many locks could be opened."""
    group = history.stat().st_gid
    os.chdir(history)
    os.setgroups([group])
    os.setresgid(group, group, group)
    os.setresuid(54321, 54321, 54321)
    assert Path("run.lock.json").read_text() and Path("log/lock.json").read_text()
    return sum(map(_opens, locks))


def _opens(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except PermissionError:
        return False
    return True
