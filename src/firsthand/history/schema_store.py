"""Record layouts kept with the history, so that it reads back whatever version wrote it (law 1)."""

from __future__ import annotations

import os
from pathlib import Path

from firsthand.errors import HistoryError
from firsthand.history import place


def save_layout(directory: Path, hash_: str, text: str) -> None:
    """Make a layout durable as schema/<hash>.json. Idempotent. HistoryError where it cannot be."""
    path = _path(directory, hash_)
    if path.exists():
        return
    try:
        folder = place.folder(path.parent)
        temporary = folder / f".{hash_}.{os.getpid()}"
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        place.sync(folder)
    except OSError as error:
        raise HistoryError(
            f"{path}: the record layout cannot be saved ({error}); free space there or mount it writable"
        ) from error


def load_layout(directory: Path, hash_: str) -> str:
    """The text saved under a hash. HistoryError where it is missing."""
    path = _path(directory, hash_)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise HistoryError(
            f"{path}: the record layout cannot be read ({error}); restore it from a backup of the history"
        ) from error


def saved(directory: Path) -> dict[str, str]:
    """Every layout that a history has, by hash."""
    return {path.stem: load_layout(directory, path.stem) for path in sorted((directory / place.SCHEMA).glob("*.json"))}


def _path(directory: Path, hash_: str) -> Path:
    if not hash_.isalnum():
        raise HistoryError(f"{hash_!r} is not a layout's hash: expected hexadecimal digits")
    return directory / place.SCHEMA / f"{hash_}.json"
