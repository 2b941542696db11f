"""A file of lines: every record once, whenever the process is killed.

The cursor holds how long the file was at the last commit; what stands behind is cut off at the next start, and exported again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from firsthand.errors import ExportError
from firsthand.export.output import State
from firsthand.export.rotation import Rotation
from firsthand.history import place


class Appended:
    """A file that lines are appended to, rotated by size and age. `clock`: seconds since 1970."""

    def __init__(self, path: Path, rotation: Rotation, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.rotation = rotation
        self._clock = clock
        self._file = -1
        self._owed = False

    def open(self, state: State) -> None:
        """Open for appending, cut to what the cursor knows of. ExportError where another program has written to it."""
        try:
            if "length" not in state:
                self._begin(state)
            elif self._resume(state):
                self._owed = True  # what was put aside is packed once the cursor knows of it
                return
            self.rotation.tidy(self.path)
        except OSError as error:
            raise self._failed(error) from error

    def put(self, lines: Sequence[bytes], state: State) -> None:
        """Append and fsync. ExportError where that cannot be done: the next start takes back what stands there."""
        data = memoryview(b"".join(lines))
        state["length"] += data.nbytes
        try:
            while data.nbytes:
                data = data[os.write(self._file, data) :]
            os.fsync(self._file)
        except OSError as error:
            raise self._failed(error) from error

    def settle(self, state: State, save: Callable[[], None]) -> bool:
        """Rotate where it is time, and pack what a killed run had put aside."""
        if self._owed:
            self._pack_owed(save)
        if state["length"] and self.rotation.due(state["length"], self._clock() - state["begun"]):
            try:
                self._rotate(state, save)
            except OSError as error:
                raise self._failed(error) from error
        return True

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _begin(self, state: State) -> None:
        """A cursor's first file: what stands in it already stays."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state["rotated"] = max(self.rotation.numbers(self.path), default=0)
        self._open(state)

    def _open(self, state: State) -> None:
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        place.sync(self.path.parent)
        found = os.fstat(self._file)
        state |= {"inode": found.st_ino, "length": found.st_size, "begun": self._clock()}

    def _resume(self, state: State) -> bool:
        """Go on where the cursor stands; True where a rotation was put right that the cursor does not know of yet."""
        moved = self.rotation.path(self.path, state["rotated"] + 1)
        if moved.exists() and moved.stat().st_ino == state["inode"]:  # killed between a rotation and its commit
            state["rotated"] += 1
            self._open(state)
            return True
        if not self.path.exists():  # somebody took it away: what was in it is theirs now
            self._open(state)
            return False
        found = self.path.stat()
        if found.st_ino != state["inode"] or found.st_size < state["length"]:
            raise ExportError(
                f"{self.path}: expected the file of this cursor with at least {state['length']} bytes, found another one of "
                f"{found.st_size}: another program wrote here; name another file with --to, or remove the cursor"
            )
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        os.ftruncate(self._file, state["length"])
        os.fsync(self._file)
        return False

    def _rotate(self, state: State, save: Callable[[], None]) -> None:
        """Rename, begin the next file, commit; only then may the renamed one be packed."""
        number = state["rotated"] + 1
        self.path.rename(self.rotation.path(self.path, number))
        self.close()
        self._open(state)
        state["rotated"] = number
        save()
        self.rotation.tidy(self.path)

    def _pack_owed(self, save: Callable[[], None]) -> None:
        try:
            save()
            self.rotation.tidy(self.path)
        except OSError as error:
            raise self._failed(error) from error
        self._owed = False

    def _failed(self, error: OSError) -> ExportError:
        return ExportError(
            f"{self.path}: the export cannot be written ({error}); free space there, or choose another --to"
        )
