"""Which file is in force, and what holds where there is none or a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from firsthand import settings
from firsthand.errors import UsageError
from firsthand.settings.sections.environment import Environment
from firsthand.settings.sections.redaction import Redaction
from firsthand.settings.sections.top import Top
from tests.configured import configured


def test_defaults_hold_without_a_file(tmp_path: Path) -> None:
    """No file: the declared defaults."""
    found = settings.load({"HOME": str(tmp_path)})
    assert found[Redaction].mode == "mask" and found[Environment].allow == () and found[Top].rings["ring"] >= 8 << 20


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    """FIRSTHAND_CONFIG that names nothing is an error and not ignored."""
    with pytest.raises(UsageError, match="no such file"):
        settings.load({"FIRSTHAND_CONFIG": str(tmp_path / "none")})


def test_a_wrong_file_stops_no_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who must go on has the defaults, and the history's columns are computed by them; who loads is refused."""
    from firsthand.history.store import connection

    configured(tmp_path, monkeypatch, 'ring_bytes = "much"\n')
    with pytest.raises(UsageError, match="ring_bytes: expected 0, or a power of two"):
        settings.load()
    assert settings.usable() == settings.load({"HOME": "/nonexistent"})
    assert "marks" in connection.computed("process")
