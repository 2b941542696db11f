"""A containerd for each module, in a cgroup of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import require
from tests.cgroups import TestCgroup
from tests.pods.containerd import Containerd


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
