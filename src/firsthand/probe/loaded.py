"""What is in the kernel for one observer: maps, programs, links, and what this kernel refused."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from firsthand.probe import pins, sweep
from firsthand.probe.pins import Control
from firsthand.probe.spec import EXISTING, HOOKS, PLAIN, Hook

#: Rings by number, and the maps that carry them (enum ring_number of kernel/include/maps.h).
RINGS = ("ring", "urgent")
#: What is translated on a machine is told in the machine's network namespace alone.
NETWORK = "what services' addresses were translated to on the machine"


@dataclass
class AttachedProgram:
    """One attached program: its hook, name, the descriptor of what is attached, and its link's."""

    hook: Hook
    name: str
    fd: int
    link: int


@dataclass
class Loaded:
    """What is in the kernel now. `missing` maps hooks to the reason why this kernel refused them.

    `taken_over`: the rings were there before, with what they hold; `interrupted` names the hooks that were not attached to them
    meanwhile (the reader before may not have had them), or `scopes` where a scope was not in force. `written` and `scopes` are what the
    loader wrote to the maps `control` and `scopes`. `previous` is what had to be replaced, detached: its rings are to be emptied. `folding`:
    equal short processes or connections fold, by `sweeps`; `refused` says why they do not, where that was asked for. `unswept`: the sweeps
    are to be run until all is written that a reader before withheld. `unheard`: why the machine's translations are not heard, where they are
    wanted.
    """

    folder: Path
    lock: int
    maps: dict[str, int] = field(default_factory=dict)
    programs: list[AttachedProgram] = field(default_factory=list)
    sweeps: list[AttachedProgram] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    taken_over: bool = False
    interrupted: list[str] = field(default_factory=list)
    unattended: bool = False
    folding: bool = False
    refused: str = ""
    unswept: bool = False
    previous: Loaded | None = None
    translations: list[int] = field(default_factory=list)
    unheard: str = ""
    written: Control | None = None
    scopes: list[int] = field(default_factory=list)

    @property
    def sweeper(self) -> sweep.Sweeper:
        """What runs the sweeps."""
        return sweep.Sweeper(self.maps, [(program.name, program.link) for program in self.sweeps])

    @property
    def control(self) -> Control:
        """As it is in the kernel now."""
        return Control.read(self.maps["control"])

    def size(self, ring: str) -> int:
        """Bytes of a ring's data."""
        return pins.info(self.maps[ring]).max_entries

    def hooks(self) -> dict[str, str]:
        """Each hook and `present` (with the program, where there was a choice) or `missing: why`."""
        present = {p.hook.name: f"present: {p.name}" if len(p.hook.programs) > 1 else "present" for p in self.programs}
        if self.folding:
            present |= {program.hook.name: "present" for program in self.sweeps}
        return present | {name: f"missing: {why}" for name, why in self.missing.items()}

    def blind_spots(self, dumb: Collection[str] = ()) -> list[str]:
        """What the missing hooks, and those that do not answer, would have seen."""
        hooks = (*HOOKS, *EXISTING, PLAIN)
        found = [hook.blind_spot for hook in hooks if hook.name in self.missing or hook.name in dumb]
        return [*found, NETWORK] if self.unheard else found

    def detach(self) -> None:
        """Detach every program; the rings keep what they hold. Who may not unpin has this done by who may, before."""
        with contextlib.suppress(PermissionError, FileNotFoundError):
            pins.unpin(self.folder, "link_")
        self._let_go()

    def _let_go(self) -> None:
        for program in self.programs:
            if program.link >= 0:
                os.close(program.link)
                program.link = -1

    def forget(self) -> None:
        """Close the descriptors; what is pinned goes on. May be called twice."""
        self._let_go()
        sweeps = (program.link for program in self.sweeps)
        programs = (program.fd for program in self.programs)
        for fd in (*self.maps.values(), *programs, *sweeps, self.lock, *self.translations):
            if fd >= 0:
                os.close(fd)
        self.maps, self.programs, self.sweeps, self.lock, self.translations = {}, [], [], -1, []

    def close(self) -> None:
        """Detach, unpin and forget everything. May be called twice."""
        if self.lock < 0:
            return
        self.detach()
        with contextlib.suppress(PermissionError, FileNotFoundError):
            pins.unpin(self.folder)
            self.folder.rmdir()
        self.forget()
