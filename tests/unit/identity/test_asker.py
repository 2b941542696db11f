"""identity/asker.py: a socket that cannot be looked at is a message."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from firsthand.identity.asker import Asker, NoAnswer

NOBODY = 65534


@contextmanager
def _ordinary() -> Iterator[None]:
    """As a user to whom a folder can be closed."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_closed_folder_is_a_message(tmp_path: Path) -> None:
    """Once, with the socket and what to do; it is looked at again, and an open folder without a socket is none."""
    out: queue.SimpleQueue[Any] = queue.SimpleQueue()
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    asker = Asker(str(closed / "containerd.sock"), out)
    with _ordinary():
        asker._connect()
        asker._connect()
    gone = out.get_nowait()
    assert (
        isinstance(gone, NoAnswer) and "Permission denied" in gone.why and str(asker.path) in gone.why and out.empty()
    )
    closed.chmod(0o700)
    asker._connect()
    assert out.empty()
