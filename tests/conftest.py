"""What all tests share: a profile, which says how much of what is exhaustive runs, and a processor budget for each test."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests import profile

pytest_plugins = ["tests.budget", "tests.unsteady"]

profile.load()
# A shell starts what runs in the background without Ctrl-C, and children inherit that: tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: The order in which they begin side by side: what takes long and computes little first.
_ROOMS = ("vm", "pods", "install", "kernel", "fuzz", "unit", "bench")


def _room(item: pytest.Item) -> int:
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    return _ROOMS.index(folder) if folder in _ROOMS else len(_ROOMS)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The rooms' order, which side by side is that of the beginnings; a file's tests stay together unless they name another group."""
    items.sort(key=_room)
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(Path(__file__).parents[1]))))


def pytest_configure(config: pytest.Config) -> None:
    """Side by side, xdist writes a test's group into `_nodeid` (xdist/remote.py). pytest.UsageError where this pytest does not read it."""
    reads = pytest.Item.nodeid.fget.__code__.co_names
    if getattr(config.option, "dist", "no") == "loadgroup" and "_nodeid" not in reads:
        raise pytest.UsageError(f"pytest {pytest.__version__} loses xdist's groups: install what pyproject.toml names")


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """An empty place for a history, where a module does not tell another."""
    return tmp_path / "history"
