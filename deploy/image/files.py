"""Files of an image while it is made: below a folder that stands for its root."""

from __future__ import annotations

import compileall
import py_compile
from pathlib import Path


def write(path: Path, content: bytes, mode: int = 0o644) -> None:
    """One file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def compile_below(root: Path) -> None:
    """Bytecode of every module, with its path in the image, which is read-only and starts sooner with it.

    The same source gives the same bytes: no times are in it. Templates that are no modules stay as they are.
    """
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(
        root, maxlevels=30, quiet=2, stripdir=root, prependdir="/", invalidation_mode=mode, workers=0
    )
