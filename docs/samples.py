"""The samples in the pages are what the commands print about the kept history: `python -m docs.samples` writes them again.

A sample is a code block that begins with `$ firsthand`. The samples of a page run in its order in one folder, on a terminal of 80 columns,
so that a later one can read what an earlier one wrote.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.golden import before, commands

ROOT = Path(__file__).parents[1]
#: Pages whose samples are about the kept history. The others show histories of a real machine.
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs/tasks").glob("*.md"))]
SAMPLE = re.compile(r"^```\n\$ firsthand (.+)\n((?:.*\n)*?)```$", re.M)
#: What differs in each run: the disk's free space, and what depends on the moment at which a bundle is written.
_VARIES = re.compile(r"[\d.]+ [kMGT]?B free|(?<=^digest   )[0-9a-f]{64}$", re.M)


def masked(text: str) -> list[str]:
    """Its lines, without what differs in each run."""
    return _VARIES.sub("...", text).splitlines()


def printed(page: str, folder: Path) -> Iterator[tuple[str, str, str]]:
    """Command line, what the page shows, and what the command prints (standard error first), for each sample of a page's text."""
    history = before.unpack(folder)
    with contextlib.chdir(folder):
        for words, shown in SAMPLE.findall(page):
            given = commands.said(history, tuple(shlex.split(words)))
            yield words, shown, "".join(f"{line}\n" for line in [*given["error"], *given["out"]])


def main() -> None:
    """Write each page with what its commands print now."""
    for page in PAGES:
        text = page.read_text()
        with tempfile.TemporaryDirectory(prefix="firsthand-test-") as folder:
            for words, shown, now in printed(text, Path(folder)):
                if masked(shown) != masked(now):
                    text = text.replace(f"$ firsthand {words}\n{shown}```", f"$ firsthand {words}\n{now}```")
        page.write_text(text)


if __name__ == "__main__":
    main()
