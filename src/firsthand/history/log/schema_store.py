"""Record layouts kept with the history, so that it reads back whatever version wrote it (law 1)."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from firsthand.errors import HistoryError
from firsthand.history import place

_NAME = re.compile(r"[0-9a-f]{64}\.json")


def hash_of(text: str) -> str:
    """A layout's name: SHA-256 of its text, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def save_layout(directory: Path, hash_: str, text: str) -> None:
    """Make a layout durable as schema/<hash>.json. Idempotent; one that is damaged is put right. HistoryError where it cannot be."""
    path = _path(directory, hash_)
    if _read(path) == text:
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
    """The text saved under a hash. HistoryError where it is missing or another one's."""
    path = _path(directory, hash_)
    text = _read(path)
    if text is None or hash_of(text) != hash_:
        what = "it cannot be read" if text is None else "it was changed: its SHA-256 is not its name"
        raise HistoryError(f"{path}: {what}; restore it from a backup of the history")
    return text


def saved(directory: Path) -> dict[str, str]:
    """Every layout that a history has and that is what its name says, by hash."""
    found = {path.stem: _read(path) for path in _files(directory) if _NAME.fullmatch(path.name)}
    return {hash_: text for hash_, text in found.items() if text is not None and hash_of(text) == hash_}


def damage(directory: Path) -> list[str]:
    """What stands among the layouts and is none: each in words."""
    whole = saved(directory)
    changed = "it was changed, or cannot be read: its SHA-256 is not its name"
    return [
        f"schema/{path.name}: {changed if _NAME.fullmatch(path.name) else 'no layout is called that'}"
        for path in _files(directory)
        if path.stem not in whole
    ]


def _files(directory: Path) -> list[Path]:
    """What is there but for the beginnings of files that were never finished."""
    return sorted(
        path for path in (directory / place.SCHEMA).glob("*") if not re.match(r"\.[0-9a-f]{64}\.\d+$", path.name)
    )


def _read(path: Path) -> str | None:
    """A file's text; None where there is none that can be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _path(directory: Path, hash_: str) -> Path:
    if not _NAME.fullmatch(f"{hash_}.json"):
        raise HistoryError(f"{hash_!r} is not a layout's hash: expected 64 hexadecimal digits")
    return directory / place.SCHEMA / f"{hash_}.json"
