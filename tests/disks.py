"""File systems of a test's own: one of a size that it can fill, and one whose disk can be changed below its page cache."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from firsthand.content import pages
from tests import require

#: Bytes of a disk.
_SIZE = 32 << 20


class Disk:
    """`place` is where it is mounted, `image` what it is made of."""

    def __init__(self, image: Path, place: Path) -> None:
        self.image, self.place = image, place

    def file(self, name: str, content: bytes, mode: int = 0o644) -> Path:
        """A file that is on the disk, whole, and in no page of the cache."""
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode)
        self.settle(path)
        return path

    @staticmethod
    def settle(path: Path) -> None:
        """Write a file back, and drop its pages."""
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def change(self, path: Path, at: int, content: bytes) -> None:
        """Change a file's block on the disk, below its filesystem: neither its pages nor its times take part. Its first 4 KiB tell where it is."""
        path.read_bytes()  # its pages are there
        with self.image.open("r+b") as image:
            begin = image.read().find(path.read_bytes()[:4096])
            assert begin >= 0, "its first block is on the disk as it is in the cache"
            os.pwrite(image.fileno(), content, begin + at)
            os.fsync(image.fileno())


def resident(path: Path) -> int:
    """Bytes of a file's pages that are cached."""
    file = os.open(path, os.O_RDONLY)
    try:
        return sum(end - begin for begin, end in pages.resident(file, path.stat().st_size))
    finally:
        os.close(file)


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """Made and mounted below a folder, and taken away."""
    image, place = folder / "disk.img", folder / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(_SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-E", "nodiscard", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        yield Disk(image, place)
    finally:
        subprocess.run(["umount", str(place)], check=True)
        image.unlink()


@contextmanager
def small(folder: Path, size: str) -> Iterator[Path]:
    """The folder with a file system in memory of this size (tmpfs(5)) mounted on it, for as long."""
    require.root()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
