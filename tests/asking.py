"""Questions to a history: by the command itself, within the test's own process or in one of its own, and by what answers it."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from firsthand.ask.answer import Answer, Request
from firsthand.ask.answering import answer
from firsthand.cli.ask import command
from firsthand.history.store.connection import History


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


def answered(history: Path, question: str, *arguments: str, since: datetime | None = None) -> Answer:
    """What is answered at this moment."""
    return answer(History(history), Request(question, arguments, since), datetime.now(UTC))


def firsthand(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "firsthand", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def run_on(history: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command about a history, in a process of its own."""
    return firsthand(*words, "--history", history)


def apart(history: Path, *words: str) -> dict[str, Any]:
    """The whole answer, by a process of its own. AssertionError where it fails."""
    done = run_on(history, "ask", *words, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
