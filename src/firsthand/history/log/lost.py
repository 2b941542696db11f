"""What is known of a chunk of the log that fails its checksum: how many rows of which tables it had, and after which moment they happened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from firsthand.errors import DamagedError
from firsthand.history.log import flatbuffer
from firsthand.history.log.chunk import UNREADABLE, Chunk, ChunkFile, Position, parse
from firsthand.history.log.log import path_of
from firsthand.schema.tables import TABLES


def rows(directory: Path, log: str, at: Position) -> dict[str, int] | None:
    """Rows by table where the chunk's header and the Arrow messages behind it say the same of them; None: not known.

    The header has no checksum of its own, so that neither alone is believed.
    """
    try:
        with _opened(directory, log, at.file) as file:
            return _rows(*file.pieces(at.offset))
    except (DamagedError, OSError, *UNREADABLE):
        return None


def _rows(text: bytes, payload: memoryview) -> dict[str, int] | None:
    found: dict[str, int] = {}
    end = 0
    for name, number, size in parse(text).tables:
        stream = payload[end : end + size]
        if name not in TABLES or sum(said.rows for _, _, said in flatbuffer.messages(stream)) != number:
            return None
        found[name] = found.get(name, 0) + number
        end += size
    return found if end == len(payload) else None


def after(directory: Path, log: str, at: Position) -> int:
    """When the chunk before a place was written (microseconds), by the file that it is in and the one before; 0: not known."""
    for number in (at.file, at.file - 1):
        try:
            with _opened(directory, log, number) as file:
                before = [one for one in file.walk() if isinstance(one, Chunk) and one.position < at]
        except OSError:
            return 0
        if before:
            return before[-1].header.written
    return 0


@contextmanager
def _opened(directory: Path, log: str, number: int) -> Iterator[ChunkFile]:
    descriptor = os.open(path_of(directory, number, log), os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield ChunkFile(descriptor, number)
    finally:
        os.close(descriptor)
