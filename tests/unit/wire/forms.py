"""Command lines as people write them, from the text files beside: with a secret (§), and near misses."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.unit.wire.secrets import S

HERE = Path(__file__).parent


def entries(name: str) -> Iterator[str]:
    """The entries of a file: a line each, or more where a quote or a here-document is open."""
    waiting = ""
    for line in (HERE / name).read_text().splitlines():
        waiting += line if not waiting else f"\n{line}"
        if waiting.startswith("#") or not waiting:
            waiting = ""
        elif not _open(waiting):
            yield waiting
            waiting = ""


def _open(text: str) -> bool:
    document = re.search(r"<<'?(\w+)", text)
    if document:
        return not text.endswith(f"\n{document[1]}")
    try:
        shlex.split(text)
    except ValueError:
        return True
    return False


def argument_forms() -> list[str]:
    """Command lines whose arguments carry a secret."""
    return list(entries("forms.txt"))


def shell_forms() -> list[str]:
    """Shell texts that carry one by pipes, here-strings and the like."""
    return list(entries("shell_forms.txt"))


def rows(entry: str) -> list[list[str]]:
    """An entry as a program gets it: as arguments, and as the text of a shell."""
    text = entry.replace("§", S)
    return [shlex.split(text), ["sh", "-c", text]]


def lines(name: str) -> Iterator[str]:
    """The lines of a file, each by itself."""
    return (line for line in (HERE / name).read_text().splitlines() if not line.startswith("#"))
