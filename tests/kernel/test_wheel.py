"""The wheel works alone: not the source tree, no compiler, its own BPF objects and libbpf."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.cgroups import TestCgroup
from tests.kernel.observed import Observed

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built from a copy so that the tree stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, names):
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "source" / name)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), "."]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(command, cwd=folder / "source", check=True, env={**os.environ, "PATH": path})
    (built,) = folder.glob("firsthand-*.whl")
    return built


def test_it_holds_objects_and_libbpf(wheel: Path) -> None:
    """Every BPF object, libbpf with what it needs, the drain, the lock and the default settings."""
    names = zipfile.ZipFile(wheel).namelist()
    objects = {
        f"firsthand/probe/objects/{path.name.removesuffix('.c')}.o" for path in (ROOT / "kernel/probes").glob("*.bpf.c")
    }
    assert objects <= set(names)
    for name in ("probe/lib/libbpf.so.1", "probe/lib/libelf.so.1", "schema/lock.json", "settings.toml", "py.typed"):
        assert f"firsthand/{name}" in names
    assert any(name.startswith("firsthand/wire/_drain.") and name.endswith(".so") for name in names)


def test_the_installed_wheel_observes(
    wheel: Path, cgroup: TestCgroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed elsewhere, with no compiler on the path, it records a process."""
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)], check=True
    )
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("mount", "stat"):
        (tools / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("PATH", str(tools))
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
