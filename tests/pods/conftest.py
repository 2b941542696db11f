"""Runtimes for the tests of containers and pods, each in a cgroup of its own.

Pods' addresses come from one subnet, and the tests look at places that all daemons share: the modules are of one group, `runtimes`, and
never run side by side.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.image import __main__ as making
from firsthand.probe import pins
from tests import caches, require, wheel
from tests.cgroups import TestCgroup
from tests.pods.containerd import OwnContainerd
from tests.pods.inside import Node
from tests.pods.kubelet import Kubelet


@pytest.fixture(scope="module")
def containerd() -> Iterator[OwnContainerd]:
    """Running, with the image imported."""
    require.containerd()
    require.bpf()
    folder = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:12]}"
    with TestCgroup() as cgroup, OwnContainerd(cgroup, folder) as running:
        yield running


@pytest.fixture(scope="session")
def image() -> Path:
    """The image of this checkout as `make image` makes it, its layers anew where what they are made from has changed."""
    require.image()
    try:
        base = caches.folder("image-layers", making.key(), making.base)
        key = caches.key(making.key(), files=[wheel.built()])
        return caches.folder("images", key, lambda made: _image(made, base)) / "image.tar"
    except subprocess.CalledProcessError as error:
        require.packages(f"the image cannot be made: {error}")


def _image(made: Path, base: Path) -> None:
    """Firsthand's own layer on those that are kept."""
    with tempfile.TemporaryDirectory(prefix="firsthand-test-") as folder:
        layers = shutil.copytree(base, folder, dirs_exist_ok=True)
        making.build(wheel.built(), made / "image.tar", cache=Path(layers))


@pytest.fixture(scope="session")
def node_runtime(image: Path) -> Iterator[OwnContainerd]:
    """A runtime as on a node, with the image."""
    require.pods()
    require.bpf()
    folder = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:12]}"
    with TestCgroup() as cgroup, OwnContainerd(cgroup, folder, cri=True, node=True) as daemon:
        daemon.ctr("image", "import", "--snapshotter", "overlayfs", str(image))
        yield daemon


@pytest.fixture(scope="module")
def node(node_runtime: OwnContainerd) -> Iterator[Node]:
    """A node without pods, and places of the module's own that every user can reach, as /var/lib is."""
    pins.mount_bpffs()  # systemd does it on a node
    traced = not Path("/sys/kernel/tracing/events").exists()
    if traced:  # and this
        subprocess.run(["mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing"], check=True)
    place = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:12]}-node"
    place.mkdir(mode=0o755)
    try:
        with Kubelet(node_runtime) as kubelet:
            yield Node(node_runtime, kubelet, place)
    finally:
        if traced:
            subprocess.run(["umount", "--lazy", "/sys/kernel/tracing"], check=True)
        shutil.rmtree(place)
