"""Which tests a change wants."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import changed, landing

_FILES = {
    "src/firsthand/wire/clock.py": "",
    "src/firsthand/wire/_drain.pyx": "",
    "src/firsthand/ask/answer.py": "",
    "kernel/subjects/process.bpf.c": "",
    "kernel/include/path.h": "",
    "tests/kernel/functions/test_path.py": "",
    "tests/scenes.py": "",
    "tests/unit/wire/test_clock.py": "from firsthand.wire import clock\n",
    "tests/unit/wire/test_drain.py": "import firsthand.wire.batch\n",
    "tests/unit/ask/test_usage.py": "from firsthand.ask.answer import Window\nfrom tests import scenes\n",
    "tests/kernel/test_process.py": "",
    "tests/kernel/test_flow.py": "import firsthand.wire.clock\n",
    "docs/run.md": "",
    "tests/unit/test_docs.py": "",
    "tests/pods/test_pods.py": "from firsthand.wire import clock\n",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with these files, on a branch of its own."""
    for name, text in _FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "all"], ["checkout", "-qb", "branch"]):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True)
    return tmp_path


def test_what_differs_from_where_the_branch_left(checkout: Path) -> None:
    """Law: committed, changed and new files count, ignored ones and those that only main changed do not."""
    assert changed.changed(checkout, "main") == []
    (checkout / ".gitignore").write_text("*.so\n")
    (checkout / "x.so").write_text("")
    (checkout / "docs/run.md").write_text("changed")
    assert changed.changed(checkout, "main") == [".gitignore", "docs/run.md"]
    with pytest.raises(subprocess.CalledProcessError):
        changed.changed(checkout, "nowhere")


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("src/firsthand/wire/clock.py", ["tests/unit/wire/test_clock.py", "tests/kernel/test_flow.py"]),
        ("src/firsthand/wire/_drain.pyx", ["tests/unit/wire/test_drain.py"]),
        ("src/firsthand/ask/answer.py", ["tests/unit/ask/test_usage.py"]),
        ("tests/scenes.py", ["tests/unit/ask/test_usage.py"]),
        ("kernel/subjects/process.bpf.c", ["tests/kernel/test_process.py"]),
        ("kernel/include/path.h", ["tests/kernel/functions/test_path.py"]),
        ("tests/unit/wire/test_clock.py", ["tests/unit/wire/test_clock.py"]),
        ("docs/run.md", ["tests/unit/test_docs.py"]),
        ("tests/unit/gone/test_gone.py", []),
        ("deploy/setup", []),
    ],
)
def test_a_change_wants_its_tests(checkout: Path, file: str, wanted: list[str]) -> None:
    """Law: itself, its mirror, and who imports it, nearest first; never those that start daemons, and never a file that is gone."""
    assert changed.choose(checkout, [file]) == wanted


def test_the_words_run_what_a_landing_runs() -> None:
    """Law: `make test` has the rooms and the way of side by side that a landing has."""
    makefile = (landing.ROOT / "Makefile").read_text()
    assert f"SIDE_BY_SIDE := {' '.join(landing.SIDE_BY_SIDE)}\n" in makefile
    assert f"ROOMS := $(addprefix tests/,{' '.join(landing.ROOMS)})\n" in makefile


def test_the_time_is_bounded_and_said(tmp_path: Path) -> None:
    """Law: when the time is over no further test begins, and what was left is counted; one runs on any machine."""
    (tmp_path / "test_inner.py").write_text("".join(f"def test_{name}(): pass\n" for name in "abc"))
    script = "import pytest\nfrom tests import changed\nchanged.MOST = -1.0\nbound = changed.Bound()\n"
    script += "print(pytest.main(['-q', '-p', 'no:hypothesispytest'], plugins=[bound]))\nprint(bound.told())\n"
    environment = {**os.environ, "PYTHONPATH": str(landing.ROOT)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert "1 passed" in done.stdout
    assert done.stdout.splitlines()[-1] == "quick: 1 of 3 tests ran; 2 were left after -1 s: `make test` runs them"
