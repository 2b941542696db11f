"""What unit tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden import before


@pytest.fixture(scope="session")
def kept_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The history of the version before, unpacked. It is only read."""
    return before.unpack(tmp_path_factory.mktemp("before"))
