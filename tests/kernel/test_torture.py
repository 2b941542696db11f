"""The record through the deaths of those who write it: nothing lost, nothing doubled, readable meanwhile.

FIRSTHAND_KILLS gives the number of kills (`make torture`: 1,000); where nothing is said each turn of ROLES comes six times.
"""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel import roles
from tests.kernel.observed import Observed, compiled

pytestmark = [pytest.mark.counts_losses, pytest.mark.landing("kills, and rings that are too small")]


KILLS = int(os.environ.get("FIRSTHAND_KILLS", "108"))
SEED = int(os.environ.get("FIRSTHAND_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
_COUNTED = """SELECT count(*) FILTER (event = 'fork') AS forks, count(*) FILTER (event = 'exec' AND args = ['counted']) AS execs,
    count(*) FILTER (event = 'exit') AS exits, count(DISTINCT (ring, cpu, seq)) AS numbers, count(*) AS rows
    FROM process WHERE comm IN ('count', 'exe', 'counted') OR exe LIKE '%/count'"""


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What dies is started again soon, and the ring holds what comes while several die one after another."""
    configured(tmp_path, monkeypatch, f"restart_most_seconds = 1\nring_bytes = {64 << 20}\n")


class Truth:
    """A workload that counts for itself, in a cgroup."""

    def __init__(self, cgroup: TestCgroup, folder: Path, *options: str) -> None:
        self.path = folder / "truth"
        self.program = compiled("count", folder)
        self.process = cgroup.run([str(self.program), str(self.path), *options], stdin=subprocess.PIPE)

    def counted(self) -> tuple[int, int, int]:
        """Forks, execs and exits so far."""
        found = self.path.read_bytes() if self.path.exists() else b""
        forks, execs, exits = struct.unpack("lll", found) if len(found) == 24 else (0, 0, 0)  # not yet there, or empty
        return forks, execs, exits

    def past(self, number: int) -> None:
        """Wait until it has forked so often."""
        while self.counted()[0] < number:
            assert self.process.poll() is None
            os.sched_yield()

    def end(self) -> tuple[int, int, int]:
        """Have it end; what it counted in all."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait() == 0
        return self.counted()


def _recorded(observed: Observed) -> dict[str, int]:
    row: dict[str, int] = observed.rows(_COUNTED)[0]
    return row


def agree(observed: Observed, truth: tuple[int, int, int], but: str = "") -> None:
    """Every event of the workload stands in the history once; its own start and end aside. `but`: a table whose losses do not count."""
    found = _recorded(observed)
    assert found["numbers"] == found["rows"], "a record stands there twice"
    assert not observed.rows(
        f"SELECT * FROM loss WHERE cause NOT IN ('helper_failed', 'runtime_gone', 'dissector') AND table_name IS DISTINCT FROM '{but}'"
    )  # neither a value that could not be read nor a name nor a packet is a row
    assert (found["forks"], found["execs"]) == (truth[0], truth[1])
    assert found["exits"] == truth[2] + 1


def _size(history: Path) -> int:
    """What was ever appended to the log, as far as its files tell."""
    return sum(int(path.stem) << 40 | path.stat().st_size for path in sorted((history / "log").glob("*.log"))[-1:])


def _grown(history: Path, before: int, observed: Observed) -> None:
    """Until the observer has made something durable."""
    while _size(history) <= before:
        assert observed.process.poll() is None
        os.sched_yield()


def _drain(observed: Observed) -> threading.Thread:
    """Read its messages, so that it never waits for us."""
    assert observed.process.stderr is not None
    reader = threading.Thread(target=lambda: observed.errors.extend(iter(observed.process.stderr.readline, "")))
    reader.start()
    return reader


#: Who dies, in turn; the supervisor takes all others with it, and is started again by us.
ROLES = (
    *("observer", "keeper", "dissector") * 2,
    "reader",
    "loader",
    *("observer", "keeper", "follower") * 3,
    "supervisor",
)


class Kills:
    """An observer under load, and the deaths of those who belong to it."""

    def __init__(self, observed: Observed, cgroup: TestCgroup, folder: Path) -> None:
        self.observed = observed
        self.chance = random.Random(SEED)
        self.position = 0
        self.start()
        self.work = Truth(cgroup, folder, "500")
        self.work.past(1)

    def start(self) -> None:
        """The supervisor, and with it all others."""
        self.observed.start()
        self.reader = _drain(self.observed)

    def kill(self, role: str, *, soon: bool) -> bool:
        """One death, `soon` at any moment of the victim's life; False where there was nobody to kill."""
        if role == "reader":
            return self._kill_reader()
        pid = self.observed.process.pid if role == "supervisor" else self._pid(role)
        if pid is None:
            return False
        if role != "loader":  # which lives for half a second
            self.work.past(self.work.counted()[0] + self.chance.randrange(200))
        if not soon and role != "loader":
            _grown(self.observed.history, self.position, self.observed)
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.position = _size(self.observed.history)
        if role == "supervisor":
            assert self.observed.process.wait() == -signal.SIGKILL
            self.reader.join()
            self.start()
        return True

    def _pid(self, role: str) -> int | None:
        """Of a role; for the loader a new observer's is waited for, which lets the one before die first."""
        if role != "loader":
            return roles.pids(self.observed.process.pid).get(role)
        self.kill("observer", soon=True)
        until = time.monotonic() + 30
        while (pid := roles.pids(self.observed.process.pid).get("loader")) is None:
            assert time.monotonic() < until, "no loader came"
        return pid

    def _kill_reader(self) -> bool:
        words = [
            sys.executable,
            "-m",
            "firsthand",
            "sql",
            "--history",
            str(self.observed.history),
            "SELECT * FROM process",
        ]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as asking:
            self.work.past(self.work.counted()[0] + self.chance.randrange(200))
            asking.kill()
        return True


@pytest.mark.budget(60 + 3 * KILLS, "kills of each role, and their starts")
def test_nothing_is_lost_or_doubled_by_kills(cgroup: TestCgroup, history: Path, tmp_path: Path, quick: None) -> None:
    """Each role in turn dies at random moments, under load; the history is readable after each."""
    print(f"FIRSTHAND_SEED={SEED}")
    observed = Observed(history, [cgroup.path], "--runtime", str(tmp_path / "nobody.sock"))
    kills = Kills(observed, cgroup, tmp_path)
    killed = seen = 0
    while killed < KILLS:
        killed += kills.kill(ROLES[killed % len(ROLES)], soon=killed % 5 == 0)
        if killed % 20 == 0:
            now = _recorded(observed)
            assert now["numbers"] == now["rows"] >= seen
            seen = now["rows"]
    truth = kills.work.end()
    observed.process.send_signal(signal.SIGINT)
    assert observed.process.wait() == 0
    kills.reader.join()
    agree(observed, truth)


def test_what_is_kept_attached_records_without_anybody(cgroup: TestCgroup, history: Path, tmp_path: Path) -> None:
    """Between two runs nobody reads; the second one takes over what happened, and the time counts as observed."""
    observed = Observed(history, [cgroup.path], "--keep-attached")
    observed.start()
    work = Truth(cgroup, tmp_path, "2000")
    work.past(20)
    assert observed.stop() == 0
    work.past(work.counted()[0] + 200)
    observed.command.remove("--keep-attached")
    observed.start()
    truth = work.end()
    assert observed.stop() == 0
    agree(observed, truth)
    events = [row["event"] for row in observed.rows("SELECT event FROM observer ORDER BY time, recorded")]
    assert [event for event in events if event != "alive"] == ["start", "ready", "resume", "ready", "stop"]
    assert not _pins(observed)


def test_a_ring_too_small_loses_nothing_uncounted(
    cgroup: TestCgroup, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """produced = recorded + counted lost, where the reader is stopped and killed under a flood; but for what a take-over tells again."""
    # without canaries, of which a ring that is full loses rows as well: the truth does not count those
    configured(
        tmp_path,
        monkeypatch,
        "ring_bytes = 65536\nurgent_bytes = 65536\nrestart_most_seconds = 1\ncanary_seconds = 0\n",
    )
    observed = Observed(history, [cgroup.path])
    observed.start()
    reader = _drain(observed)
    work = Truth(cgroup, tmp_path)
    for round_ in range(6):
        pid = roles.pids(observed.process.pid)["observer"]
        os.kill(pid, signal.SIGSTOP if round_ % 2 else signal.SIGKILL)
        work.past(work.counted()[0] + 500)
        if round_ % 2:
            os.kill(pid, signal.SIGCONT)
        else:
            while roles.pids(observed.process.pid).get("observer", pid) == pid:
                os.sched_yield()
    truth = work.end()
    observed.process.send_signal(signal.SIGINT)
    assert observed.process.wait() == 0
    reader.join()
    found = _recorded(observed)
    lost = observed.rows(
        "SELECT coalesce(sum(events), 0) AS n FROM loss WHERE cause IN ('sequence_gap', 'open_tail', 'recursion_miss')"
    )
    assert lost[0]["n"] > 0, "the ring was never full"
    # besides: the workload's own exec and exit, and the first telling of its cgroup, each of them recorded or lost
    others = observed.rows(
        "SELECT (SELECT count(*) FROM process) + (SELECT count(*) FROM container WHERE event = 'seen') AS n"
    )
    assert found["numbers"] == found["rows"]
    # each of the three readers that take over has what runs told again, the workload and a child of it at most: such a row is not kept
    # where it comes through, and is counted where the ring is full
    told_again = others[0]["n"] + lost[0]["n"] - (sum(truth) + 3)
    assert 0 <= told_again <= 3 * 2


def _pins(observed: Observed) -> bool:
    instance = observed.command[observed.command.index("--instance") + 1]
    return Path(f"/sys/fs/bpf/firsthand-{instance}").exists()


def test_nobody_for_long_means_counting_only(
    cgroup: TestCgroup, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the patience without a heartbeat the kernel side only counts; the next reader says how many and why."""
    configured(tmp_path, monkeypatch, "patience_seconds = 1\n")
    observed = Observed(history, [cgroup.path], "--keep-attached")
    observed.start()
    work = Truth(cgroup, tmp_path, "2000")
    work.past(20)
    assert observed.stop() == 0
    until = time.monotonic() + 2
    while time.monotonic() < until:
        work.past(work.counted()[0] + 50)
    alone = datetime.now(UTC)  # long before anybody reads again, and the kernel side has only counted for a second
    work.past(work.counted()[0] + 50)
    observed.command.remove("--keep-attached")
    observed.start()
    truth = work.end()
    assert observed.stop() == 0
    loss = observed.rows(
        "SELECT sum(events) AS n, string_agg(DISTINCT detail, '; ') AS why FROM loss WHERE cause IN ('sequence_gap', 'open_tail')"
    )
    assert "unattended failed" in loss[0]["why"]
    found = observed.rows(
        "SELECT count(*) AS n FROM process WHERE event <> 'seen' AND exec_tgid <> ?".replace("?", str(work.process.pid))
    )
    assert found[0]["n"] + loss[0]["n"] >= sum(truth)
    moment = timedelta(milliseconds=1)
    assert any("unattended failed" in reason for reason in observed.judged(alone, alone + moment))
