"""Questions to a history by the command itself, within the test's own process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from firsthand.cli.ask import command


def told(history: Path, *words: str) -> str:
    """What is printed. AssertionError where the command fails."""
    done = CliRunner().invoke(command, [*words, "--history", str(history)], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.stdout


def ask(history: Path, *words: str) -> dict[str, Any]:
    """The whole answer."""
    found: dict[str, Any] = json.loads(told(history, *words, "--json"))
    return found


def rows(history: Path, *words: str) -> list[dict[str, Any]]:
    """Its rows."""
    found: list[dict[str, Any]] = ask(history, *words)["rows"]
    return found
