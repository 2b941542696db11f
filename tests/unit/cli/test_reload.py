"""A settings file that is being written is applied when it is whole."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from firsthand.cli.run import SETTLED, Reload
from firsthand.settings import Settings
from firsthand.settings.sections.retention import Limits


class Applied:
    """What a session is told: the retention of each plan, and when."""

    def __init__(self) -> None:
        self.days: list[tuple[Any, float]] = []

    def apply(self, plan: Settings) -> list[str]:
        self.days.append((plan[Limits].days, time.monotonic()))
        return ["keeper"]


def test_a_file_that_is_emptied_and_written_is_applied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an editor and a shell's `>` do: what it holds between the two, the defaults, might let rows go."""
    file, session = tmp_path / "config.toml", Applied()
    file.write_text("[retention]\ndays = 90\n")
    monkeypatch.setenv("FIRSTHAND_CONFIG", str(file))
    reload = Reload(session, lambda found: found)  # type: ignore[arg-type, return-value]
    reload.turn()
    assert session.days == [] and reload.wait > SETTLED
    file.write_text("")
    reload.turn()
    assert session.days == [] and reload.wait == SETTLED
    file.write_text("[retention]\ndays = 91\n")
    written = time.monotonic()
    while not session.days:
        reload.turn()
        assert time.monotonic() < written + 60
    ((days, at),) = session.days
    assert days == 91 and at >= written + SETTLED - 0.1
    reload.turn()
    assert len(session.days) == 1 and reload.wait > SETTLED
