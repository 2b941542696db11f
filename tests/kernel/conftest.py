"""What the live tests share: a cgroup of their own, and compiled helpers."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import require
from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel.live import Live, Lives
from tests.kernel.pool import ObserverKind, Pools, Watch
from tests.network import NetworkNamespace


@pytest.fixture
def cgroup() -> Iterator[TestCgroup]:
    """A cgroup that only this test uses, in the hierarchy that the observer would choose."""
    require.bpf()
    with TestCgroup() as made:
        yield made


@pytest.fixture(scope="session")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pools]:
    """The observers that tests share."""
    require.bpf()
    made = Pools(tmp_path_factory.mktemp("pools"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def observer_kind() -> ObserverKind:
    """How the shared observer of a module's tests runs; a module that wants another one says so by a fixture of its own."""
    return ObserverKind()


@pytest.fixture(scope="module")
def warm(pools: Pools, observer_kind: ObserverKind) -> Pools:
    """With the observer of this kind running: its start is the module's, and not that of one test."""
    pools.of(observer_kind)
    return pools


@pytest.fixture
def watch(warm: Pools, observer_kind: ObserverKind, request: pytest.FixtureRequest) -> Iterator[Watch]:
    """A cgroup of the test's own below a shared observer's."""
    with warm.watch(observer_kind, request.node.nodeid) as made:
        yield made


@pytest.fixture(scope="module")
def lives(pools: Pools, observer_kind: ObserverKind, request: pytest.FixtureRequest) -> Iterator[Lives]:
    """A cgroup and namespaces for the tests of a module, below a shared observer's."""
    made = Lives(pools, observer_kind, request.node.nodeid)
    made.now()
    yield made
    made.close()


@pytest.fixture
def live(lives: Lives) -> Iterator[Live]:
    """The module's; the processes that a test starts in it end with the test."""
    yield lives.now()
    lives.part()


@pytest.fixture
def executable_dir() -> Iterator[Path]:
    """A folder on a filesystem that takes set-uid bits and file capabilities and that other users may enter."""
    folder = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o755)
    yield folder
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else os.unlink(path)
    folder.rmdir()


@pytest.fixture
def around() -> Iterator[tuple[TestCgroup, NetworkNamespace]]:
    """Another cgroup, for the other side, and a network namespace."""
    require.bpf()
    with TestCgroup("unified") as others, NetworkNamespace() as namespace:
        yield others, namespace


@pytest.fixture
def watched(watch: Watch, around: tuple[TestCgroup, NetworkNamespace]) -> tuple[Watch, TestCgroup, NetworkNamespace]:
    """What a shared observer watches, another cgroup, and a network namespace."""
    return watch, *around


@pytest.fixture
def places(around: tuple[TestCgroup, NetworkNamespace]) -> Iterator[tuple[TestCgroup, TestCgroup, NetworkNamespace]]:
    """The same with a cgroup for an observer of the test's own."""
    with TestCgroup("unified") as observed:
        yield observed, *around


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every user can reach, as /var/lib is."""
    require.root()
    place = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:8]}"
    place.mkdir(mode=0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def config(observer_kind: ObserverKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The module's kind of observer as a settings file for one of the test's own, which is started again at once."""
    return configured(tmp_path, monkeypatch, f"restart_most_seconds = 1\n{observer_kind.settings}")
