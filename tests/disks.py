"""File systems of a test's own, of a size that it can fill."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import require


@contextmanager
def small(folder: Path, size: str) -> Iterator[Path]:
    """The folder with a file system in memory of this size (tmpfs(5)) mounted on it, for as long."""
    require.root()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
