"""A history with everything in it, and a reader of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from firsthand.reader import asker, place
from tests import readers
from tests.golden import before


@pytest.fixture(autouse=True)
def patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a loaded machine a reader that lives may take longer to greet than an asker waits."""
    if request.node.get_closest_marker("impatient") is None:
        monkeypatch.setattr(asker, "GREETS", 60.0)
        monkeypatch.setattr(asker, "SILENT", 60.0)


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kept one."""
    return before.unpack(tmp_path_factory.mktemp("read"))


@pytest.fixture(scope="session")
def short() -> Iterator[Path]:
    """A folder for sockets, whose paths may have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="firsthand-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def shared(history: Path, short: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[readers.Serving]:
    """A reader of that history; what it spills goes to a folder of the tests' own."""
    spilled = tmp_path_factory.mktemp("spilled")
    with readers.serving(history, short / "shared.sock", more={"TMPDIR": str(spilled)}) as found:
        yield found


@pytest.fixture
def reader(shared: readers.Serving, monkeypatch: pytest.MonkeyPatch) -> readers.Serving:
    """The same, and what is asked goes to it."""
    monkeypatch.setenv(place.VARIABLE, str(shared.path))
    return shared
