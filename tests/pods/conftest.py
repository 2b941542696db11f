"""A containerd for each module, in a cgroup of its own."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.image import __main__ as making
from firsthand.probe import pins
from tests import require, wheel
from tests.cgroups import TestCgroup
from tests.pods.containerd import Containerd
from tests.pods.inside import Node
from tests.pods.kubelet import Kubelet


@pytest.fixture(scope="module")
def containerd() -> Iterator[Containerd]:
    """Running, with the image imported."""
    require.containerd()
    require.bpf()
    folder = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:12]}"
    with TestCgroup() as cgroup, Containerd(cgroup, folder) as running:
        yield running


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """An empty place for a history."""
    return tmp_path / "history"


@pytest.fixture(scope="session")
def image() -> Path:
    """The image of this checkout as `make image` makes it, its layers anew where what they are made from has changed."""
    require.image()
    target = wheel.ROOT / "build/image/firsthand-test-image.tar"
    try:
        making.build(wheel.built(), target, cache=wheel.ROOT / "build/image")
    except subprocess.CalledProcessError as error:
        require.packages(f"the image cannot be made: {error}")
    return target


@pytest.fixture(scope="module")
def node(image: Path) -> Iterator[Node]:
    """A runtime as on a node, with the image, and places that every user can reach, as /var/lib is."""
    require.pods()
    require.bpf()
    pins.mount_bpffs()  # systemd does it on a node
    folder = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:12]}"
    place = folder.with_name(f"{folder.name}-node")
    place.mkdir(mode=0o755)
    try:
        with (
            TestCgroup() as cgroup,
            Containerd(cgroup, folder, cri=True, node=True) as daemon,
            Kubelet(daemon) as kubelet,
        ):
            daemon.ctr("image", "import", "--snapshotter", "overlayfs", str(image))
            yield Node(daemon, kubelet, place)
    finally:
        shutil.rmtree(place)
