"""From the loader to the observer: descriptors through a socket, and what they are; and the iterators, which are read once."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path

from firsthand.errors import ProbeError
from firsthand.probe import libbpf
from firsthand.probe.loaded import AttachedProgram, Loaded
from firsthand.probe.pins import Control
from firsthand.probe.spec import EXISTING, HOOKS, PLAIN, SWEEPS

#: Records that one read of an iterator may send: 64 of at most 28 KiB fit into a quarter of the default ring.
PORTION = 64
#: Descriptors in one message (SCM_MAX_FD of include/net/scm.h is 253) and its text.
_MOST_FDS, _MOST_TEXT = 250, 1 << 17


def read_existing(loaded: Loaded) -> Iterator[None]:
    """Run the iterators: the host's namespaces, then one record for each process that runs already.

    Yields after at most PORTION records, so that the caller can make room in the ring, which holds more than that.
    """
    for program in loaded.programs:
        if program.hook in EXISTING:
            with os.fdopen(_iterator(program), "rb", buffering=0) as stream:
                while stream.read(PORTION):
                    yield


def _iterator(program: AttachedProgram) -> int:
    """A run of an iterator; what a loader hands over is one already, and runs once."""
    try:
        return libbpf.call("bpf_iter_create", program.link)
    except OSError:
        return os.dup(program.link)


def hand_over(loaded: Loaded, to: socket.socket) -> None:
    """Send everything to the reader, which needs no capability for it: descriptors, and what they are."""
    fds: list[int] = []
    text = json.dumps(_described(loaded, fds)).encode()
    socket.send_fds(to, [text], fds)


def _described(loaded: Loaded, fds: list[int]) -> dict[str, object]:
    def place(fd: int) -> int:
        if fd < 0:
            return -1
        fds.append(fd)
        return len(fds) - 1

    programs = []
    for program in loaded.programs:
        if program.hook in EXISTING:  # only a loader may begin an iterator, anyone may read it
            programs.append((program.hook.name, program.name, -1, place(_iterator(program))))
        else:
            programs.append((program.hook.name, program.name, place(program.fd), place(program.link)))
    return {
        "folder": str(loaded.folder),
        "lock": place(loaded.lock),
        "maps": {word: place(fd) for word, fd in loaded.maps.items()},
        "programs": programs,
        "sweeps": [(program.name, place(program.link)) for program in loaded.sweeps],
        "missing": loaded.missing,
        "notes": loaded.notes,
        "taken_over": loaded.taken_over,
        "interrupted": loaded.interrupted,
        "unattended": loaded.unattended,
        "translations": [place(fd) for fd in loaded.translations],
        "folding": loaded.folding,
        "refused": loaded.refused,
        "unswept": loaded.unswept,
        "unheard": loaded.unheard,
        "written": astuple(loaded.written) if loaded.written else None,
        "scopes": loaded.scopes,
        "previous": _described(loaded.previous, fds) if loaded.previous else None,
    }


def receive(source: socket.socket) -> Loaded:
    """What a loader handed over. ProbeError with its words where it failed."""
    text, fds, _, _ = socket.recv_fds(source, _MOST_TEXT, _MOST_FDS)
    if not text:
        raise ProbeError("the loader ended without handing anything over; see its message above")
    return _restored(json.loads(text), fds)


def _restored(raw: dict[str, object], fds: list[int]) -> Loaded:
    hooks = {hook.name: hook for hook in (*HOOKS, *EXISTING, *SWEEPS, PLAIN)}

    def at(number: int) -> int:
        return fds[number] if number >= 0 else -1

    found = Loaded(Path(str(raw["folder"])), at(raw["lock"]))  # type: ignore[arg-type]
    found.maps = {word: at(number) for word, number in raw["maps"].items()}  # type: ignore[attr-defined]
    found.programs = [AttachedProgram(hooks[hook], name, at(fd), at(link)) for hook, name, fd, link in raw["programs"]]  # type: ignore[attr-defined]
    found.sweeps = [AttachedProgram(hooks[name], name, -1, at(link)) for name, link in raw["sweeps"]]  # type: ignore[attr-defined]
    found.folding, found.refused, found.unswept = bool(raw["folding"]), str(raw["refused"]), bool(raw["unswept"])
    found.missing, found.notes = raw["missing"], raw["notes"]  # type: ignore[assignment]
    found.taken_over, found.unattended = bool(raw["taken_over"]), bool(raw["unattended"])
    found.translations = [at(number) for number in raw["translations"]]  # type: ignore[attr-defined]
    found.unheard = str(raw["unheard"])
    written = raw["written"]
    found.written = Control(*written) if written else None  # type: ignore[misc]
    found.scopes = raw["scopes"]  # type: ignore[assignment]
    found.interrupted = raw["interrupted"]  # type: ignore[assignment]
    previous = raw["previous"]
    found.previous = _restored(previous, fds) if previous else None  # type: ignore[arg-type]
    return found
