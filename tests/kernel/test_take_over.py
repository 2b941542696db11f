"""What is attached outlives whoever reads, and also those who fail to begin; what was not attached is never said to be observed."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from firsthand.errors import BusyError
from firsthand.observe.options import ObserverOptions
from firsthand.probe import load, pins, shared
from firsthand.probe.options import LoadOptions
from firsthand.settings import Settings
from firsthand.settings.sections.top import Top
from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel import roles
from tests.kernel.observed import Observed
from tests.kernel.test_disk import SupervisorLines, run_words, wait_for
from tests.kernel.test_torture import Truth, agree


def _instance(observed: Observed) -> str:
    return observed.command[observed.command.index("--instance") + 1]


def _options(cgroup: TestCgroup, history: Path) -> LoadOptions:
    instance = f"test-{uuid.uuid4().hex[:12]}"
    given = Settings(Top(instance=instance))
    return ObserverOptions(history=str(history), scopes=(str(cgroup.path),), settings=given).load_options()


@pytest.fixture
def attached(cgroup: TestCgroup, history: Path) -> Iterator[LoadOptions]:
    """A kernel side that somebody left attached, as a crash does."""
    options = _options(cgroup, history)
    load.bring_in(options).forget()
    yield options
    pins.remove(options.instance)


def _pinned(options: LoadOptions) -> set[str]:
    return {path.name for path in pins.folder_of(options.instance).iterdir()}


def test_a_take_over_that_fails_leaves_everything_attached(
    attached: LoadOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next try finds the same rings, with what they hold."""
    before = _pinned(attached)
    with monkeypatch.context() as patch:
        patch.setattr(shared, "scope", lambda *_: (_ for _ in ()).throw(OSError("of a test")))
        with pytest.raises(OSError, match="of a test"):
            load.bring_in(attached)
    assert _pinned(attached) == before
    again = load.bring_in(attached)
    assert (again.taken_over, again.interrupted) == (True, [])
    with pytest.raises(BusyError):
        load.bring_in(attached)
    again.forget()


def test_a_beginning_that_fails_leaves_nothing(
    cgroup: TestCgroup, history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody was there before: nothing stays attached."""
    options = _options(cgroup, history)
    with monkeypatch.context() as patch:
        patch.setattr(shared, "scope", lambda *_: (_ for _ in ()).throw(OSError("of a test")))
        with pytest.raises(OSError, match="of a test"):
            load.bring_in(options)
    assert not pins.folder_of(options.instance).exists()


@pytest.mark.landing("a death at each step")
def test_the_loader_dies_while_it_takes_over(
    cgroup: TestCgroup, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in each try until the fifth: the supervisor tries again, and not one event is lost or twice there.

    The ring has room for all that comes meanwhile, some ten seconds.
    """
    configured(tmp_path, monkeypatch, f"ring_bytes = {128 << 20}\n")
    observed = Observed(history, [cgroup.path])
    observed.start()
    heard = SupervisorLines(observed)
    work = Truth(cgroup, tmp_path, "500")
    work.past(50)
    os.kill(roles.pids(observed.process.pid)["observer"], signal.SIGKILL)
    killed: set[int] = set()
    while len(killed) < 5:
        loader = roles.pids(observed.process.pid).get("loader")
        if loader is not None and loader not in killed:
            os.kill(loader, signal.SIGKILL)
            killed.add(loader)
    heard.wait("the observer ended by itself")
    work.past(work.counted()[0] + 100)
    before = work.counted()[0]
    wait_for(observed, f"SELECT 1 FROM process WHERE event = 'fork' HAVING count(*) > {before}")
    truth = work.end()
    observed.process.send_signal(signal.SIGINT)
    assert observed.process.wait() == 0
    heard.join()
    agree(observed, truth)


@pytest.mark.landing("several starts")
def test_a_hook_that_was_detached_meanwhile_is_a_gap(cgroup: TestCgroup, history: Path) -> None:
    """Somebody removed a link while nobody read: it is attached anew, and the time between counts as not recorded."""
    observed = Observed(history, [cgroup.path], "--keep-attached")
    observed.start()
    run_words(cgroup, range(3))
    assert observed.stop() == 0
    (pins.folder_of(_instance(observed)) / "link_process_exec").unlink()
    since = datetime.now(UTC)
    run_words(cgroup, range(3, 6))
    until = datetime.now(UTC)
    observed.command.remove("--keep-attached")
    observed.start()
    run_words(cgroup, range(6, 9))
    assert observed.stop() == 0
    words = [
        row["w"]
        for row in observed.rows(
            "SELECT args[2] AS w FROM process WHERE event = 'exec' AND len(args) = 2 ORDER BY ktime"
        )
    ]
    assert words == ["0", "1", "2", "6", "7", "8"]
    assert any("not recorded from" in reason for reason in observed.judged(since, until))
    events = [row["event"] for row in observed.rows("SELECT event FROM observer WHERE event <> 'alive' ORDER BY ktime")]
    assert events == ["start", "ready", "start", "ready", "stop"]
