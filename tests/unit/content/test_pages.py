"""content/pages.py: what the kernel says of an open file, beside what Python and /proc say of it."""

from __future__ import annotations

import os
from pathlib import Path

from firsthand.content import pages
from firsthand.content.pages import PAGE, Direct


def test_the_stamp_is_that_of_stat(tmp_path: Path) -> None:
    """Law: device, inode, size, times in nanoseconds and owner as os.stat has them."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 5_000)
    file = os.open(path, os.O_PATH)
    found, _ = pages.stamp(file)
    os.close(file)
    told = path.stat()
    assert found.device == f"{os.major(told.st_dev)}:{os.minor(told.st_dev)}"
    assert (found.inode, found.size, found.uid) == (told.st_ino, 5_000, told.st_uid)
    assert (found.changed, found.modified) == (told.st_ctime_ns, told.st_mtime_ns)


def test_what_is_cached(tmp_path: Path) -> None:
    """Law: all pages of what was just written; none of an empty file; whole pages."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * (3 * PAGE + 1))
    with path.open("rb") as file:
        assert pages.resident(file.fileno(), 3 * PAGE + 1) == [(0, 4 * PAGE)]
        assert pages.resident(file.fileno(), 0) == []


def test_direct_reads_must_fit_pages() -> None:
    """Law: a file is read by whole pages; where that is not enough for O_DIRECT, it is not real."""
    assert Direct(PAGE, PAGE).real and Direct(1, 512).real
    assert not Direct(0, 0).real and not Direct(PAGE, 2 * PAGE).real


def test_who_is_told(tmp_path: Path) -> None:
    """Law: the owner, and who has CAP_FOWNER."""
    assert pages.known(os.geteuid(), owner_of_all=False) and pages.known(os.geteuid() + 1, owner_of_all=True)
    assert not pages.known(os.geteuid() + 1, owner_of_all=False)
