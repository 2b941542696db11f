"""Where a history is, and its folders.

HISTORY/log/<16 digits>.log     the durable log (log.py); log/lock is held by its one writer, the observer;
                                log/asked is opened by readers who want all until that moment (asked.py)
HISTORY/names/<16 digits>.log   the same for what container runtimes tell; names/lock is held by the follower
HISTORY/schema/<hash>.json      record layouts, saved before their first record (schema_store.py)
HISTORY/manifest.db             which segments hold what, and up to where the log was handed over (manifest.py)
HISTORY/generations/<n>/        segments: <table>/date=YYYY-MM-DD/<node>-<log>-<from>.parquet (keeper.py)
HISTORY/generations/current/    hard links to the segments in force alone, while a keeper runs (shown.py)
HISTORY/current                 symlink to that folder, else to the generation in force
HISTORY/id                      what tells this history from others, by which its published heads are known (chain.py)
HISTORY/damaged/                log files that failed a checksum, kept for whoever wants to look
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import uuid
from pathlib import Path

from firsthand.errors import HistoryError, UnwritableError

MODE = 0o750
GROUP = "firsthand"
LOG = "log"
NAMES = "names"
SCHEMA = "schema"
GENERATIONS = "generations"
CURRENT = "current"
MANIFEST = "manifest.db"
DAMAGED = "damaged"
ID = "id"
_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up", errno.EROFS: "it is mounted read-only"}


def unwritable(directory: Path, error: OSError, what: str = "the history") -> UnwritableError:
    """The error for a history that takes nothing now."""
    why = _FULL.get(error.errno or 0, str(error))
    return UnwritableError(
        f"{directory}: {what} cannot be written, {why}; free space there, mount it writable, or choose another directory with "
        "--history. What was recorded before is safe."
    )


def generation(directory: Path, number: int) -> Path:
    """The folder of a generation."""
    return directory / GENERATIONS / str(number)


def identity(directory: Path, *, make: bool = False) -> str | None:
    """What tells a history from others: 32 hexadecimal digits, made once. None where it has none (yet), and for one that nobody may read."""
    path = directory / ID
    with contextlib.suppress(FileNotFoundError, PermissionError):
        found = path.read_text().strip()
        return found if len(found) == 32 and not set(found) - set("0123456789abcdef") else None
    if not make:
        return None
    temporary = directory / f".{ID}.{os.getpid()}"
    temporary.write_text(f"{uuid.uuid4().hex}\n")
    temporary.chmod(0o640)
    adopt(directory, temporary)
    with contextlib.suppress(FileExistsError):  # another process of ours was first
        os.link(temporary, path)
    temporary.unlink()
    sync(directory)
    return identity(directory)


def closed(directory: Path, error: OSError) -> HistoryError:
    """The error for a history that its user may not read."""
    return HistoryError(f"{directory}: you may not read this history ({error}); be root or in the group {GROUP}")


def adopt(directory: Path, path: Path | int) -> None:
    """Give a file that root made in a history to whoever owns the history: its roles read and replace it. OSError where it may not."""
    if os.geteuid() == 0:
        owner = directory.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def default_directory() -> Path:
    """FIRSTHAND_HISTORY, else /var/lib/firsthand for root, else firsthand in the user's state directory (XDG)."""
    named = os.environ.get("FIRSTHAND_HISTORY")
    if named:
        return Path(named)
    if os.geteuid() == 0:
        return Path("/var/lib/firsthand")
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "firsthand"


def create(directory: Path) -> None:
    """The history's directory, 0750 and of group `firsthand` where that group exists. HistoryError where it cannot be.

    One that is there stays as it is.
    """
    try:
        if not directory.is_dir():
            directory.mkdir(parents=True, mode=MODE, exist_ok=True)  # the others of a session may come first
            directory.chmod(MODE)
            give(directory)
            sync(directory.parent)
    except OSError as error:
        raise HistoryError(
            f"{directory}: the history cannot be created ({error}); choose another with --history"
        ) from error


def folder(path: Path) -> Path:
    """One folder in a history, with the permissions of `create`, durable with all of its missing parents."""
    if not path.is_dir():
        folder(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=MODE)
        give(path)
        sync(path.parent)
    return path


def sync(path: Path) -> None:
    """fsync of a folder: what was created, renamed or removed in it is durable after it."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def point_current(directory: Path, number: int) -> None:
    """Make the symlink `current` name a generation, atomically."""
    point_to(directory, generation(directory, number))


def point_to(directory: Path, folder: Path) -> None:
    """Make the symlink `current` name a folder of the history, atomically."""
    target = str(folder.relative_to(directory))
    link = directory / CURRENT
    if link.is_symlink() and str(link.readlink()) == target:
        return
    temporary = directory / f".{CURRENT}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
    sync(directory)


def lock(path: Path, holder: str) -> int:
    """Hold `path` alone (flock) and return its descriptor. HistoryError where another process holds it.

    The file is its owner's alone, for a reader could hold what it may open; alive.py tells readers who holds it.

    OSError where it is not there and cannot be made. What is held is open for reading alone: it keeps nobody from making the mount
    read-only.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(
        OSError
    ):  # an earlier version's, which readers could open and hold; not on a read-only disk
        os.fchmod(handle, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise HistoryError(
            f"{path} is held by another {holder}: stop that one, or use another directory with --history"
        ) from error
    return handle


def give(path: Path) -> None:
    """Give a path to the group of those who may read, where there is one and we may."""
    with contextlib.suppress(KeyError, PermissionError):
        os.chown(path, -1, grp.getgrnam(GROUP).gr_gid)
