"""Kernel time and wall time where one is not what it seems: inside a time namespace, and while the wall clock is set."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from firsthand.ask import completeness
from firsthand.ask.answer import Window
from firsthand.history.store.connection import History
from tests import require
from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel.inside import ObserverInside
from tests.kernel.observed import Observed

_CLONE_NEWTIME = 0x80  # include/uapi/linux/sched.h
DAY = 86_400


def _into_time_namespace(seconds: int) -> Callable[[], None]:
    """For a child before its exec: a time namespace of its own, whose clocks since boot are `seconds` ahead of the kernel's."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter() -> None:
        if libc.unshare(_CLONE_NEWTIME):
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWTIME)")
        Path("/proc/self/timens_offsets").write_text(f"monotonic {seconds} 0\nboottime {seconds} 0\n")
        namespace = os.open("/proc/self/ns/time_for_children", os.O_RDONLY)
        if libc.setns(namespace, _CLONE_NEWTIME):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(namespace)

    return enter


def _boottime() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@pytest.mark.parametrize("seconds", [DAY, -30])
def test_an_observer_inside_a_time_namespace(
    cgroup: TestCgroup, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """Its clocks since boot are others: the kernel side is attended all the same, and every time is the kernel's and the wall's own."""
    require.time_namespaces()
    configured(tmp_path, monkeypatch, "patience_seconds = 5\n")
    before, wall_before = _boottime(), time.time_ns() // 1000
    observed = Observed(history, [cgroup.path])
    observed.start(preexec_fn=_into_time_namespace(seconds))
    assert os.readlink(f"/proc/{observed.process.pid}/ns/time") != os.readlink("/proc/self/ns/time")
    cgroup.run(["/bin/true", "inside"]).wait()
    assert observed.stop() == 0, "".join(observed.errors)
    after, wall_after = _boottime(), time.time_ns() // 1000
    rows = observed.rows("SELECT event, ktime, epoch_us(time) AS time FROM process")
    assert {row["event"] for row in rows} >= {"exec", "exit"}
    rows += observed.rows("SELECT event, ktime, epoch_us(time) AS time FROM observer")
    assert [row for row in rows if not before <= row["ktime"] <= after] == []
    assert [row for row in rows if not wall_before - 1000 <= row["time"] <= wall_after + 1000] == []
    sample = observed.rows("SELECT realtime - boottime AS apart FROM clock")[0]["apart"]
    assert abs(sample - (time.time_ns() - _boottime())) < 100_000_000
    assert observed.lost() == 0


@pytest.mark.landing("four starts")
def test_a_take_over_between_time_namespaces(cgroup: TestCgroup, history: Path) -> None:
    """What an observer outside left attached is taken over inside, and by one outside again: the two speak of the same time."""
    require.time_namespaces()
    observed = Observed(history, [cgroup.path], "--keep-attached")
    observed.start()
    for place, options in (("inside", {"preexec_fn": _into_time_namespace(DAY)}), ("outside", {})):
        assert observed.stop() == 0, "".join(observed.errors)
        cgroup.run(["/bin/true", f"before {place}"]).wait()
        observed.start(**options)
        cgroup.run(["/bin/true", place]).wait()
    observed.command.remove("--keep-attached")
    assert observed.stop() == 0, "".join(observed.errors)
    observed.start()
    assert observed.stop() == 0, "".join(observed.errors)
    words = [
        row["word"] for row in observed.rows("SELECT args[2] AS word FROM process WHERE event = 'exec' ORDER BY ktime")
    ]
    assert words == ["before inside", "inside", "before outside", "outside"]
    assert observed.lost() == 0


@pytest.fixture
def stepped(cgroup: TestCgroup, history: Path) -> Iterator[ObserverInside]:
    made = ObserverInside(cgroup, history)
    yield made
    made.close()


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_the_wall_clock_is_set(stepped: ObserverInside, seconds: int) -> None:
    """Rows before have the old time, rows after it the new one, by the samples in `clock`; both parts count as observed, and nothing else."""
    stepped.run("before")
    stepped.set(seconds)
    stepped.run("after")
    stepped.observer.close("stop")
    rows = stepped.rows(
        "SELECT args[2] AS word, epoch_ns(time) - ktime AS apart FROM process WHERE event = 'exec' ORDER BY ktime"
    )
    samples = stepped.rows("SELECT realtime - boottime AS apart FROM clock ORDER BY ktime")
    assert [row["word"] for row in rows] == ["before", "after"]
    assert abs(samples[-1]["apart"] - samples[0]["apart"] - seconds * 1_000_000_000) < 100_000_000
    assert [
        abs(row["apart"] - sample["apart"]) < 2000 for row, sample in zip(rows, (samples[0], samples[-1]), strict=True)
    ] == [True] * 2
    with History(stepped.history).connection() as connection:
        spans = completeness.spans(connection, datetime.now(UTC))
        times = [row["time"] for row in stepped.rows("SELECT time FROM process WHERE event = 'exec' ORDER BY ktime")]
        for moment in times:
            window = Window(moment.replace(tzinfo=UTC), moment.replace(tzinfo=UTC))
            assert completeness.judge(connection, spans, window, ("process",), {}).reasons == []
        assert len(spans) == (1 if seconds > 0 else 2)
        assert not any(span.open for span in spans[:1])
        between = Window(*sorted(moment.replace(tzinfo=UTC) for moment in times))
        judged = completeness.judge(connection, spans, between, ("process",), {})
        assert judged.complete == (seconds > 0), (
            "an hour that the wall clock left out was no hour; one that it went through twice was seen in part"
        )
