"""What tests build once and use again in every clone: kernels, image layers, wheels, compiled fuzz targets, named by what they are made from.

They lie below ${XDG_CACHE_HOME:-~/.cache}/firsthand-tests/KIND/KEY. A folder appears by one rename when it is whole, so nobody sees a
part of it; it is never written again. One that nobody used for two weeks is removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: Seconds without use after which a folder is removed.
_UNUSED = 14 * 86_400
_LOCKED = ".lock"


def root() -> Path:
    """Where all of it lies (XDG Base Directory Specification)."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "firsthand-tests"


def key(*parts: str | bytes, files: Iterable[Path] = ()) -> str:
    """16 hexadecimal digits of these words, in their order, and of the files' contents."""
    digest = hashlib.sha256()
    for part in [*parts, *(path.read_bytes() for path in files)]:
        data = part.encode() if isinstance(part, str) else part
        digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest()[:16]


def folder(kind: str, key: str, fill: Callable[[Path], None]) -> Path:
    """The folder of a kind and key; where there is none, `fill` writes it first. Others who want it wait meanwhile.

    An error of `fill` leaves nothing behind and comes through.
    """
    target = root() / kind / key
    if _used(target):
        return target
    with _alone(target):
        if not _used(target):
            _unused(target.parent)
            _make(target, fill)
    return target


def holds(kind: str, key: str) -> bool:
    """Whether the folder is there."""
    return (root() / kind / key).is_dir()


def _used(target: Path) -> bool:
    """Whether it is there; then it is as if new."""
    try:
        os.utime(target)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """While nobody else makes the same folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(target.name + _LOCKED).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back at the close, and when a process dies
        yield


def _make(target: Path, fill: Callable[[Path], None]) -> None:
    made = Path(tempfile.mkdtemp(prefix=".making-", dir=target.parent))
    try:
        made.chmod(0o755)
        fill(made)
        made.rename(target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _unused(kind: Path) -> None:
    """Remove what nobody used for long, also what a killed process left half made."""
    for path in kind.iterdir():
        if path.is_dir() and path.stat().st_mtime < time.time() - _UNUSED:
            shutil.rmtree(path, ignore_errors=True)
