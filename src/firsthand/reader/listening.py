"""The socket that the supervisor holds for the reader. It exists before the reader runs, and while the reader rests."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from firsthand.confine import wall
from firsthand.history.log.alive import beside
from firsthand.reader import place

#: Who may connect: root, and the history's group.
_MODE = 0o660
#: Clients that wait while the reader starts; some have closed their socket before it accepts.
_BACKLOG = 32


def listen(directory: Path) -> socket.socket:
    """Returns a listening socket for a history's clients, and makes the file for the reader's sign of life beside it. Raises OSError."""
    path = place.own(directory)
    own = wall.identity("reader", directory)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # of a supervisor that was killed: there is one alone for a history
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        before = os.umask(0o777)  # nobody connects before it is the group's
        try:
            found.bind(str(path))
        finally:
            os.umask(before)
        os.chown(path, -1, own.readers)
        path.chmod(_MODE)
        _make_sign(beside(path), own)
        found.listen(_BACKLOG)
    except OSError:
        remove(found)
        raise
    return found


def _make_sign(path: Path, own: wall.Identity) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o640)
    os.chown(path, own.uid, own.readers)


def remove(listening: socket.socket) -> None:
    """Closes a socket of `listen`, and removes its file and the sign of life."""
    path = Path(listening.getsockname() or os.devnull)
    listening.close()
    with contextlib.suppress(OSError):
        for one in (path, beside(path)):
            if one.parent == place.FOLDER:
                one.unlink(missing_ok=True)
