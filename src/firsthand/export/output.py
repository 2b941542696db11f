"""Where lines go. Three kinds: a file (file.py), a receiver of HTTP posts (post.py), and standard output, here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, Protocol

State = dict[str, Any]


class Output(Protocol):
    """One place for lines. `state` is its part of the cursor: it changes it, the exporter makes it durable."""

    def open(self, state: State) -> None:
        """Take back what was written after the state was saved; ExportError where that cannot be."""

    def put(self, lines: Sequence[bytes], state: State) -> None:
        """Make lines durable here, to be taken back until the state is saved. ExportError where that cannot be."""

    def settle(self, state: State, save: Callable[[], None]) -> bool:
        """What is to be done once the state is saved, at each look; False where it was told to end before it was done."""

    def close(self) -> None:
        """Let go."""


class OpenOutput:
    """Standard output, or what is open in its place: what was written cannot be taken back."""

    def __init__(self, to: BinaryIO | None = None) -> None:
        self._to = to or sys.stdout.buffer

    def open(self, state: State) -> None:
        """Nothing to take back."""

    def put(self, lines: Sequence[bytes], state: State) -> None:
        """Write and flush. BrokenPipeError where the reader is gone."""
        self._to.writelines(lines)
        self._to.flush()

    def settle(self, state: State, save: Callable[[], None]) -> bool:
        """Nothing to be done."""
        return True

    def close(self) -> None:
        """It stays open: it is the caller's."""
