"""Tables keep to the width that they have, and nothing of a value is lost by it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from firsthand.ask.registry import QUESTIONS
from firsthand.cli import table
from tests import terminal
from tests.golden import commands

_WORDS = st.text("ab/中 é-", max_size=70).map(lambda text: " ".join(text.split()))


@given(st.integers(30, 220), st.lists(st.tuples(_WORDS, _WORDS, _WORDS), min_size=1, max_size=4))
def test_no_line_is_wider_and_nothing_is_cut(width: int, rows: list[tuple[str, str, str]]) -> None:
    """Words go on in the next line; each character is there as often as in the values, whatever its width."""
    lines = [*table.lines(["one", "two", "three"], rows, width)]
    assert all(cell_len(line) <= width for line in lines)
    shown = "".join(lines)
    for character in "a/中é-":
        wanted = sum(value.count(character) for row in rows for value in row)
        assert shown.count(character) == wanted


_FILE = ["pod                    args", "web                    curl -s https://example.org/", "shop-with-a-long-name"]
_COLUMNS = ["pod                  args", "web                  curl -s", f"{'':<21}https://example.org", f"{'':<21}/"]
_COLUMNS += ["shop-with-a-long-na", "me"]
_BLOCKS = [
    "pod   web",
    "args  curl -s",
    "      https://exampl",
    "      e.org/",
    "",
    "pod   shop-with-a-lo",
    "      ng-name",
]


@pytest.mark.parametrize(
    ("width", "lines"), [(None, _FILE), (40, _COLUMNS), (20, _BLOCKS)], ids=["a file", "columns", "blocks"]
)
def test_by_width(width: int | None, lines: list[str]) -> None:
    """As wide as it is; values over several lines; a block for each row. A column without any value needs no room."""
    rows = [("web", "curl -s https://example.org/", ""), ("shop-with-a-long-name", "", "")]
    found = [line.removesuffix("empty").rstrip() for line in table.lines(["pod", "args", "empty"], rows, width)]
    assert found == lines


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("question", QUESTIONS)
def test_the_rows_of_every_question_fit(kept_history: Path, question: str, width: int) -> None:
    """Under the sentence and over the evidence, and those too."""
    words = ("ask", question, *commands.ARGUMENTS.get(question, ()), *commands.WINDOW)
    shown = commands.said(kept_history, words, width)["out"]
    assert all(cell_len(line) <= width for line in shown if "─" not in line), (
        shown
    )  # a tree's lines are as long as its commands


def test_colour_is_for_terminals(kept_history: Path) -> None:
    """NO_COLOR is respected; what is no terminal gets neither colours nor a width, whatever COLUMNS says."""
    command = [sys.executable, "-m", "firsthand", "ask", "pods", *commands.WINDOW]
    told = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    told |= {"FIRSTHAND_HISTORY": str(kept_history)}
    coloured = terminal.run(command, told, 60).stdout
    plain = terminal.run(command, told | {"NO_COLOR": "1"}, 60).stdout
    assert "\x1b[" in coloured and "\x1b[" not in plain
    assert re.sub(r"\x1b\[[0-9]+m", "", coloured) == plain
    assert {"pod         db-0", "workload    StatefulSet/db"} <= {*plain.splitlines()}
    piped = subprocess.run(command, env=told | {"COLUMNS": "60"}, capture_output=True, text=True, check=True).stdout
    assert "\x1b[" not in piped and "namespace  pod " in piped
