"""Who gets a second chance, and who does not."""

from __future__ import annotations

import datetime
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests import unsteady
from tests.unsteady import Failure

_ROOT = Path(__file__).parents[2]
_INNER = """
import subprocess, time
import pytest

def test_a_wait_that_ends():
    until = time.monotonic()
    while True:
        assert time.monotonic() < until, "no rows"

def test_a_process_that_does_not_end():
    subprocess.run(["sleep", "60"], timeout=0.01, check=True)

def test_a_wrong_value():
    assert 1 == 2

@pytest.mark.counts_losses
def test_a_loss():
    raise TimeoutError

def test_passes(): pass

def test_a_program_that_was_made():
    exec("raise ValueError")

@pytest.fixture
def broken():
    raise TimeoutError("a daemon")

@pytest.mark.parametrize("what", ["a b/c@d"])
def test_a_fixture(broken, what): pass

def test_dies():
    import os
    os._exit(3)
"""


def test_failures_are_told_with_their_causes(tmp_path: Path) -> None:
    """Law: of a test and of its fixture, with xdist's groups taken off the ids; what breaks a worker has no cause."""
    (tmp_path / "test_inner.py").write_text(_INNER)
    command = [
        "python",
        "-m",
        "pytest",
        "-p",
        "tests.unsteady",
        "-n1",
        "--dist",
        "loadgroup",
        "--max-worker-restart",
        "0",
    ]
    command += ["--failures-to", "failed.json", "--rootdir", ".", "-q"]
    done = subprocess.run(command, cwd=tmp_path, env=_environment(), capture_output=True, text=True, check=False)
    assert (tmp_path / "failed.json").exists(), done.stdout + done.stderr
    found = {one.test.removeprefix("test_inner.py::"): one for one in unsteady.read(tmp_path / "failed.json")}
    assert {name: (one.cause, one.counts_losses) for name, one in found.items()} == {
        "test_a_wait_that_ends": (unsteady.TIME, False),
        "test_a_process_that_does_not_end": (unsteady.TIME, False),
        "test_a_wrong_value": (None, False),
        "test_a_loss": (unsteady.TIME, True),
        "test_a_program_that_was_made": (None, False),
        "test_a_fixture[a b/c@d]": (unsteady.TIME, False),
        "test_dies": (None, False),
    }


def _environment() -> dict[str, str]:
    import os
    import sys

    return {**os.environ, "PYTHONPATH": str(_ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def _entry(test: str) -> dict[str, str]:
    return {"test": test, "cause": unsteady.TIME, "done": "mended"}


@pytest.mark.parametrize(
    ("failure", "times", "said"),
    [
        (Failure("t", unsteady.TIME, False), 0, None),
        (Failure("t", unsteady.TIME, False), 1, None),
        (Failure("t", unsteady.TIME, False), 2, "2 times already"),
        (Failure("t", unsteady.TIME, True), 0, "counts losses"),
        (Failure("t", None, False), 0, "nothing but the program"),
    ],
)
def test_a_second_chance(failure: Failure, times: int, said: str | None) -> None:
    """Law: by cause; never where losses are counted, nor where the ledger has the test twice already."""
    told = unsteady.refusals([failure, Failure("u", unsteady.TIME, False)], [_entry("t")] * times + [_entry("v")] * 5)
    assert told == [] if said is None else len(told) == 1 and told[0].startswith("t: ") and said in told[0]


def test_any_number_has_one() -> None:
    """Law: a machine that was too slow for ten tests is no worse than one that was too slow for one."""
    assert unsteady.refusals([Failure(f"t{number}", unsteady.TIME, False) for number in range(10)], []) == []


def test_the_printed_entry_is_one_of_the_ledger(tmp_path: Path) -> None:
    """Law: what CI prints can be appended as it is."""
    one = Failure('tests/x.py::test_y[a "b" c]', unsteady.MACHINE, False)
    (tmp_path / "ledger.toml").write_text(unsteady.line(one, datetime.date(2026, 11, 29)) * 2)
    entries = unsteady.ledger(tmp_path / "ledger.toml")
    assert len(entries) == 2 and len(unsteady.refusals([one], entries)) == 1
    assert entries[0] == {"test": one.test, "date": datetime.date(2026, 11, 29), "cause": one.cause, "done": ""}


def test_the_ledger_is_kept() -> None:
    """Law: each entry names a test that is there, and says what was done."""
    for entry in unsteady.ledger():
        assert isinstance(entry["date"], datetime.date) and entry["cause"] and entry["done"].strip(), entry
        file, _, name = entry["test"].partition("::")
        assert (
            f"def {re.split(r'[[:]', name)[-1] if '::' in name else name.partition('[')[0]}("
            in (_ROOT / file).read_text()
        )
    assert tomllib.loads(unsteady.LEDGER.read_text()) is not None
