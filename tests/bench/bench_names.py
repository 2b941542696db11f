"""The follower: its memory with 500 containers, its processor time at 10 container starts a second, and how soon a name is known."""

from __future__ import annotations

import os
import re
import select
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from firsthand.history import place
from firsthand.history.log import arrow
from firsthand.history.log.log import LogReader
from tests import require
from tests.bench.machine import machine
from tests.cgroups import TestCgroup
from tests.kernel import roles
from tests.kernel.observed import Observed
from tests.pods.containerd import OwnContainerd
from tests.pods.kubelet import Kubelet, KubeletPod

pytestmark = pytest.mark.bench
PODS, INSIDE = 25, 19  # with their sandboxes 500 containers
RATE, SECONDS = 10, 20
_TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def kubelet() -> Iterator[Kubelet]:
    """A containerd with CRI of the benchmark's own."""
    require.pods()
    folder = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:12]}"
    with TestCgroup() as cgroup, OwnContainerd(cgroup, folder, cri=True) as daemon, Kubelet(daemon) as made:
        yield made


def test_follower(kubelet: Kubelet, tmp_path: Path) -> None:
    """500 containers in 25 pods, then starts at a steady rate, each made, started, ended and removed."""
    for number in range(PODS):
        pod = kubelet.pod(f"many-{number}", labels={"app": f"app-{number}", "pod-template-hash": "5d4c6b7f9"})
        for inner in range(INSIDE):
            pod.run(f"app-{inner}", "/bin/sleep", "3600")
    history = tmp_path / "history"
    socket = f"containerd:{kubelet.daemon.folder}/socket"
    with Observed(history, [kubelet.daemon.cgroup.path], "--runtime", socket) as observed:
        follower = roles.pids(observed.process.pid)["follower"]
        while len(_learnt(history)) < PODS * (INSIDE + 1):
            assert observed.process.poll() is None
        memory = _memory(follower)
        idle = _share(follower, SECONDS, lambda: None)
        told: dict[str, float] = {}
        pod = kubelet.pod("busy")
        busy = _share(follower, SECONDS, lambda: told.update(_life(pod, len(told))))
        while told.keys() - (learnt := _learnt(history)).keys():
            assert observed.process.poll() is None
        after = _memory(follower)
    late = sorted((learnt[identity] - moment) * 1000 for identity, moment in told.items())
    print(f"\n{machine()}")
    print(f"500 containers: {memory}; after {len(told)} starts {after}")
    print(f"idle {idle:.2%} of a core; {len(told) / SECONDS:.1f} starts/s {busy:.2%} of a core")
    print(
        f"name durable after the runtime knew it: p50 {late[len(late) // 2]:.0f} ms, p99 {late[int(len(late) * 0.99)]:.0f} ms"
    )


def _share(pid: int, seconds: float, act: object) -> float:
    """Processor time over elapsed time, while `act` is done RATE times a second."""
    assert callable(act)
    began, used = time.monotonic(), _used(pid)
    for turn in range(int(seconds * RATE)):
        act()
        select.select([], [], [], max(0.0, began + (turn + 1) / RATE - time.monotonic()))
    return (_used(pid) - used) / (time.monotonic() - began)


def _life(pod: KubeletPod, number: int) -> dict[str, float]:
    """One container made, started and ended; as the kubelet does, one that ended some time ago is removed."""
    made = pod.create(f"life-{number}", "/bin/true").start()
    if len(pod.containers) > 2 * RATE:
        pod.containers.pop(0).remove()
    return {made.id: made.told}


def _learnt(history: Path) -> dict[str, float]:
    """When the first row with each container's name was written into the log (seconds)."""
    found: dict[str, float] = {}
    for chunk in LogReader(history, place.NAMES):
        for name, stream in chunk.streams():
            if name == "container":
                for identity in arrow.read(stream)["container"].to_pylist():
                    found.setdefault(identity, chunk.header.written / 1e6)
    return found


def _used(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _memory(pid: int) -> str:
    status = Path(f"/proc/{pid}/status").read_text()
    return ", ".join(
        f"{name} {int(size) / 1024:.1f} MB" for name, size in re.findall(r"(VmHWM|VmRSS):\s+(\d+)", status)
    )
