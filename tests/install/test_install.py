"""`make install`, a run, an upgrade, a roll-back and `firsthand uninstall` on this machine, which is afterwards what it was."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import require
from tests.cgroups import TestCgroup

_HERE = Path(__file__).parents[2]
_WALKED = ("/etc", "/usr/local", "/opt", "/var/lib", "/var/log", "/sys/fs/bpf")
#: Written by others at any time, and by adding or removing a user.
_OTHERS = (
    "/etc/passwd",
    "/etc/group",
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/subuid",
    "/etc/subgid",
    "/var/lib/apt",
    "/var/lib/dpkg",
)
#: What an observer that was killed has left goes with the rest.
_PINNED = "/sys/fs/bpf/firsthand-"


def _tree() -> set[str]:
    found = set()
    for top in _WALKED:
        for folder, folders, files in os.walk(top):
            found |= {os.path.join(folder, name) for name in (*folders, *files)}
    return {path for path in found if not path.startswith(_OTHERS) and not path.startswith("/var/lib/containers")}


def _machine() -> dict[str, set[str]]:
    """What an installation could leave behind."""
    mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    users = {one.pw_name for one in pwd.getpwall()}
    groups = {one.gr_name for one in grp.getgrall()}
    return {"files": _tree(), "mounts": mounts, "users": users, "groups": groups}


@pytest.fixture
def place() -> Iterator[Path]:
    """Where it is installed; removed even where the test fails."""
    require.root()
    if Path("/etc/firsthand").exists() or Path("/opt/firsthand").exists():
        pytest.fail("Firsthand is installed on this machine: uninstall it before this test")
    place = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:8]}"
    place.mkdir(mode=0o755)
    yield place
    if (place / "opt/current").exists():
        _firsthand(place, "uninstall", "--prefix", str(place / "opt"))
    shutil.rmtree(place)


def _make(place: Path, word: str) -> str:
    environment = {**os.environ, "PREFIX": str(place / "opt"), "LINK": str(place / "bin/firsthand"), "DESTDIR": ""}
    result = subprocess.run(["make", word], cwd=_HERE, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def _firsthand(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = str(place / "opt/current/bin/firsthand")
    return subprocess.run([program, *words], capture_output=True, text=True, check=False, cwd="/")


def test_the_machine_is_afterwards_what_it_was(place: Path) -> None:
    """Files, mounts, users and groups before and after; the history stays until --purge; readiness is told to who started it."""
    require.bpf()
    Path("/var/log/firsthand").mkdir(exist_ok=True)
    shutil.rmtree("/var/log/firsthand")
    before = _machine()
    said = _make(place, "install")
    assert "will write" in said
    assert _firsthand(place, "--version").returncode == 0
    planned = _firsthand(place, "uninstall", "--dry-run", "--prefix", str(place / "opt"))
    assert "would remove user firsthand-observer" in planned.stdout
    assert pwd.getpwnam("firsthand-observer").pw_shell.endswith("nologin")
    with TestCgroup() as cgroup:
        _ran(place, cgroup)
    gone = _firsthand(place, "uninstall", "--prefix", str(place / "opt"))
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert (place / "history/manifest.db").exists(), "a history is not the installation's"
    after = _machine()
    new = {name: sorted(after[name] - before[name]) for name in before}
    lost = {name: sorted(before[name] - after[name]) for name in before}
    assert not any(new.values()), f"left behind: {new}"
    lost["files"] = [path for path in lost["files"] if not path.startswith(_PINNED)]
    assert not any(lost.values()), f"taken along: {lost}"


def _ran(place: Path, cgroup: TestCgroup) -> None:
    """Observe with what was installed, its users, and hear its readiness."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = f"\0firsthand-test-{uuid.uuid4().hex}"
        manager.bind(address)
        manager.settimeout(60)
        command = [str(place / "opt/current/bin/firsthand"), "run", "--quiet", "--history", str(place / "history")]
        command += ["--scope", str(cgroup.path), "--instance", f"test-{uuid.uuid4().hex[:8]}", "--runtime", "none"]
        run = subprocess.Popen(
            command, env={**os.environ, "NOTIFY_SOCKET": f"@{address[1:]}"}, stderr=subprocess.DEVNULL
        )
        assert manager.recv(100) == b"READY=1"
        assert manager.recv(100) == b"WATCHDOG=1"
        assert (place / "history/log").stat().st_uid == pwd.getpwnam("firsthand-observer").pw_uid
        assert grp.getgrgid((place / "history").stat().st_gid).gr_name == "firsthand"
        cgroup.run(["/bin/true"]).wait()
        busy = _firsthand(place, "uninstall", "--prefix", str(place / "opt"))
        assert busy.returncode == 1
        assert "is being read" in busy.stderr
        run.send_signal(signal.SIGTERM)
        assert run.wait() == 0
    counted = _firsthand(
        place, "sql", "--history", str(place / "history"), "SELECT count(*) AS n FROM process", "-o", "csv"
    )
    assert int(counted.stdout.split()[1]) >= 2, counted.stderr


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    """systemd's own check of the unit, where there is systemd."""
    require.programs("systemd", "systemd-analyze")
    unit = tmp_path / "firsthand.service"
    text = (
        (_HERE / "deploy/firsthand.service")
        .read_text()
        .replace("@PREFIX@/current/bin/firsthand", shutil.which("true") or "/bin/true")
    )
    unit.write_text(text)
    result = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert str(unit) not in result.stderr, result.stderr
    assert result.returncode == 0, result.stderr
