"""content/pages.py: what the kernel says of real files: stamps, cached pages, pages that wait for the disk."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from firsthand.content import pages
from firsthand.content.pages import PAGE


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """Eight pages and a byte, open for reading."""
    path = tmp_path / "file"
    path.write_bytes(bytes(8 * PAGE + 1))
    one = os.open(path, os.O_RDONLY)
    yield one
    os.close(one)


def test_a_stamp_is_as_fstat_says(file: int) -> None:
    """Law: device, inode, size, times and owner are the file's."""
    found, _ = pages.stamp(file)
    told = os.fstat(file)
    assert found.device == f"{os.major(told.st_dev)}:{os.minor(told.st_dev)}"
    assert (found.inode, found.size, found.uid) == (told.st_ino, told.st_size, told.st_uid)
    assert (found.changed, found.modified) == (told.st_ctime_ns, told.st_mtime_ns)


def test_a_stamp_changes_with_the_file(file: int) -> None:
    """Law: a change of mode and of size are another state."""
    before, _ = pages.stamp(file)
    os.utime(f"/proc/self/fd/{file}", ns=(1, 1))
    touched, _ = pages.stamp(file)
    os.truncate(f"/proc/self/fd/{file}", PAGE)
    cut, _ = pages.stamp(file)
    assert len({before, touched, cut}) == 3 and touched.modified == 1 and cut.size == PAGE


def test_cached_pages_by_whole_pages(file: int) -> None:
    """Law: what was just written is there, to the end of the last page, and in no more than is asked for."""
    assert pages.resident(file, 8 * PAGE + 1) == [(0, 9 * PAGE)]
    assert pages.resident(file, 3 * PAGE) == [(0, 3 * PAGE)] and pages.resident(file, 0) == []


@pytest.mark.parametrize("direct", [(0, 0), (512, 512), (4, 4096), (4096, 1 << 20)])
def test_direct_reads_that_reach_the_disk(direct: tuple[int, int]) -> None:
    """Law: none is real whose place in the file is not a page's or less."""
    assert pages.Direct(*direct).real == (0 < direct[1] <= PAGE)


def test_who_is_told_of_cached_pages() -> None:
    """Law: the owner, and who has the right to all files."""
    mine = os.geteuid()
    assert pages.known(mine, owner_of_all=False) and pages.known(mine + 1, owner_of_all=True)
    assert not pages.known(mine + 1, owner_of_all=False)


def test_equal_bytes() -> None:
    """Law: only the asked length counts."""
    with mmap.mmap(-1, PAGE) as left, mmap.mmap(-1, PAGE) as right:
        left[:3], right[:3] = b"abc", b"abd"
        assert pages.equal(left, right, 2) and not pages.equal(left, right, 3)


def test_an_error_is_the_kernels(tmp_path: Path) -> None:
    """Law: a closed descriptor is OSError, not a stamp."""
    one = os.open(tmp_path, os.O_RDONLY)
    os.close(one)
    with pytest.raises(OSError, match="Bad file descriptor"):
        pages.stamp(one)
    with pytest.raises(OSError, match="Bad file descriptor"):
        pages.filesystem(one)
