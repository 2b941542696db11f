"""What the live tests share: a cgroup of their own, and compiled helpers."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import require
from tests.cgroups import TestCgroup
from tests.kernel.live import Live, living


@pytest.fixture
def cgroup() -> Iterator[TestCgroup]:
    """A cgroup that only this test uses, in the hierarchy that the observer would choose."""
    require.bpf()
    with TestCgroup() as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One observer for all tests of a module."""
    require.bpf()
    with living(tmp_path_factory.mktemp("live") / "history") as made:
        yield made


@pytest.fixture
def live(shared: Live) -> Iterator[Live]:
    """The module's observer; the processes that a test starts in it end with the test."""
    yield shared
    shared.part()


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """An empty place for a history."""
    return tmp_path / "history"


@pytest.fixture
def executable_dir() -> Iterator[Path]:
    """A folder on a filesystem that takes set-uid bits and file capabilities and that other users may enter."""
    folder = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)
    yield folder
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else os.unlink(path)
    folder.rmdir()
