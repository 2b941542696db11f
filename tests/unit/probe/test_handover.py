"""What a loader hands to the observer, through a real socket: descriptors, and what they are."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from firsthand.errors import ProbeError
from firsthand.probe import handover
from firsthand.probe.loaded import AttachedProgram, Loaded
from firsthand.probe.pins import Control
from firsthand.probe.spec import HOOKS, PLAIN, SWEEPS, shared


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    """As the supervisor makes it."""
    with ExitStack() as stack:
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        yield stack.enter_context(one), stack.enter_context(other)


class Files:
    """Descriptors of files of their own, each told by its inode."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, 0

    def __call__(self) -> int:
        self.number += 1
        return os.open(self.folder / str(self.number), os.O_CREAT | os.O_RDWR, 0o600)


def _loaded(folder: Path, new: Files) -> Loaded:
    """One kernel side with everything in it, as large as there can be."""
    made = Loaded(folder, new(), maps={word: new() for word in shared()})
    made.programs = [AttachedProgram(hook, name, new(), new()) for hook in HOOKS for name in hook.programs]
    made.programs.append(AttachedProgram(PLAIN, PLAIN.name, new(), -1))
    made.sweeps = [AttachedProgram(hook, hook.name, -1, new()) for hook in SWEEPS]
    made.missing, made.notes, made.interrupted = {"process_exec": "refused"}, ["a note"], ["process_fork"]
    made.taken_over = made.unattended = made.folding = made.unswept = True
    made.written, made.scopes = Control(1, 2, 3, 1 << 63), [1, 1 << 63]
    made.refused, made.unheard, made.translations = "why", "nothing is heard", [new(), new()]
    return made


def _told(loaded: Loaded) -> object:
    """Everything in it, with inodes for descriptors."""

    def inode(fd: int) -> int:
        return os.fstat(fd).st_ino if fd >= 0 else -1

    programs = [(one.hook.name, one.name, inode(one.fd), inode(one.link)) for one in (*loaded.programs, *loaded.sweeps)]
    words = {
        name: value for name, value in vars(loaded).items() if isinstance(value, bool | str | dict) and name != "maps"
    }
    return (
        loaded.folder,
        inode(loaded.lock),
        {word: inode(fd) for word, fd in loaded.maps.items()},
        programs,
        words,
        loaded.notes,
        loaded.interrupted,
        loaded.written,
        loaded.scopes,
        [inode(fd) for fd in loaded.translations],
        _told(loaded.previous) if loaded.previous else None,
    )


def test_everything_arrives(tmp_path: Path, line: tuple[socket.socket, socket.socket]) -> None:
    """Each descriptor in its place, also of what had to be replaced; more than one message may hold would fail here."""
    new = Files(tmp_path)
    loaded = _loaded(tmp_path, new)
    loaded.previous = Loaded(
        tmp_path, -1, maps={"ring": new()}, programs=[AttachedProgram(HOOKS[0], "cgroup_create", new(), -1)]
    )
    before = _told(loaded)
    handover.hand_over(loaded, line[0])
    arrived = handover.receive(line[1])
    assert _told(arrived) == before
    for one in (loaded, arrived):
        assert one.previous is not None
        one.previous.forget()
        one.forget()


def test_a_loader_that_ended(line: tuple[socket.socket, socket.socket]) -> None:
    """Without a word: its own message stands above."""
    line[0].close()
    with pytest.raises(ProbeError, match="without handing anything over"):
        handover.receive(line[1])
