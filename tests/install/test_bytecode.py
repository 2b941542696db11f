"""No role compiles a source when it starts: its user may write none of the compiled ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import wheel

_ROLES = (
    "cli.run",
    "run.session",
    "confine.wall",
    *(f"roles.{role}" for role in ("loader", "observer", "dissector", "keeper", "follower", "checker")),
)
_IMPORTS = "; ".join(f"import firsthand.{name}" for name in _ROLES)


def _compiled_anew(environment: Mapping[str, str]) -> list[str]:
    """Sources that importing all roles compiled, of Firsthand and of what it imports, by what `python -v` says; none is written."""
    told = subprocess.run(
        [sys.executable, "-P", "-v", "-c", _IMPORTS],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    ).stderr
    return re.findall(r"^# code object from '?([^'\n]*\.py)'?$", told, re.MULTILINE)


def test_after_setup() -> None:
    """`make setup` leaves the bytecode of every source of the checkout."""
    subprocess.run(["make", "-s", "setup"], cwd=wheel.ROOT, check=True)
    assert _compiled_anew({}) == []


@pytest.mark.landing("builds and installs a wheel")
def test_an_installed_wheel(tmp_path: Path) -> None:
    """What pip installs of the wheel is compiled, as `make install` does it."""
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel.built())]
    subprocess.run(command, check=True)
    assert _compiled_anew({"PYTHONPATH": str(site)}) == []


def test_a_source_without_bytecode_is_found(tmp_path: Path) -> None:
    """The look above tells one from the other: where Python looks for bytecode in an empty folder, every role is compiled anew."""
    found = _compiled_anew({"PYTHONPYCACHEPREFIX": str(tmp_path)})
    assert {name.rpartition(".")[2] for name in _ROLES} <= {Path(path).stem for path in found}
