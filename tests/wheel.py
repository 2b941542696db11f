"""The wheel of this checkout, built once for each content of its sources: from a copy, so that the tree stays as it is."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
_KEPT = ROOT / "build/wheels"
#: What the wheel is made of.
_FROM = ("src", "kernel", "setup.py", "pyproject.toml", "README.md", "LICENSE", "LICENSE.GPL-2.0")


@cache
def built() -> Path:
    """The wheel's file; other builds of before are removed."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *_FROM]
    told = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = sorted(name for name in told.split("\0") if name and (ROOT / name).is_file())
    key = hashlib.sha256("\0".join(names).encode() + b"".join((ROOT / name).read_bytes() for name in names))
    folder = _KEPT / f"{key.hexdigest()[:16]}-{sys.implementation.cache_tag}"
    if not folder.exists():
        shutil.rmtree(_KEPT, ignore_errors=True)
        _build(names, folder)
    (wheel,) = folder.glob("firsthand-*.whl")
    return wheel


def _build(names: list[str], to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
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
        shutil.copytree(f"{folder}/wheel", to)


def sources() -> list[Path]:
    """The modules that it holds."""
    return sorted((ROOT / "src/firsthand").rglob("*.py"))
