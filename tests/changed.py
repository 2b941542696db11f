"""The tests of what changed (`make quick`): python -m tests.changed [COMMIT], which is main where nothing is said.

Chosen: changed test files; those that mirror a changed module (src/firsthand/x/y.py: tests/unit/x/test_y.py, tests/kernel/x/test_y.py;
kernel/include/y.h: tests/kernel/functions/test_y.py; kernel/subjects/y.bpf.c: tests/kernel/test_y.py); those that import a changed
module or a changed part of the tests. The nearest run first; after 20 s the rest is left, with its number. Never silently empty: what
was chosen and why is printed first.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: Seconds of running tests after which no further one begins; to find them takes some more.
MOST = 15.0


def changed(root: Path, since: str) -> list[str]:
    """Files that differ from where this branch left `since`, those not yet committed or added too. CalledProcessError for no such commit."""
    base = _git(root, "merge-base", since, "HEAD")[0]
    return sorted({*_git(root, "diff", "--name-only", base), *_git(root, "ls-files", "--others", "--exclude-standard")})


def _git(root: Path, *words: str) -> list[str]:
    done = subprocess.run(["git", *words], cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


def choose(root: Path, files: Sequence[str]) -> list[str]:
    """The test files for these changed files, nearest first: themselves, their mirrors, those that import them."""
    near = [file for file in files if _is_test(file)]
    mirrors = [mirror for file in files for mirror in _mirrors(root, file)]
    modules = {name for file in files if file.endswith(".py") and (name := _module(file))}
    users = [file for file in _tests(root) if modules & _imports(root, file)]
    return [file for file in dict.fromkeys([*near, *mirrors, *users]) if (root / file).exists()]


def _is_test(file: str) -> bool:
    return file.startswith(("tests/unit/", "tests/kernel/")) and Path(file).name.startswith("test_")


def _mirrors(root: Path, file: str) -> Iterator[str]:
    """The test files that are named as it."""
    path = Path(file)
    name = f"test_{path.name.partition('.')[0].lstrip('_')}.py"
    if file.startswith("src/firsthand/"):
        yield from (str(Path("tests", room, *path.parts[2:-1], name)) for room in ("unit", "kernel"))
    elif file.startswith("kernel/"):
        yield f"tests/kernel/functions/{name}"
        yield f"tests/kernel/{name}"
    elif file.startswith("tests/") and not path.name.startswith("test_"):
        yield str(Path("tests/unit", *path.parts[1:-1], name))
    elif file.startswith("docs/") or path.suffix == ".md":
        yield "tests/unit/test_docs.py"


def _module(file: str) -> str:
    parts = Path(file).with_suffix("").parts
    parts = parts[1:] if parts[0] == "src" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) if parts[0] in ("firsthand", "tests") else ""


def _tests(root: Path) -> list[str]:
    """Test files that need no daemon, those of units first."""
    return [
        str(path.relative_to(root))
        for room in ("unit", "kernel")
        for path in sorted((root / "tests" / room).rglob("test_*.py"))
    ]


@cache
def _imports(root: Path, file: str) -> frozenset[str]:
    """Modules that a file imports by name: `from a import b` may be a.b or b of a."""
    found = set()
    for node in ast.walk(ast.parse((root / file).read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


class Bound:
    """A plugin: after `MOST` seconds no test begins; `left` could not begin."""

    def __init__(self) -> None:
        self.began, self.ran, self.all = 0.0, 0, 0

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """How many there are; the time begins."""
        self.began, self.all = time.monotonic(), len(session.items)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """True passes over a test: it neither ran nor passed."""
        if self.ran and time.monotonic() - self.began > MOST:
            return True
        self.ran += 1
        return None

    def told(self) -> str:
        """What ran and what did not."""
        left = self.all - self.ran
        rest = f"; {left} were left after {MOST:.0f} s: `make test` runs them" if left else ""
        return f"quick: {self.ran} of {self.all} tests ran{rest}"


def main(since: str = "main") -> int:
    """0 where what ran passed; 1 where a test failed, where nothing is there to run, or nothing to compare with."""
    try:
        files = changed(ROOT, since)
    except subprocess.CalledProcessError:
        print(f"quick: there is no commit {since!r} here to compare with; name another: make quick SINCE=HEAD~3")
        return 1
    if not files:
        print(f"quick: nothing changed against {since}; these are the tests of the last commit")
        files = changed(ROOT, "HEAD~1")
    chosen = choose(ROOT, files)
    print(
        f"quick: {len(files)} files changed against {since}: {', '.join(files[:8])}{' ...' if len(files) > 8 else ''}"
    )
    if not chosen:
        print("quick: no test mirrors or imports them; `make test` runs all kinds")
        return 1
    print(
        f"quick: {len(chosen)} files of tests: {', '.join(chosen[:8])}{' ...' if len(chosen) > 8 else ''}", flush=True
    )
    os.chdir(ROOT)
    bound = Bound()
    code = pytest.main([*chosen, "-q", "-m", "not budget and not landing", "--no-header"], plugins=[bound])
    print(bound.told())
    return 0 if code == 0 and bound.ran else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
