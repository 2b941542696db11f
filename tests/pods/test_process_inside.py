"""The process tests, all of them, against an observer that runs inside the pod of deploy/daemonset.yaml."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kernel.conftest import cgroup, executable_dir, history
from tests.kernel.observed import Observed
from tests.kernel.test_process import *  # noqa: F403 - collected here a second time
from tests.pods.inside import Node, popen
from tests.pods.kubelet import Pod

__all__ = ["cgroup", "executable_dir", "history"]


@pytest.fixture(scope="module")
def pod(node: Node) -> Pod:
    """One sandbox for all of them."""
    return node.manifest().pod(node.kubelet, "firsthand-inside")


@pytest.fixture(autouse=True)
def inside(node: Node, pod: Pod, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each Observed starts a container there."""
    monkeypatch.setattr(Observed, "popen", popen(node, pod))
    yield
