"""What a long question does beside answering: it spills to a bounded folder where memory is not enough, and shows how far it is.

The folder is the caller's own (0700) below $TMPDIR or /var/tmp, and goes with the connection; one that a killed command left goes with the
next command of the same user.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

#: The most bytes on disk of one command.
BOUND = 4 << 30
_PREFIX = "firsthand-spill-"
#: Seconds after which a line is shown on a terminal, and between two looks.
_SHOWN, _EVERY = 1.0, 0.25


def place() -> Path:
    """Where folders are made: on a disk, which /tmp may not be."""
    return Path(os.environ.get("TMPDIR") or "/var/tmp")


class Spill:
    """A folder for what does not fit into memory. `most`: the largest that it was at any look."""

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or place()
        self.path: Path | None = None
        self.most = 0
        with contextlib.suppress(OSError):  # read-only, full: then there is memory alone
            remove_left(parent)
            path = parent / f"{_PREFIX}{os.getpid()}-{os.urandom(8).hex()}"
            path.mkdir(0o700)
            self.path = path

    def look(self) -> int:
        """How many bytes are in it now."""
        size = 0
        if self.path is not None:
            with contextlib.suppress(OSError):
                size = sum(entry.stat().st_size for entry in os.scandir(self.path))
        self.most = max(self.most, size)
        return size

    def remove(self) -> None:
        """Remove it."""
        if self.path is not None:
            shutil.rmtree(self.path, ignore_errors=True)


def remove_left(parent: Path) -> None:
    """Folders of this user's commands that no longer run."""
    for path in parent.glob(f"{_PREFIX}*"):
        number = path.name.removeprefix(_PREFIX).split("-")[0]
        with contextlib.suppress(OSError):
            gone = number.isdigit() and not Path(f"/proc/{number}").exists()
            if gone and path.lstat().st_uid == os.geteuid() and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)


class Effort:
    """Shows on a terminal what goes on, from a second on, and takes note of what was spilled. As a context; the line is gone behind it."""

    def __init__(self, out: TextIO | None) -> None:
        self._out = out if out is not None and out.isatty() else None
        self._began = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="effort", daemon=True)
        self._reader: tuple[Any, Spill] | None = None
        self.spilled = 0

    def of(self, connection: Any, spill: Spill) -> None:
        """Watch a connection."""
        self._reader = (connection, spill)

    def _watch(self) -> None:
        shown = False
        while not self._end.wait(_EVERY if time.monotonic() - self._began > _SHOWN else _SHOWN):
            line = self._line()
            if line:
                self.show(line)
                shown = True
        if shown:
            self.show("")

    def show(self, line: str) -> None:
        """Put a line in the place of the one before."""
        if self._out is not None:
            self._out.write(f"\r{line}\x1b[K")
            self._out.flush()

    def _line(self) -> str:
        if self._reader is None:
            return ""
        connection, spill = self._reader
        size = spill.look()
        self.spilled = max(self.spilled, spill.most)
        try:
            done = connection.query_progress()
        except Exception:
            done = -1.0
        said = f"firsthand: {time.monotonic() - self._began:.0f} s"
        said += f", {done:.0f}% of this step read" if done > 0 else ""
        return said + (f", {size / 1e6:,.0f} MB spilled to disk (at most {BOUND / 1e9:,.1f} GB)" if size else "")

    def __enter__(self) -> Effort:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()
