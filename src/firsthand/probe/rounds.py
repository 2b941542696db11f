"""Rounds of the canary, as the supervisor causes them: a cgroup of the round's name, a child that is moved into it, which talks to
itself over loopback and a unix socket and forks a grandchild that executes a program; then the cgroup is removed again.

What the observer makes of a round's events is in observe/canaries.py. Nothing here needs NumPy: the supervisor starts without it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import socket
from pathlib import Path

from firsthand.host import machine
from firsthand.probe.hierarchy import Hierarchy, own

#: Rounds whose answers are kept.
MOST_ROUNDS = 16


def make(hierarchy: Hierarchy, instance: str) -> Path:
    """The cgroup below which the rounds of an instance have theirs, made where it may be. OSError, the last, where nowhere.

    Below the hierarchy's root, where whoever ends leaves it empty; else, with fewer rights than all of root's (the root's mode is 0555),
    below our own. In a cgroup namespace only there: it may be a border of delegation, which no process crosses (cgroups(7), nsdelegate).
    """
    parents = [hierarchy.mount] if machine.first("cgroup") or hierarchy.number else []
    refused: OSError | None = None
    for parent in [*parents, *filter(None, [own(hierarchy)])]:
        folder = parent / f"firsthand-canary-{instance}"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            refused = error
        else:
            return folder
    raise refused or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(hierarchy.mount))


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
        _talk(folder.name)
        grandchild = os.fork()
        if not grandchild:
            for program in ("/bin/true", "/usr/bin/true"):
                with contextlib.suppress(OSError):
                    os.execv(program, ["firsthand-canary", folder.name])
            os._exit(1)
        os.waitpid(grandchild, 0)
    finally:
        os._exit(0)


def _talk(token: str) -> None:
    """To ourselves: a TCP connection, a datagram, a connect to a unix socket. What cannot be had here does not answer."""
    with (
        contextlib.suppress(OSError),
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as one,
        listener.accept()[0] as other,
    ):
        one.sendall(b".")
        other.recv(1)
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.connect(one.getsockname())
        one.send(b".")
        one.recv(1)
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as one:
        listener.bind(f"\0firsthand-canary-{token}")
        listener.listen()
        one.connect(listener.getsockname())
