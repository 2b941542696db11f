"""Cgroups that a test makes for itself, in every hierarchy as runtimes do, and takes away again."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from firsthand.probe import hierarchy


def roots() -> list[Path]:
    """Every mounted cgroup hierarchy's folder, the observer's choice first."""
    chosen = [found.mount for found in hierarchy.here()]
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounted = [Path(line.split()[4]) for line in lines if line.partition(" - ")[2].split()[0] in ("cgroup", "cgroup2")]
    return list(dict.fromkeys([*chosen, *mounted]))


class TestCgroup:
    """A uniquely named cgroup; `path` is its folder in the hierarchy that the observer chooses. Processes that `run` starts
    are in it from before their exec; at the end those that still live are killed, by pid, and the folders removed."""

    __test__ = False

    def __init__(self) -> None:
        self.name = f"firsthand-test-{uuid.uuid4().hex[:12]}"
        self.folders = [root / self.name for root in roots() if os.access(root, os.W_OK)]
        self.path = self.folders[0]
        self.children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> TestCgroup:
        for folder in self.folders:
            folder.mkdir()
            _inherit_cpuset(folder)
        return self

    def run(self, argv: Sequence[str | bytes], user: int = 0, **options: Any) -> subprocess.Popen[bytes]:
        """Start a process inside, as this user and group; options as subprocess.Popen's."""

        def enter() -> None:
            (self.path / "cgroup.procs").write_text(str(os.getpid()))
            if user:  # not by Popen's own option, which would come before the move
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)

        child: subprocess.Popen[bytes] = subprocess.Popen(argv, preexec_fn=enter, **options)
        self.children.append(child)
        return child

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
        for folder in self.folders:
            remove(folder)


def _inherit_cpuset(folder: Path) -> None:
    """A v1 cpuset takes no process before it has processors and memory nodes."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = folder / name
        if file.exists() and "unified" not in str(folder):
            file.write_text((folder.parent / name).read_text())


def remove(folder: Path) -> None:
    """Kill by pid what is left in a cgroup that a test made, wait for its end, and remove it with all below it."""
    if not folder.exists():
        return
    for inner in [path for path in folder.iterdir() if path.is_dir()]:
        remove(inner)
    for pid in (folder / "cgroup.procs").read_text().split():
        _end(int(pid))
    folder.rmdir()


def _end(pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [], 10)
    finally:
        os.close(handle)
