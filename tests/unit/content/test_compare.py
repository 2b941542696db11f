"""content/compare.py on real files: an ext4 of the test's own, whose disk is changed below the page cache."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firsthand.content import compare
from firsthand.content.compare import CHUNK, Comparer, Unchecked
from tests import disks, require
from tests.disks import Disk

_RANDOM = random.Random(18)
_LONG = _RANDOM.randbytes(3 * CHUNK + 5_001)
#: Nothing waits for files to be old: the stamps alone decide. `test_what_was_just_written` has the true value.
_AT_ONCE = Comparer(quiet=0.0)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    """One for the module."""
    require.loop_devices()
    with disks.disk(tmp_path_factory.mktemp("content")) as one:
        yield one


def _why(path: Path, comparer: Comparer = _AT_ONCE) -> str:
    with pytest.raises(Unchecked) as found:
        comparer.compare(str(path))
    return str(found.value)


def test_a_change_below_the_cache_is_found(disk: Disk) -> None:
    """Law: what the cache and the disk have differently is found, with both hashes of the whole file, the first byte and their number."""
    path = disk.file("changed", _LONG)
    stamp = path.stat()
    disk.change(path, 4_090, b"evil")
    found = _AT_ONCE.compare(str(path))
    changed = _LONG[:4_090] + b"evil" + _LONG[4_094:]
    assert found.difference is not None
    assert found.difference.cached == hashlib.sha256(_LONG).hexdigest()
    assert found.difference.disk == hashlib.sha256(changed).hexdigest()
    assert (found.difference.first, found.difference.count) == (4_090, 4)
    assert (found.stamp.size, found.stamp.changed) == (len(_LONG), stamp.st_ctime_ns), (
        "nothing that stat tells has changed"
    )
    disk.settle(path)
    assert _AT_ONCE.compare(str(path)).difference is None, "the pages are gone: readers get what the disk holds"


def test_only_what_is_cached_is_read_through_the_cache(disk: Disk) -> None:
    """Law: comparing brings no page in; what is not cached is not compared, but is in both hashes as the disk has it."""
    path = disk.file("parts", _LONG)
    assert disks.resident(path) == 0
    assert _AT_ONCE.compare(str(path)).resident == 0 and disks.resident(path) == 0
    disk.change(path, 10, b"x" if _LONG[10:11] != b"x" else b"y")
    disk.settle(path)
    file = os.open(path, os.O_RDONLY)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
    os.pread(file, 1, 2 * CHUNK)
    os.close(file)
    held = disks.resident(path)
    assert 0 < held < len(_LONG)
    found = _AT_ONCE.compare(str(path))
    assert (found.resident, found.difference, disks.resident(path)) == (held, None, held)


@pytest.mark.parametrize("size", [0, 1, 511, 4_095, 4_096, 4_097, CHUNK - 1, CHUNK, CHUNK + 1])
def test_ends(disk: Disk, size: int) -> None:
    """Law: any size: the same is the same, and the last byte counts."""
    content = _RANDOM.randbytes(size)
    path = disk.file(f"size-{size}", content)
    path.read_bytes()
    assert _AT_ONCE.compare(str(path)).difference is None
    if 4_096 > size > 16:  # fewer bytes may be anywhere on a disk
        disk.change(path, size - 1, bytes([content[-1] ^ 1]))
        found = _AT_ONCE.compare(str(path)).difference
        assert found is not None and (found.first, found.count) == (size - 1, 1)


def test_what_was_just_written(disk: Disk) -> None:
    """Law: a write is no finding, neither before it is written back nor after; a file that changed a moment ago is left for later."""
    path = disk.file("written", _LONG)
    with path.open("r+b") as file:
        file.write(b"honest")
        file.flush()
        assert _why(path) == compare.CHANGING, "dirty"
        assert _why(path, Comparer()) == compare.CHANGING, "young"
        os.fsync(file.fileno())
    assert _AT_ONCE.compare(str(path)).difference is None
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[5_000:5_004] = b"page"
        assert _why(path) == compare.CHANGING, "dirty by a mapping"
        mapped.flush()
        assert _AT_ONCE.compare(str(path)).difference is None
        path.rename(path.with_name("renamed"))
    with pytest.raises(FileNotFoundError):
        _AT_ONCE.compare(str(path))
    os.truncate(path.with_name("renamed"), 7)
    disk.settle(path.with_name("renamed"))
    path.with_name("renamed").read_bytes()
    assert _AT_ONCE.compare(str(path.with_name("renamed"))).difference is None


def test_no_dirty_pages_are_told(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: on a kernel without cachestat (before 6.5) a write that waits for the disk is no finding: the read past the cache writes it back."""
    monkeypatch.setattr("firsthand.content.pages.unwritten", lambda file: None)
    path = disk.file("older", _LONG)
    with path.open("r+b") as file:
        file.write(b"honest")
        file.flush()
        assert _AT_ONCE.compare(str(path)).difference is None


@pytest.mark.parametrize("way", ["write", "map", "grow", "truncate", "replace"])
def test_what_is_written_meanwhile(disk: Disk, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: whoever writes, grows, truncates or replaces a file while it is compared makes no finding, with cachestat and without."""
    path = disk.file(f"busy-{way}", _LONG)
    over = threading.Event()
    writer = threading.Thread(target=_busy, args=(path, way, over))
    writer.start()
    try:
        for number in range(200):
            if number == 100:
                monkeypatch.setattr("firsthand.content.pages.unwritten", lambda file: None)
            try:
                assert _AT_ONCE.compare(str(path)).difference is None
            except (Unchecked, FileNotFoundError) as error:
                assert isinstance(error, FileNotFoundError) or str(error) == compare.CHANGING
    finally:
        over.set()
        writer.join()


def _busy(path: Path, way: str, over: threading.Event) -> None:
    random_ = random.Random(way)
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
        while not over.is_set():
            at = random_.randrange(len(_LONG) - 4)
            if way == "write":
                os.pwrite(file.fileno(), random_.randbytes(4), at)
            elif way == "map":
                mapped[at : at + 4] = random_.randbytes(4)
            elif way == "grow":
                os.pwrite(file.fileno(), random_.randbytes(9_000), os.fstat(file.fileno()).st_size % (1 << 20))
            elif way == "truncate":
                os.truncate(path, at)
                os.pwrite(file.fileno(), random_.randbytes(4), at + 9_000)
            else:
                other = path.with_name("other")
                other.write_bytes(random_.randbytes(20_000))
                other.rename(path)
        mapped.close()


def test_what_cannot_be_checked_has_its_reason(disk: Disk, tmp_path: Path) -> None:
    """Law: no "same" without O_DIRECT that is real, and none of what is no file: each has a reason."""
    memory, merged = tmp_path / "memory", disk.place / "merged"
    for folder in (memory, merged, disk.place / "upper", disk.place / "work"):
        folder.mkdir()
    disk.file("lower/su", _LONG)
    options = f"lowerdir={disk.place / 'lower'},upperdir={disk.place / 'upper'},workdir={disk.place / 'work'}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(merged)], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(memory)], check=True)
    try:
        (memory / "file").write_bytes(b"x")
        assert _why(memory / "file") == "its file system is tmpfs"
        assert _why(merged / "su") == "its file system is overlay"
    finally:
        subprocess.run(["umount", str(merged), str(memory)], check=True)
    os.mkfifo(disk.place / "fifo")
    (disk.place / "link").symlink_to("lower/su")
    for name in (disk.place / "fifo", disk.place / "link", Path("/dev/null"), disk.place):
        assert _why(name) == "it is no regular file"
    large = disk.place / "large"
    large.touch()
    os.truncate(large, compare.MOST + 1)
    assert _why(large) == "it is larger than 64 MiB"


class _Between:
    """Writes through a mapping, which already has its pages dirty, between the read of the cache and that of the disk: the change time stays
    as it is while the pages are not written back. At each place when it is read from the cache for the first so many times."""

    def __init__(self, mapped: mmap.mmap, places: dict[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
        self._mapped, self._left = mapped, dict(places)
        self._read = compare._read
        monkeypatch.setattr("firsthand.content.pages.unwritten", lambda file: None)
        monkeypatch.setattr(compare, "_read", self.read)

    def read(self, file: int, buffer: mmap.mmap, at: int, length: int) -> int:
        found = self._read(file, buffer, at, length)
        if not fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT:
            for place in self._left:
                if at <= place < at + length:
                    self._left[place] -= 1
                    if self._left[place] >= 0:
                        self._mapped[place] ^= 1
        return found


@pytest.mark.parametrize(
    ("places", "reason"),
    [
        pytest.param({10: 1}, None, id="in the first look"),
        pytest.param({10: 1, 2 * CHUNK + 10: 2}, compare.CHANGING, id="elsewhere in the second"),
    ],
)
def test_a_mapping_that_is_written_all_the_time(
    disk: Disk, places: dict[int, int], reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: without cachestat, and with a change time that stays, such a writer is still no finding: the second look finds the same, and what it
    writes after the first one has a new change time, for that has written back every page."""
    content = _RANDOM.randbytes(3 * CHUNK)
    path = disk.file(f"mapped-{len(places)}", content)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for place in (10, 2 * CHUNK + 10):  # two runs of pages, both dirty
            mapped[place] ^= 1
        while time.time_ns() - path.stat().st_ctime_ns < 20_000_000:  # a clock tick lies between
            os.sched_yield()
        _Between(mapped, places, monkeypatch)
        if reason is None:
            assert _AT_ONCE.compare(str(path)).difference is None
        else:
            assert _why(path) == reason
