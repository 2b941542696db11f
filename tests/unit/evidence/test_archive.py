"""evidence/archive.py: a tar from anybody is read where it is; what no bundle holds is refused, and nothing is ever unpacked."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from firsthand.errors import DamagedError, HistoryError
from firsthand.evidence.archive import Archive, ArchiveWriter
from firsthand.evidence.checking import check

Member = tuple[tarfile.TarInfo, bytes]


def _member(name: str, data: bytes = b"x", **words: object) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in words.items():
        setattr(info, key, value)
    return info, data


def _tar(path: Path, *members: Member, form: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return path


def _raw(path: Path, *, size: bytes, at: int = 0, data: bytes = b"") -> Path:
    """A first header whose size field is written by hand, with its checksum put right."""
    block = bytearray(tarfile.TarInfo("README.txt").tobuf(tarfile.USTAR_FORMAT))
    block[124 : 124 + len(size)] = size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path.write_bytes(bytes(block) + data + bytes(1024))
    return path


_HASH = "0" * 64
_HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a path out of the folder": (lambda p: _tar(p, _member("../../etc/cron.d/x")), "no name of a bundle's file"),
    "an absolute path": (lambda p: _tar(p, _member("/etc/passwd")), "no name of a bundle's file"),
    "a path out by a known folder": (lambda p: _tar(p, _member("rows/../../x.parquet")), "no name of a bundle's file"),
    "a name with a newline": (lambda p: _tar(p, _member("README.txt\n")), "no name of a bundle's file"),
    "a name of bytes": (lambda p: _tar(p, _member("rows/\udcff.parquet")), "no name of a bundle's file"),
    "a symbolic link": (
        lambda p: _tar(p, _member("README.txt", b"", type=tarfile.SYMTYPE, linkname="/etc/shadow")),
        "no plain file",
    ),
    "a hard link": (
        lambda p: _tar(p, _member("README.txt", b"", type=tarfile.LNKTYPE, linkname="../x")),
        "no plain file",
    ),
    "a plain file with a link's target": (lambda p: _tar(p, _member("README.txt", linkname="/etc/x")), "no plain file"),
    "a device": (lambda p: _tar(p, _member("README.txt", b"", type=tarfile.BLKTYPE, devmajor=8)), "no plain file"),
    "a fifo": (lambda p: _tar(p, _member("README.txt", b"", type=tarfile.FIFOTYPE)), "no plain file"),
    "a folder": (lambda p: _tar(p, _member("rows", b"", type=tarfile.DIRTYPE)), "no plain file"),
    "a sparse file": (lambda p: _tar(p, _member("README.txt", type=tarfile.GNUTYPE_SPARSE)), "no plain file"),
    "an extended header": (
        lambda p: _tar(p, _member("README.txt", pax_headers={"size": "99"}), form=tarfile.PAX_FORMAT),
        "no plain file",
    ),
    "a long name": (lambda p: _tar(p, _member("x" * 200), form=tarfile.GNU_FORMAT), "no plain file"),
    "a member twice": (lambda p: _tar(p, _member("README.txt"), _member("README.txt", b"y")), "out of order, twice"),
    "members out of order": (lambda p: _tar(p, _member("SHA256SUMS"), _member("README.txt")), "out of order, twice"),
    "a huge member": (lambda p: _raw(p, size=b"77777777777\0"), "reaches beyond the file"),
    "a member of exabytes": (lambda p: _raw(p, size=b"\x80\0\0\0\x7f" + b"\xff" * 7), "reaches beyond the file"),
    "a member of less than nothing": (lambda p: _raw(p, size=b"\xff" * 12), "reaches beyond the file"),
    "a size that is no number": (lambda p: _raw(p, size=b"9z9z9z9z9z9\0"), "no header of a tar"),
    "something in the gap": (
        lambda p: _raw(p, size=b"00000000001\0", data=b"xy" + bytes(510)),
        "behind the end of 'README.txt'",
    ),
    "something behind the end": (
        lambda p: p.write_bytes(_tar(p, _member("README.txt")).read_bytes() + b"PK\3\4") and p,  # type: ignore[func-returns-value]
        "behind the end of the tar",
    ),
    "a tar that was cut": (
        lambda p: p.write_bytes(_tar(p, _member("README.txt")).read_bytes()[:1024]) and p,
        "no header of a tar",
    ),  # type: ignore[func-returns-value]
    "no tar": (lambda p: p.write_bytes(os.urandom(4096)) and p, "no header of a tar"),  # type: ignore[func-returns-value]
    "nothing": (lambda p: p.write_bytes(b"") or p, "no header of a tar"),  # type: ignore[func-returns-value]
    "a packed tar": (lambda p: p.write_bytes(b"\x1f\x8b" + bytes(1000)) and p, "no header of a tar"),  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("what", _HOSTILE)
def test_what_no_bundle_holds_is_refused(tmp_path: Path, what: str) -> None:
    """Law: with where and what, and nothing is written anywhere."""
    act, words = _HOSTILE[what]
    path = act(tmp_path / "hostile.tar")
    with pytest.raises(DamagedError, match="refused at byte") as error:
        check(path)
    assert words in str(error.value)
    assert [one.name for one in tmp_path.iterdir()] == ["hostile.tar"]


def test_what_is_no_file(tmp_path: Path) -> None:
    """Law: a folder, a pipe and nothing at all are said to be no bundle, and none is waited for."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none"):
        with pytest.raises(HistoryError, match=r"this is no file|No such file"):
            Archive(path)


def test_a_document_is_read_to_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: no document fills the memory."""
    monkeypatch.setattr("firsthand.evidence.archive.DOCUMENT", 3)
    with Archive(_tar(tmp_path / "x.tar", _member("README.txt", b"four"))) as bundle:
        with pytest.raises(DamagedError, match="longer than 3 bytes"):
            bundle.read("README.txt")
        with pytest.raises(DamagedError, match="missing"):
            bundle.read("SHA256SUMS")


def test_members_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: and not more than so many."""
    monkeypatch.setattr("firsthand.evidence.archive.MEMBERS", 1)
    path = _tar(tmp_path / "x.tar", _member("README.txt"), _member("SHA256SUMS"))
    with pytest.raises(DamagedError, match="behind 1 others"):
        Archive(path)


def test_a_member_is_a_file_of_its_own(tmp_path: Path) -> None:
    """Law: reading and seeking stay within it."""
    path = _tar(tmp_path / "x.tar", _member("README.txt", b"hello"), _member("SHA256SUMS", b"other"))
    with Archive(path) as bundle, bundle.open("README.txt") as file:
        assert file.seek(0, os.SEEK_END) == 5 and file.read() == b""
        assert file.seek(3) == 3 and file.read(100) == b"lo"
        assert file.seek(-2, os.SEEK_CUR) == 3 and file.read(1) == b"l"
        assert bundle.sha256("SHA256SUMS") == hashlib.sha256(b"other").hexdigest()


@pytest.mark.parametrize(("size", "content"), [(3, b"ab"), (2, b"abc"), (3, b"abd")])
def test_what_is_written_is_what_was_hashed(size: int, content: bytes) -> None:
    """Law: a file that is shorter, longer or other than it was is not written as if it were the same."""
    with pytest.raises(DamagedError):
        ArchiveWriter(io.BytesIO()).add("README.txt", size, io.BytesIO(content), hashlib.sha256(b"abc").hexdigest())


def test_a_member_too_large_for_the_format() -> None:
    """Law: it is refused with what to do."""
    with pytest.raises(HistoryError, match="ask for less time"):
        ArchiveWriter(io.BytesIO()).add("README.txt", 1 << 40, io.BytesIO(b""), _HASH)
