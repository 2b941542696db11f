"""`make install`, a run, an upgrade, a roll-back and `firsthand uninstall` on this machine, which is afterwards what it was."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import require
from tests.apart import Apart
from tests.cgroups import TestCgroup

pytestmark = pytest.mark.xdist_group("users of the machine")

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
    "/etc/netns",
    *(f"/var/lib/{name}" for name in ("cni", "containerd", "containers", "docker")),
)


#: What each of them holds, and the mounts, as JSON: PLACES.
_LOOK = """
import json, os, sys
found = [os.path.join(folder, name) for top in sys.argv[1:] for folder, *below in os.walk(top) for names in below for name in names]
print(json.dumps({"files": found, "mounts": [line.split()[4] for line in open("/proc/self/mountinfo")]}))
"""


def _machine(apart: Apart) -> dict[str, set[str]]:
    """What an installation could leave behind."""
    command = [*apart.within, sys.executable, "-c", _LOOK, *_WALKED]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    files = {path for path in told["files"] if not path.startswith(_OTHERS)}
    users = {one.pw_name for one in pwd.getpwall()}
    groups = {one.gr_name for one in grp.getgrall()}
    # What another test unmounts, a network namespace or a container's folders, is unmounted everywhere.
    mounts = {path for path in told["mounts"] if not path.startswith(("/run/netns/", "/var/tmp/firsthand-test-"))}
    return {"files": files, "mounts": mounts, "users": users, "groups": groups}


@pytest.fixture
def apart() -> Iterator[Apart]:
    """For the time of the test."""
    require.bpf()
    with Apart() as made:
        yield made


@pytest.fixture
def place(apart: Apart) -> Iterator[Path]:
    """Where it is installed; removed even where the test fails."""
    require.root()
    if Path("/etc/firsthand").exists() or Path("/opt/firsthand").exists():
        pytest.fail("Firsthand is installed on this machine: uninstall it before this test")
    place = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:8]}"
    place.mkdir(mode=0o755)
    yield place
    if (place / "opt/current").exists():
        _firsthand(apart, place, "uninstall", "--prefix", str(place / "opt"))
    shutil.rmtree(place)


def _make(apart: Apart, place: Path, word: str) -> str:
    environment = {**os.environ, "PREFIX": str(place / "opt"), "LINK": str(place / "bin/firsthand"), "DESTDIR": ""}
    command = [*apart.within, "make", "-C", str(_HERE), word]
    result = subprocess.run(command, cwd=_HERE, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def _firsthand(apart: Apart, place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = str(place / "opt/current/bin/firsthand")
    return subprocess.run([*apart.within, program, *words], capture_output=True, text=True, check=False, cwd="/")


@pytest.mark.budget(150, "an installation compiles, and makes an environment of Python's")
def test_the_machine_is_afterwards_what_it_was(apart: Apart, place: Path) -> None:
    """Files, mounts, users and groups before and after; the history stays until --purge; readiness is told to who started it."""
    before = _machine(apart)
    said = _make(apart, place, "install")
    assert "will write" in said
    assert _firsthand(apart, place, "--version").returncode == 0
    planned = _firsthand(apart, place, "uninstall", "--dry-run", "--prefix", str(place / "opt"))
    assert "would remove user firsthand-observer" in planned.stdout
    assert pwd.getpwnam("firsthand-observer").pw_shell.endswith("nologin")
    with TestCgroup() as cgroup:
        _ran(apart, place, cgroup)
    gone = _firsthand(apart, place, "uninstall", "--prefix", str(place / "opt"))
    assert gone.returncode == 0, gone.stdout + gone.stderr
    assert (place / "history/manifest.db").exists(), "a history is not the installation's"
    after = _machine(apart)
    new = {name: sorted(after[name] - before[name]) for name in before}
    lost = {name: sorted(before[name] - after[name]) for name in before}
    assert not any(new.values()), f"left behind: {new}"
    assert not any(lost.values()), f"taken along: {lost}"


def _ran(apart: Apart, place: Path, cgroup: TestCgroup) -> None:
    """Observe with what was installed, its users, and hear its readiness."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = f"\0firsthand-test-{uuid.uuid4().hex}"
        manager.bind(address)
        manager.settimeout(60)
        command = [
            *apart.within,
            str(place / "opt/current/bin/firsthand"),
            "run",
            "--quiet",
            "--history",
            str(place / "history"),
        ]
        command += ["--scope", str(cgroup.path), "--instance", f"test-{uuid.uuid4().hex[:8]}", "--runtime", "none"]
        run = subprocess.Popen(
            command, env={**os.environ, "NOTIFY_SOCKET": f"@{address[1:]}"}, stderr=subprocess.DEVNULL
        )
        while (told := manager.recv(100)).startswith(b"EXTEND_TIMEOUT_USEC="):
            pass  # it gets on
        assert told == b"READY=1"
        assert manager.recv(100) == b"WATCHDOG=1"
        assert (place / "history/log").stat().st_uid == pwd.getpwnam("firsthand-observer").pw_uid
        assert grp.getgrgid((place / "history").stat().st_gid).gr_name == "firsthand"
        cgroup.run(["/bin/true"]).wait()
        busy = _firsthand(apart, place, "uninstall", "--prefix", str(place / "opt"))
        assert busy.returncode == 1
        assert "is being read" in busy.stderr
        run.send_signal(signal.SIGTERM)
        assert run.wait() == 0
    counted = _firsthand(
        apart, place, "sql", "--history", str(place / "history"), "SELECT count(*) AS n FROM process", "-o", "csv"
    )
    assert int(counted.stdout.split()[1]) >= 2, counted.stderr


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    """systemd's own check of the unit, where there is systemd."""
    require.programs("systemd", "systemd-analyze")
    true = shutil.which("true") or "/bin/true"
    units = [tmp_path / name for name in ("firsthand.service", "firsthand-reader.socket", "firsthand-reader.service")]
    for unit in units:
        text = (_HERE / "deploy" / unit.name).read_text()
        for program in ("firsthand", "python"):
            text = text.replace(f"@PREFIX@/current/bin/{program}", true)
        unit.write_text(text)
    result = subprocess.run(
        ["systemd-analyze", "verify", *map(str, units)], capture_output=True, text=True, check=False
    )
    assert not any(str(unit) in result.stderr for unit in units), result.stderr
    assert result.returncode == 0, result.stderr
