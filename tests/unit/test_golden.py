"""A history of the version before reads as it did, and what users script against has not changed.

What is meant to change: `python -m tests.golden`, and look at the difference before it is committed.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.golden import commands

GOLDEN = json.loads(commands.TARGET.read_text())


@pytest.mark.parametrize("words", [*commands.lines()], ids=" ".join)
def test_what_is_said_is_unchanged(kept_history: Path, words: tuple[str, ...]) -> None:
    assert commands.said(kept_history, words) == GOLDEN[" ".join(words)]


def test_no_setting_is_lost(kept_history: Path) -> None:
    """New ones may come."""
    assert {*GOLDEN["settings"]} <= {*commands.settings(kept_history)}


def test_each_kept_answer_is_asked_for() -> None:
    assert {*GOLDEN} == {" ".join(words) for words in commands.lines()} | {"settings"}
