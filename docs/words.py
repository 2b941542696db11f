"""The words that the project's prose does not use: `python -m docs.words`, a part of `make check`.

proselint finds them, by the list of words.toml and by those of its own checks that are named there. It looks at the prose alone: of Markdown
at what is not code, link target or comment, of Python at docstrings and comments. Everything else is replaced by characters of the same number,
so that lines and columns are the file's.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from proselint.checks import __register__
from proselint.registry import CheckRegistry
from proselint.registry.checks import Check
from proselint.registry.checks.types import PreferredForms
from proselint.tools import LintFile

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_suffix(".toml")
_CODE = r"(`+)(?!`).+?(?<!`)\1(?!`)|https?://\S+"
_IN_PYTHON = re.compile(_CODE + r'|"""', re.S)
_IN_MARKDOWN = re.compile(
    _CODE + r"|^(```|~~~).*?^\2[ \t]*$|<!--.*?-->|(?<=\]\()[^)\s]*(?=\))|(?<=\n\n)(?: {4,}\S[^\n]*\n)+", re.S | re.M
)


class Rules(NamedTuple):
    """words.toml."""

    waiting: list[str]
    generated: list[str]
    proselint: list[str]
    words: dict[str, str]


def rules() -> Rules:
    """As the file has them."""
    return Rules(**tomllib.loads(LIST.read_text()))


def register(chosen: Rules) -> dict[str, bool]:
    """Register our words and proselint's checks; returns which of them are on."""
    words = {pattern.replace(" ", r"\s+"): instead for pattern, instead in chosen.words.items()}
    grouped = {f"(?:{pattern})": instead for pattern, instead in words.items()}
    registry = CheckRegistry()
    registry.register_many(__register__)
    registry.register(Check(check_type=PreferredForms(grouped), path="words", message="'{1}': {0}"))
    return {"words": True, **dict.fromkeys(sorted(chosen.proselint, key=len, reverse=True), True)}


def markdown(text: str) -> str:
    """The prose of a page."""
    return _blanked(_IN_MARKDOWN, text)


def python(text: str) -> str:
    """The docstrings and comments of a module."""
    lines = text.splitlines(keepends=True)
    kept = [re.sub(r"[^\n]", " ", line) for line in lines]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            for number in range(first.lineno - 1, first.end_lineno or first.lineno):
                kept[number] = lines[number]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            kept[row - 1] = kept[row - 1][:column] + token.string + "\n"
    return _blanked(_IN_PYTHON, "".join(kept))


def _blanked(what: re.Pattern[str], text: str) -> str:
    return what.sub(lambda found: re.sub(r"[^\n]", "·", found[0]), text)


def files(globs: Iterable[str]) -> set[Path]:
    """Those that a glob names, from the project's folder."""
    return {path for glob in globs for path in ROOT.glob(glob)}


def findings(name: str, text: str, on: dict[str, bool]) -> Iterator[str]:
    """NAME:LINE:COLUMN and what to write instead, for each word of the list in a page's or module's text."""
    prose = (python(text) if name.endswith(".py") else markdown(text)) or "\n"
    for found in LintFile(name, prose).lint({"max_errors": 1000, "checks": on}):
        line, column = found.pos
        yield f"{name}:{line}:{column}: {' '.join(found.check_result.message.split())}"


def _in_file(path: Path, on: dict[str, bool]) -> Iterator[str]:
    return findings(str(path.relative_to(ROOT)), path.read_text(), on)


def main() -> int:
    """Print what is found; 1 if there is anything."""
    chosen = rules()
    on = register(chosen)
    every = files(["*.md", "docs/**/*.md", "docs/*.py", "deploy/**/*.py", "src/**/*.py", "tests/**/*.py"])
    wrong = [
        line for path in sorted(every - files(chosen.waiting) - files(chosen.generated)) for line in _in_file(path, on)
    ]
    wrong += [
        f"docs/words.toml: {glob} waits and nothing in it is wrong: take it out of the list"
        for glob in chosen.waiting
        if not any(line for path in files([glob]) for line in _in_file(path, on))
    ]
    print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
