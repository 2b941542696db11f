"""Attaching: what is attached only calls the program that stands in its own pinned array, and outlives whoever loaded it."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection, Sequence

from firsthand.probe import libbpf, pins, sweep, tracepoint
from firsthand.probe.hierarchy import open_version2
from firsthand.probe.loaded import AttachedProgram, Loaded
from firsthand.probe.programs import Programs
from firsthand.probe.shared import update
from firsthand.probe.spec import EXISTING, PLAIN, SWEEPS, SWEPT, Hook
from firsthand.probe.spec import shared as shared_maps

#: Beginnings of the names under which what belongs to a program is pinned (pins.py).
_PINNED = ("link", "spine", "entry", "iterator")


def attached(loaded: Loaded, hook: Hook, name: str) -> AttachedProgram | None:
    """What is attached for a program already, by its pins."""
    if hook in (*EXISTING, *SWEEPS):
        iterator = pins.open_pin(loaded.folder / f"iterator_{name}")
        return None if iterator is None else AttachedProgram(hook, name, -1, iterator)
    link = pins.open_pin(loaded.folder / f"link_{name}")
    if link is None:
        return None
    fd = pins.open_pin(loaded.folder / f"spine_{name}")
    if fd is not None and (loaded.folder / f"entry_{name}").exists():
        return AttachedProgram(hook, name, fd, link)
    for descriptor in (link, fd):
        if descriptor is not None:
            os.close(descriptor)
    return None


def is_attached(loaded: Loaded, name: str) -> bool:
    """Whether something is attached for a program."""
    return (loaded.folder / f"link_{name}").exists()


def retire(loaded: Loaded, names: Collection[str]) -> None:
    """Detach other ways of a hook that is attached now: two would record each event twice."""
    for name in names:
        for word in ("link", "spine", "entry"):
            (loaded.folder / f"{word}_{name}").unlink(missing_ok=True)
        for path in loaded.folder.glob(f"link_{name}_[0-9]*"):
            path.unlink(missing_ok=True)


def retire_strays(loaded: Loaded, wanted: Sequence[Hook]) -> None:
    """Detach hooks that an observer before had and that are not `wanted`: another version's, or by other settings; and unpin its other
    maps."""
    hooks = (*wanted, *SWEEPS)
    ours = {f"{word}_{name}" for hook in hooks for name in hook.programs for word in _PINNED} | set(shared_maps())
    several = (
        f"link_{PLAIN.name}",
        *(f"link_{name}_" for hook in wanted for name in (*hook.at_tracepoints, *hook.at_functions)),
    )
    for path in loaded.folder.iterdir():
        if path.name not in ours and not path.name.startswith(several):
            path.unlink(missing_ok=True)


def iterator(loaded: Loaded, hook: Hook, name: str, program: int) -> AttachedProgram:
    """The pinned link of an iterator over tasks, or over the map that a sweep goes through."""
    if hook in SWEEPS:
        link = sweep.attach(program, loaded.maps[SWEPT[name]])
    else:
        fd, link = link_of(program)
        os.close(fd)
    pins.pin(link, loaded.folder / f"iterator_{name}")
    return AttachedProgram(hook, name, -1, link)


def spine(loaded: Loaded, programs: Programs, hook: Hook, name: str) -> AttachedProgram:
    """Attach the program that calls this one, and pin it; its array is filled first, so that no event finds it empty."""
    caller, entry = programs.spine(hook, name)
    pins.pin(entry, loaded.folder / f"entry_{name}")
    enter(loaded, name, programs.load(hook, name))
    if places := hook.at_tracepoints.get(name):
        fd, link = _links(loaded, name, caller, places)
    else:
        fd, link = link_of(caller, at_cgroup=name in hook.at_cgroup)
    for number, further in enumerate(programs.further(name) if name in hook.at_functions else ()):
        other, further_link = link_of(further)
        pins.pin(further_link, loaded.folder / f"link_{name}_{number}")
        os.close(other)
        os.close(further_link)
    pins.pin(fd, loaded.folder / f"spine_{name}")
    pins.pin(link, loaded.folder / f"link_{name}")
    return AttachedProgram(hook, name, fd, link)


def enter(loaded: Loaded, name: str, program: int) -> None:
    """Put a program into the array that the attached one calls through, in the place of what is there."""
    entry = pins.open_pin(loaded.folder / f"entry_{name}")
    assert entry is not None
    try:
        update(entry, struct.pack("<I", 0), struct.pack("<I", libbpf.call("bpf_program__fd", program)))
    finally:
        os.close(entry)


def _links(loaded: Loaded, name: str, program: int, places: Sequence[str]) -> tuple[int, int]:
    """As link_of, at each of these tracepoints: all but the last link are pinned here, and the last one stands for all."""
    fd = os.dup(libbpf.call("bpf_program__fd", program))
    *others, last = tracepoint.attach(fd, places)
    for number, link in enumerate(others):
        pins.pin(link, loaded.folder / f"link_{name}_{number}")
        os.close(link)
    return fd, last


def link_of(program: int, *, at_cgroup: bool = False) -> tuple[int, int]:
    """Descriptors of our own of a program and of its new link."""
    link = _link_at_cgroup(program) if at_cgroup else libbpf.pointer("bpf_program__attach", program)
    try:
        return os.dup(libbpf.call("bpf_program__fd", program)), os.dup(libbpf.call("bpf_link__fd", link))
    finally:
        libbpf.library().bpf_link__destroy(link)


def _link_at_cgroup(program: int) -> int:
    """At the root of cgroup v2, which every socket of the machine belongs to. OSError where that is not in sight."""
    folder = open_version2()
    try:
        return libbpf.pointer("bpf_program__attach_cgroup", program, folder)
    finally:
        os.close(folder)
