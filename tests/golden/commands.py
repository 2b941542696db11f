"""What users script against, put to the kept history: answers, help, exit codes, lines of an export, names of metrics, settings."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firsthand.ask.registry import QUESTIONS
from firsthand.cli.main import VERBS
from tests import terminal

TARGET = Path(__file__).parents[1] / "data" / "golden.json"
#: The hour of the history, so that no answer depends on when it is asked.
WINDOW = ("--since", "2026-03-01T12:00:00Z", "--until", "2026-03-01T13:00:00Z")

#: Each question's argument here, where it takes one.
ARGUMENTS = {
    "processes": ("exe~curl",),
    "process": ("1065",),
    "tree": ("web-6d4f8c-x2abc",),
    "timeline": ("tool",),
    "connected": ("known-bad.actorz.com",),
    "address": ("10.1.0.7",),
    "touched": ("/etc/shadow",),
}
_MORE = (
    ("ask",),
    *(
        ("ask", *words, *WINDOW)
        for words in (
            ("processes",),
            ("processes", "code=137", "--json"),
            ("pods", "-n", "ops", "--json"),
            ("pods", "-o", "csv"),
            ("connected", "203.0.113.0/24", "--json"),
            ("map", "-o", "dot"),
            ("privileged", "--fail-on-rows"),
            ("privileged", "--require-complete"),
            ("tree", "nobody"),
            ("processes", "colour=red"),
            ("what",),
            ("connected",),
        )
    ),
    ("export", "--to", "-", "--table", "request"),
    ("export", "--to", "-", "--table", "name", "--fields", "time,name,addresses"),
    ("export", "--to", "-", "--table", "request", "-o", "ocsf"),
    ("sql", "SELECT count(*) AS n FROM process"),
    ("sql", "SELECT nothing FROM process"),
    ("verb",),
)
_NAMED = re.compile(r"^(\w+(?:\.\w+)*)\s{2,}")


def lines() -> Iterator[tuple[str, ...]]:
    """The command lines, without `firsthand`."""
    yield ("--help",)
    yield from ((verb, "--help") for verb in VERBS)
    for name in QUESTIONS:
        yield ("ask", name, *ARGUMENTS.get(name, ()), *WINDOW, "--json")
    yield from _MORE


def said(history: Path, words: tuple[str, ...], columns: int = 80) -> dict[str, Any]:
    """Exit code and what was printed, of one command line, on a terminal without colours, with the history's folder called HISTORY."""
    told = {**os.environ, "FIRSTHAND_HISTORY": str(history), "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
    told.pop("FIRSTHAND_CONFIG", None)
    done = terminal.run([sys.executable, "-m", "firsthand", *words], told, columns)
    return {"exit": done.returncode, "out": _shown(done.stdout, history), "error": _shown(done.stderr, history)}


def _shown(text: str, history: Path) -> list[str]:
    return text.replace(str(history), "HISTORY").splitlines()


def settings(history: Path) -> list[str]:
    """The names of all settings."""
    return [words[1] for line in said(history, ("config", "show"))["out"] if (words := _NAMED.match(line))]


def everything(history: Path) -> dict[str, object]:
    """By command line."""
    return {" ".join(words): said(history, words) for words in lines()} | {"settings": settings(history)}


def write(history: Path) -> None:
    """Keep what is said now."""
    TARGET.write_text(json.dumps(everything(history), indent=1, ensure_ascii=False) + "\n")
