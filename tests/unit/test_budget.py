"""The plugin that counts what a test costs, run on tests of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import budget

_ROOT = Path(__file__).parents[2]
_TESTS = """
import subprocess, sys, time
import pytest

def burn(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass

@pytest.fixture(scope="module")
def shared():
    burn(0.3)

@pytest.fixture
def own():
    burn(0.3)

@pytest.mark.budget(0.25, "a small one")
def test_cheap(): pass

@pytest.mark.budget(0.25, "a small one")
def test_dear(): burn(0.3)

@pytest.mark.budget(0.25, "a small one")
def test_dear_by_a_child():
    subprocess.run([sys.executable, "-S", "-c", "import time\\nwhile time.process_time() < 0.3: pass"], check=True)

@pytest.mark.budget(0.25, "a small one")
def test_dear_by_its_fixture(own): pass

@pytest.mark.budget(0.25, "a small one")
def test_shared_is_not_its(shared): pass

def test_more_than_a_small_one(): burn(0.3)

@pytest.mark.budget(0.25, "a small one")
def test_fails_by_itself():
    burn(0.3)
    assert False, "by itself"
"""


def _pytest(folder: Path, tests: str, *options: str) -> str:
    """What pytest prints of these tests with the plugin."""
    (folder / "test_inner.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-p", "tests.budget", "-rA", "--rootdir", ".", "-p", "no:cacheprovider"]
    command += ["-p", "no:hypothesispytest"]  # half of the start
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    done = subprocess.run(
        [*command, *options], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="module", params=[(), ("-n", "1")], ids=["alone", "side by side"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the tests above."""
    return _pytest(tmp_path_factory.mktemp("inner"), _TESTS, *request.param)


def test_what_is_over_its_budget_fails(told: str) -> None:
    """Law: by itself, by its children and by its own fixtures; not by what others share with it, and not below 15 without a marker."""
    found = dict(_outcomes(told))
    assert found == {
        "test_cheap": "PASSED",
        "test_dear": "FAILED",
        "test_dear_by_a_child": "FAILED",
        "test_dear_by_its_fixture": "FAILED",
        "test_shared_is_not_its": "PASSED",
        "test_more_than_a_small_one": "PASSED",
        "test_fails_by_itself": "FAILED",
    }
    assert "processor seconds, and may use 0.25: make it cheaper" in told and "by itself" in told


def _outcomes(told: str) -> list[tuple[str, str]]:
    return [(name, what) for what, name in re.findall(r"^(PASSED|FAILED|ERROR) test_inner.py::(\w+)", told, re.M)]


def test_the_dearest_are_printed(told: str) -> None:
    """Law: with their seconds, shared fixtures by name; a cheap one is not among them."""
    head = re.search(r"^processor: (\d+) s in 7 tests, (\d+) s in what they share; by room: .*$", told, re.M)
    assert head is not None and int(head[1]) >= 1
    lines = told[head.end() :].strip().splitlines()[1:7]
    assert {re.split(r" s  (?:test_inner.py)?", line)[1].removeprefix("::") for line in lines} == {
        "test_dear",
        "test_dear_by_a_child",
        "test_dear_by_its_fixture",
        "test_more_than_a_small_one",
        "test_fails_by_itself",
        " (shared)",
    }


@pytest.mark.parametrize("marker", ["20", '0, "why"'])
def test_a_budget_has_its_reason(tmp_path: Path, marker: str) -> None:
    """Law: a marker without seconds or reason is an error before any test runs."""
    tests = f"import pytest\n@pytest.mark.budget({marker})\ndef test_one(): pass\n"
    told = _pytest(tmp_path, tests, "--collect-only")
    assert "test_one: @pytest.mark.budget takes the seconds and why" in told


def test_only_the_dearest_are_shown() -> None:
    """Law: at most 20 lines, dearest first."""
    lines = budget.summary({f"tests/a/t{number}": float(number) for number in range(40)}, {"tests/b/f (x)": 30.5})
    assert len(lines) == 22
    assert lines[0] == "processor: 780 s in 40 tests, 30 s in what they share; by room: a 780 s, b 30 s"
    assert [line.split()[-1] for line in lines[10:13]] == ["tests/a/t31", "(x)", "tests/a/t30"]
