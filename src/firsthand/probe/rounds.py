"""Rounds of the canary, as the supervisor causes them: a cgroup of the round's name, a child that is moved into it and does there what each
subject declares; then the cgroup is removed again.

What the observer makes of a round's events is in observe/canaries.py. Nothing here needs NumPy: the supervisor starts without it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
from pathlib import Path

from firsthand.host import machine
from firsthand.probe.hierarchy import Hierarchy, own
from firsthand.subjects.registry import SUBJECTS

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
    """In the child: into the cgroup, and there what each subject asks for."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        with (folder / "cgroup.procs").open("w") as procs:
            procs.write("0")
        for subject in SUBJECTS:
            if subject.canary is not None and subject.canary.cause is not None:
                with contextlib.suppress(OSError):
                    subject.canary.cause(folder.name)
    finally:
        os._exit(0)
