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
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from firsthand.probe.hierarchy import Hierarchy, path_in
from firsthand.wire.batch import Batch, Fixed, Text
from firsthand.wire.decode import Decoder

#: Seconds within which every hook must have answered, and between two rounds.
PATIENCE, EVERY = 5.0, 60.0
#: Rounds whose answers are kept.
MOST_ROUNDS = 4
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
    """The observer's side: which hooks answered to each round. `parent` empty: there are no rounds.

    A round's rows may come before the supervisor's word of it: answers are kept for the last few cgroups there.
    """

    hierarchy: Hierarchy
    parent: str
    proven: set[str] = field(default_factory=set)
    dumb: set[str] = field(default_factory=set)
    _answers: OrderedDict[int, tuple[bytes, set[str]]] = field(default_factory=OrderedDict)
    _expected: dict[bytes, float] = field(default_factory=dict)

    @cached_property
    def _prefix(self) -> bytes:
        return f"{path_in(self.hierarchy, Path(self.parent))}/".encode() if self.parent else b""

    def expect(self, token: str, now: float) -> None:
        """A round with this name begins."""
        self._expected[token.encode()] = now + PATIENCE

    def look(self, batch: Batch, decoder: Decoder) -> None:
        """Take the answers that a batch holds."""
        if not self._prefix:
            return
        columns = cast("dict[str, Any]", batch.columns)
        ids = columns["cgroup_id"].values
        if batch.table == "container":
            self._find(columns["cgroup_path"], ids)
        if not self._answers:
            return
        event: Text = columns["event"]
        for row in np.flatnonzero(np.isin(ids, list(self._answers))).tolist():
            found = self._answers[int(ids[row])][1]
            found.add(_ANSWERS.get((batch.table, event.row(row)), ""))
            if batch.table == "process" and event.row(row) == b"exec" and not _unsure(columns["flags"], row, decoder):
                found.add("process_prepare")
            self.proven |= found - {""}

    def _find(self, paths: Text, ids: NDArray[Any]) -> None:
        for row in range(len(paths)):
            path = paths.row(row)
            if path.startswith(self._prefix):
                self._answers.setdefault(int(ids[row]), (path.removeprefix(self._prefix), set()))
        while len(self._answers) > MOST_ROUNDS:
            self._answers.popitem(last=False)

    def all_proven(self, attached: Iterable[str]) -> bool:
        """Whether every attached hook that can answer has answered since the start; True where there are no rounds."""
        return not self._prefix or set(HOOKS) & set(attached) <= self.proven

    def silent(self, now: float, attached: Iterable[str]) -> list[str]:
        """Hooks that are attached and did not answer in time; told once for each round."""
        found: set[str] = set()
        for token, until in list(self._expected.items()):
            answered = {hook for name, hooks in self._answers.values() if name == token for hook in hooks}
            self.dumb -= answered
            late = set(HOOKS) & set(attached) - answered
            if not late or now >= until:
                del self._expected[token]
                found |= late
        self.dumb |= found
        return sorted(found)

    def verdicts(self, attached: Iterable[str]) -> dict[str, str]:
        """What is to be said of attached hooks that no canary has proven."""
        found = dict.fromkeys(set(attached) & set(HOOKS) - self.proven, "attached: not proven yet")
        return found | dict.fromkeys(self.dumb, "missing: its canary does not answer")


def _unsure(flags: Fixed, row: int, decoder: Decoder) -> bool:
    return bool(int(flags.values[row]) & decoder.layout.enums["process_flag"]["GAIN_UNSURE"])
