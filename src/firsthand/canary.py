"""Canaries (law 6): events that Firsthand causes itself and that must come back through the rings, by each hook.

The supervisor makes a cgroup below one of its own, moves a child there, which forks a grandchild that executes a program, and
removes the cgroup again; before, it tells the observer the cgroup's name. A hook that did not answer in time is a blind spot. The
rows are kept as any other: nothing that happens is left out of the record by a name.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from firsthand.probe.hierarchy import Hierarchy, path_in
from firsthand.wire.batch import Batch, Fixed, Text
from firsthand.wire.decode import Decoder

#: Seconds within which every hook must have answered, and between two rounds.
PATIENCE, EVERY = 5.0, 60.0
#: Hooks that answer to a round, by table and event; process_prepare answers by what the exec knows of before.
_ANSWERS = {
    ("container", b"create"): "cgroup_create",
    ("container", b"move"): "cgroup_move",
    ("container", b"remove"): "cgroup_remove",
    ("process", b"fork"): "process_fork",
    ("process", b"exec"): "process_exec",
    ("process", b"exit"): "process_exit",
}
HOOKS = (*_ANSWERS.values(), "process_prepare")


def folder_of(mount: Path, instance: str) -> Path:
    """The cgroup below which the rounds of an instance have theirs."""
    return mount / f"firsthand-canary-{instance}"


def new_token() -> str:
    """The name of one round's cgroup."""
    return secrets.token_hex(8)


def cause(parent: Path, token: str) -> None:
    """One round. OSError where cgroups cannot be made there; what was made is removed again."""
    folder = parent / token
    folder.mkdir()
    try:
        child = os.fork()
        if not child:
            _child(folder)
        os.waitpid(child, 0)
    finally:
        folder.rmdir()


def _child(folder: Path) -> None:
    """In the child: into the cgroup, and a grandchild that executes something small."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        with (folder / "cgroup.procs").open("w") as procs:
            procs.write("0")
        grandchild = os.fork()
        if not grandchild:
            for program in ("/bin/true", "/usr/bin/true"):
                with contextlib.suppress(OSError):
                    os.execv(program, ["firsthand-canary", folder.name])
            os._exit(1)
        os.waitpid(grandchild, 0)
    finally:
        os._exit(0)


@dataclass
class Canaries:
    """The observer's side: which hooks answered to the round that is under way. `parent` empty: there are no rounds."""

    hierarchy: Hierarchy
    parent: str
    proven: set[str] = field(default_factory=set)
    dumb: set[str] = field(default_factory=set)
    _name: bytes = b""
    _cgroup: int = -1
    _open: set[str] = field(default_factory=set)
    _until: float = 0.0

    def expect(self, token: str, now: float) -> None:
        """A round with this name begins."""
        self._name = f"{path_in(self.hierarchy, Path(self.parent))}/{token}".encode()
        self._cgroup, self._open, self._until = -1, set(HOOKS), now + PATIENCE

    def look(self, batch: Batch, decoder: Decoder) -> None:
        """Take the answers that a batch holds."""
        if not self._open:
            return
        columns = cast("dict[str, Any]", batch.columns)
        if batch.table == "container":
            self._find(columns["cgroup_path"], columns["cgroup_id"])
        if self._cgroup < 0:
            return
        event: Text = columns["event"]
        for row in np.flatnonzero(columns["cgroup_id"].values == self._cgroup).tolist():
            self._answered(_ANSWERS.get((batch.table, event.row(row))))
            if batch.table == "process" and event.row(row) == b"exec":
                unsure = decoder.layout.enums["process_flag"]["GAIN_UNSURE"]
                if not int(columns["flags"].values[row]) & unsure:
                    self._answered("process_prepare")

    def _find(self, paths: Text, ids: Fixed) -> None:
        for row in range(len(paths)):
            if paths.row(row) == self._name:
                self._cgroup = int(ids.values[row])

    def _answered(self, hook: str | None) -> None:
        if hook:
            self._open.discard(hook)
            self.proven.add(hook)
            self.dumb.discard(hook)

    def silent(self, now: float, attached: Iterable[str]) -> list[str]:
        """Hooks that are attached and did not answer in time; told once for each round."""
        if not self._open or now < self._until:
            return []
        found = sorted(self._open & set(attached))
        self._open = set()
        self.dumb |= set(found)
        return found

    def verdicts(self, attached: Iterable[str]) -> dict[str, str]:
        """What is to be said of attached hooks that no canary has proven."""
        found = dict.fromkeys(set(attached) & set(HOOKS) - self.proven, "attached: not proven yet")
        return found | dict.fromkeys(self.dumb, "missing: its canary does not answer")
