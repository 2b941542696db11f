"""Processor seconds of a test process and of all that it starts, whoever waits for it.

By a cgroup where this user may make one, since daemons that leave their parent, and what still runs, count too; else by
getrusage(2), which knows children only once they have been waited for. Sources: Documentation/admin-guide/cgroup-v1/cpuacct.rst,
Documentation/admin-guide/cgroup-v2.rst (cpu.stat); both are sums over the cgroups below.
"""

from __future__ import annotations

import contextlib
import os
import resource
import uuid
from collections.abc import Sequence
from pathlib import Path

from firsthand.errors import NotSupportedError
from firsthand.probe import hierarchy

_USAGE = "cpuacct.usage"
_STAT = "cpu.stat"


def used(folder: Path) -> float:
    """Seconds that a cgroup and those below it have used. OSError where the cgroup is gone or counts none."""
    if (folder / _USAGE).exists():
        return int((folder / _USAGE).read_text()) / 1e9
    fields = dict(line.split() for line in (folder / _STAT).read_text().splitlines())
    return int(fields["usage_usec"]) / 1e6


class Meter:
    """Counts from `begin` to `end`; `seconds` may be asked at any time between. Cgroups elsewhere can be added and taken away."""

    def __init__(self) -> None:
        self.own: Path | None = None
        self._before: list[Path] = []
        self._elsewhere: dict[Path, float] = {}
        self._gone = 0.0

    def begin(self) -> None:
        """Move this process into a cgroup of its own, if that can be had; processes that it starts follow."""
        base = _base()
        if base is None:
            return
        folder = base / f"firsthand-test-meter-{uuid.uuid4().hex[:8]}"
        try:
            folder.mkdir()
            _enter(folder)
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
            return
        self.own, self._before = folder, [base]

    def end(self) -> None:
        """Go back to where this process was. What it leaves running keeps the cgroup; an empty one is removed."""
        for base in self._before:
            _enter(base)
        if self.own is not None:
            with contextlib.suppress(OSError):
                self.own.rmdir()
        self.own = None

    def seconds(self) -> float:
        """What was used so far."""
        if self.own is None:
            return sum(_rusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return used(self.own) + self._gone + sum(map(self._since, self._elsewhere))

    def add(self, folders: Sequence[Path]) -> None:
        """Count a cgroup too that lies elsewhere: of its folders, one for each hierarchy, the one that counts processor time."""
        for folder in folders:
            if self.own is not None and folder.parent == _mount(self.own):
                self._elsewhere[folder] = used(folder)

    def remove(self, folders: Sequence[Path]) -> None:
        """It is to be removed; what it used stays counted."""
        for folder in folders:
            if folder in self._elsewhere:
                self._gone += self._since(folder)
                del self._elsewhere[folder]

    def _since(self, folder: Path) -> float:
        return used(folder) - self._elsewhere[folder]


#: Of this process; the plugin tests/budget.py begins and ends it.
METER = Meter()


def _rusage(whose: int) -> float:
    found = resource.getrusage(whose)
    return found.ru_utime + found.ru_stime


def _counting() -> hierarchy.Hierarchy | None:
    """The hierarchy that counts: v1's cpuacct, else v2; None where neither is mounted."""
    try:
        found = {one.controller: one for one in hierarchy.here()}
    except (NotSupportedError, OSError):
        return None
    for one in found.values():
        if (one.mount / _USAGE).exists():
            return one
    return found.get("")


def _base() -> Path | None:
    """The cgroup of this process in that hierarchy."""
    chosen = _counting()
    if chosen is None or os.geteuid() != 0:
        return None
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, _, path = line.split(":", 2)
        if int(number) == chosen.number:
            own = chosen.mount / path.strip("/")
            return own if own.exists() else chosen.mount
    return None


def _mount(folder: Path) -> Path | None:
    """The mount point of the hierarchy that a folder belongs to."""
    return next((one.mount for one in hierarchy.here() if folder.is_relative_to(one.mount)), None)


def _enter(folder: Path) -> None:
    (folder / "cgroup.procs").write_text("0")
