"""Where the reader of a history is found: sockets in a folder that root alone writes, open to the history's group.

/run/firsthand/reader-DEVICE-INODE.sock   made by `firsthand run`: device and inode, hexadecimal, of the history's folder
/run/firsthand/reader.sock                made by systemd (deploy/firsthand-reader.socket)

Beside each lies its sign of life (history/log/alive.py). FIRSTHAND_READER names another socket, or is `none`.
"""

from __future__ import annotations

import os
from pathlib import Path

from firsthand import __version__

FOLDER = Path("/run/firsthand")
#: The variable that names a socket. With the value NONE no question uses the reader.
VARIABLE, NONE = "FIRSTHAND_READER", "none"


def own(directory: Path) -> Path:
    """The path of the socket that `firsthand run` makes for a history. Raises OSError if this user cannot reach the history."""
    device, inode = history(directory)
    return FOLDER / f"reader-{device:x}-{inode:x}.sock"


def sockets(directory: Path) -> list[Path]:
    """The sockets to try for a history's reader, in order."""
    named = os.environ.get(VARIABLE, "")
    if named:
        return [] if named == NONE else [Path(named)]
    try:
        return [own(directory), FOLDER / "reader.sock"]
    except OSError:
        return []


def absent(directory: Path) -> bool:
    """Whether no socket of a history's reader is there: then nobody need be asked, and nothing that asking takes be imported."""
    return not any(map(_there, sockets(directory)))


def _there(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def build() -> str:
    """Identifies this version and installation. Only the same one gives the same answers."""
    found = (Path(__file__).parents[1] / "__init__.py").stat()
    return f"{__version__} {found.st_dev}:{found.st_ino}:{found.st_mtime_ns}"


def history(directory: Path | str) -> tuple[int, int]:
    """Identifies a history's folder, also among copies of it: device and inode. Raises OSError if this user cannot reach it."""
    found = Path(directory).stat()
    return found.st_dev, found.st_ino
