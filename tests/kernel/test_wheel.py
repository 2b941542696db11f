"""The wheel works alone: not the source tree, no compiler, its own BPF objects and libbpf."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import wheel
from tests.cgroups import TestCgroup
from tests.kernel.observed import Observed

ROOT = Path(__file__).parents[2]


def test_it_holds_objects_and_libbpf() -> None:
    """Every BPF object, libbpf with what it needs, the drain, the lock and the default settings."""
    names = zipfile.ZipFile(wheel.built()).namelist()
    objects = {
        f"firsthand/probe/objects/{path.name.removesuffix('.c')}.o"
        for path in (ROOT / "kernel/subjects").glob("*.bpf.c")
    }
    assert objects <= set(names)
    for name in (
        "probe/lib/libbpf.so.1",
        "probe/lib/libelf.so.1",
        "schema/lock.json",
        "settings/settings.toml",
        "py.typed",
    ):
        assert f"firsthand/{name}" in names
    assert any(name.startswith("firsthand/wire/_drain.") and name.endswith(".so") for name in names)


def test_the_installed_wheel_observes(cgroup: TestCgroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed elsewhere, with no program at all on the path, it records a process."""
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel.built())],
        check=True,
    )
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    where = subprocess.run(
        [sys.executable, "-c", "import firsthand; print(firsthand.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(site))
    with Observed(tmp_path / "history", [cgroup.path]) as observed:
        child = cgroup.run(["/bin/true"])
        assert child.wait() == 0
    assert observed.rows(f"SELECT exe FROM process WHERE event = 'exec' AND pid = {child.pid}") == [
        {"exe": "/usr/bin/true"}
    ]
