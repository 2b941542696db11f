"""The shared observers of tests: what a test reads is its own and whole, and a failure of theirs is not a later test's."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.kernel import roles
from tests.kernel.pool import ObserverKind, Pools, Watch, strangers

pytestmark = pytest.mark.xdist_group("pool")


def test_behind_the_barrier_everything_is_there(watch: Watch) -> None:
    """Programs on every CPU and a cgroup right before it, twenty times: each look finds all, without waiting."""
    script = "i=0; while [ $i -lt 10 ]; do /bin/true $i & i=$((i+1)); done; wait"
    for number in range(1, 21):
        with watch as observed:
            child = watch.run(["/bin/sh", "-c", script])
            assert child.wait() == 0
            (watch.cgroup.path / f"inner-{number}").mkdir()
        found = observed.rows("SELECT event, count(*) AS n FROM process GROUP BY event")
        told = {row["event"]: row["n"] for row in found}
        assert told == {"fork": 10 * number, "exec": 11 * number, "exit": 11 * number}
        created = "SELECT count(*) AS n FROM container WHERE event = 'create' AND cgroup_path LIKE '%/inner-%'"
        assert observed.rows(created) == [{"n": number}]


def test_tests_do_not_see_each_others_rows(pools: Pools, observer_kind: ObserverKind, watch: Watch) -> None:
    """Two cgroups below one observer: each reader has the rows of its own; those of both are told apart from strangers'."""
    with pools.watch(observer_kind, "another test") as other:
        assert other.pooled is watch.pooled
        with watch as one, other as two:
            first, second = watch.run(["/bin/true", "first"]), other.run(["/bin/true", "second"])
            assert (first.wait(), second.wait()) == (0, 0)
        query = "SELECT DISTINCT pid FROM process"
        assert one.rows(query) == [{"pid": first.pid}] and two.rows(query) == [{"pid": second.pid}]
        assert {first.pid, second.pid} <= {row["pid"] for row in one.everything(query)}
        assert {row["pid"] for row in one.everything(f"SELECT pid FROM process WHERE pid = {os.getpid()}")} == set()
        found = one.everything(strangers(watch.cgroup.where))
        assert {row["cgroup_path"] for row in found} >= {other.cgroup.where}


@pytest.mark.landing("a pytest of its own")
def test_a_failure_is_the_tests_that_saw_it(tmp_path: Path) -> None:
    """A role that dies, and the whole observer: the test of that time fails with the words, the next one has another observer."""
    pools, kind = Pools(tmp_path), ObserverKind()
    with (
        pytest.raises(AssertionError, match="the keeper was killed by SIGKILL"),
        pools.watch(kind, "the first") as watch,
    ):
        first = watch.pooled
        os.kill(roles.pids(first.observed.process.pid)["keeper"], signal.SIGKILL)
        while not first.said:
            os.sched_yield()
    with pytest.raises(AssertionError, match="ended, exit code -9"), pools.watch(kind, "the second") as watch:
        assert watch.pooled is not first
        watch.process.send_signal(signal.SIGKILL)
        watch.process.wait()
    with pytest.raises(AssertionError, match=r"(?s)shared observer said: .*of the first\n.*of the second"):
        pools.close()
    assert not first.cgroup.path.exists() and not watch.pooled.cgroup.path.exists()


@pytest.mark.landing("a pytest of its own")
def test_what_it_lost_is_said_at_its_end(tmp_path: Path) -> None:
    """A loss while no test looked: the observer's end fails, and names the tests that it served."""
    pools = Pools(tmp_path)
    with pools.watch(ObserverKind("ring_bytes = 65536\ncanary_seconds = 0\n"), "the only one") as watch:
        assert watch.rows("SELECT * FROM process") == []
    pid = roles.pids(watch.process.pid)["observer"]
    os.kill(pid, signal.SIGSTOP)
    script = "i=0; while [ $i -lt 300 ]; do /bin/true $i; i=$((i+1)); done"
    assert watch.pooled.cgroup.run(["/bin/sh", "-c", script]).wait() == 0
    os.kill(pid, signal.SIGCONT)
    with pytest.raises(AssertionError, match=r"(?s)held back in a flood.*of the only one"):
        pools.close()
