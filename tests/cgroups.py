"""Cgroups that a test makes for itself, in every hierarchy as runtimes do, and takes away again."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from firsthand.probe import hierarchy
from tests.processor import METER

#: Seconds after which a cgroup that does not get empty is a failure; nothing waits that long otherwise.
_PATIENCE = 10.0
ALL, UNIFIED = "all", "unified"


def roots(wanted: str = ALL) -> list[Path]:
    """Folders of the mounted hierarchies, the observer's choice first: `all`, `unified` (v2), or a v1 controller's."""
    found = hierarchy.here()
    if wanted != ALL:
        return [one.mount for one in found if (one.controller or UNIFIED) == wanted]
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounted = [Path(line.split()[4]) for line in lines if line.partition(" - ")[2].split()[0] in ("cgroup", "cgroup2")]
    return list(dict.fromkeys([*(one.mount for one in found), *mounted]))


class TestCgroup:
    """A uniquely named cgroup in `all` hierarchies together, or in one: `unified` or a v1 controller such as `memory`.

    `path` is its folder in the hierarchy that the observer chooses (the only one, where one is asked for), `folders` are
    all, `name` is the same in each, and `where` is its path there. It lies `within` another one, in the same hierarchies, or at the
    roots. Processes that `run` starts are in all of them from before their exec; at the end those
    that still live are killed, by pid, and the folders removed.
    """

    __test__ = False

    def __init__(self, wanted: str = ALL, within: TestCgroup | None = None) -> None:
        self.name = f"firsthand-test-{uuid.uuid4().hex[:12]}"
        self.where = f"{within.where if within else ''}/{self.name}"
        above = within.folders if within else [root for root in roots(wanted) if os.access(root, os.W_OK)]
        self.folders = [folder / self.name for folder in above]
        assert self.folders, f"no writable cgroup hierarchy for {wanted!r}"
        self.path = self.folders[0]
        self.children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> TestCgroup:
        for folder in self.folders:
            folder.mkdir()
            _inherit_cpuset(folder)
        METER.add(self.folders)
        return self

    def below(self, relative: str) -> Path:
        """Make a folder below, parents included, in all hierarchies; the one in the observer's choice is returned."""
        for folder in self.folders:
            for name in relative.strip("/").split("/"):
                folder = folder / name
                folder.mkdir(exist_ok=True)
                _inherit_cpuset(folder)
        return self.path / relative.strip("/")

    def run(self, argv: Sequence[str | bytes], user: int = 0, **options: Any) -> subprocess.Popen[bytes]:
        """Start a process inside, as this user and group; options as subprocess.Popen's."""
        files = [str(folder / "cgroup.procs") for folder in self.folders]

        def enter() -> None:
            for file in files:
                with open(file, "w") as procs:
                    procs.write("0")  # the writer itself (Documentation/admin-guide/cgroup-v1/cgroups.rst)
            if user:  # not by Popen's own option, which would come before the move
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)

        child: subprocess.Popen[bytes] = subprocess.Popen(argv, preexec_fn=enter, **options)
        self.children.append(child)
        return child

    def pids(self) -> list[int]:
        """Thread group leaders inside, those of cgroups below included."""
        return sorted({pid for folder in self.folders for pid in _inside(folder)})

    def kill(self) -> None:
        """End, by pid, every process inside; all of them came by `run`. Returns when none is left."""
        deadline = time.monotonic() + _PATIENCE
        while left := self.pids():  # again, as a process may fork between the look and the kill
            assert time.monotonic() < deadline, f"still in {self.path}: {left}"
            for pid in left:
                _end(pid)
        for child in self.children:
            child.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self.children:  # also those that left for another cgroup
            if child.poll() is None:
                child.kill()
            child.wait()
        METER.remove(self.folders)
        for folder in self.folders:
            remove(folder)


def _inherit_cpuset(folder: Path) -> None:
    """A v1 cpuset takes no process before it has processors and memory nodes; v2 inherits by itself."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = folder / name
        if file.exists() and not (folder / "cgroup.controllers").exists():
            file.write_text((folder.parent / name).read_text())


def _inside(folder: Path) -> Iterator[int]:
    for file in folder.rglob("cgroup.procs"):
        try:
            yield from map(int, file.read_text().split())
        except OSError:
            continue  # removed meanwhile (ENODEV)


def remove(folder: Path) -> None:
    """Kill by pid what is left in a cgroup that a test made, wait for its end, and remove it with all below it."""
    if not folder.exists():
        return
    for inner in [path for path in folder.iterdir() if path.is_dir()]:
        remove(inner)
    deadline = time.monotonic() + _PATIENCE
    while not _removed(folder):
        assert time.monotonic() < deadline, f"{folder} does not get empty"


def _removed(folder: Path) -> bool:
    """Try it. A task may count for its cgroup until it is switched out for the last time, later than its pidfd says: EBUSY."""
    for pid in (folder / "cgroup.procs").read_text().split():
        _end(int(pid))
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def _end(pid: int) -> None:
    """SIGKILL through a pidfd, so that no other process of a reused pid is hit, and wait for the exit."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [], _PATIENCE)
    except ProcessLookupError:
        return
    finally:
        os.close(handle)
