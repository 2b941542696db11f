"""The wheel of this checkout, built once for each content of its sources: from a copy, so that the tree stays as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests import caches

ROOT = Path(__file__).parents[1]
#: What the wheel is made of.
_FROM = ("src", "kernel", "setup.py", "pyproject.toml", "README.md", "LICENSE", "LICENSE.GPL-2.0")


@cache
def built() -> Path:
    """The wheel's file."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *_FROM]
    told = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = sorted(name for name in told.split("\0") if name and (ROOT / name).is_file())
    key = caches.key(*names, sys.version, files=[ROOT / name for name in names])
    folder = caches.folder("wheels", key, lambda made: _build(names, made))
    (wheel,) = folder.glob("firsthand-*.whl")
    return wheel


def _build(names: list[str], to: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="firsthand-test-") as folder:
        for name in names:
            target = Path(folder) / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
        command = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            f"{folder}/wheel",
            ".",
        ]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        subprocess.run(command, cwd=f"{folder}/source", check=True, env={**os.environ, "PATH": path})
        shutil.copytree(f"{folder}/wheel", to, dirs_exist_ok=True)


def sources() -> list[Path]:
    """The modules that it holds."""
    return sorted((ROOT / "src/firsthand").rglob("*.py"))
