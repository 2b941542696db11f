"""The process tests, all of them, against an observer that runs inside the pod of deploy/daemonset.yaml."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kernel.conftest import cgroup, executable_dir, observer_kind, warm, watch
from tests.kernel.observed import Observed
from tests.kernel.pool import Pools
from tests.kernel.test_process import *  # noqa: F403 - collected here a second time
from tests.pods.inside import Node, popen
from tests.pods.kubelet import KubeletPod

pytestmark = pytest.mark.xdist_group("runtimes")

__all__ = ["cgroup", "executable_dir", "observer_kind", "warm", "watch"]


@pytest.fixture(scope="module")
def pod(node: Node) -> KubeletPod:
    """One sandbox for all of them."""
    return node.manifest().pod(node.kubelet, "firsthand-inside")


@pytest.fixture(scope="module", autouse=True)
def inside(node: Node, pod: KubeletPod) -> Iterator[None]:
    """Each Observed starts a container there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Observed, "popen", popen(node, pod))
        yield


@pytest.fixture(scope="module")
def pools(inside: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pools]:
    """Observers that these tests share, and no others."""
    made = Pools(tmp_path_factory.mktemp("pools"))
    yield made
    made.close()
