"""A bundle as one file: a tar of plain files alone, the same bytes for the same content, and read without unpacking anything.

Format: POSIX.1-1988 (ustar), names sorted, times 0, owner 0. Nothing else is read: no links, folders, devices, sparse files or
extended headers, no name that a bundle does not have, and no member that reaches beyond the file.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from firsthand.errors import DamagedError, HistoryError

README, SUMS = "README.txt", "SHA256SUMS"
ABOUT, COMPLETENESS, SOURCES = "bundle.json", "completeness.json", "sources.json"
CHAIN, HEADS = "chain.jsonl", "heads.jsonl"
_HASH = r"[0-9a-f]{64}"
_NAME = re.compile(
    rf"README\.txt|SHA256SUMS|bundle\.json|completeness\.json|sources\.json|chain\.jsonl|heads\.jsonl|layouts/{_HASH}\.json"
    rf"|rows/[a-z_]{{1,40}}\.parquet|segments/[a-z_]{{1,40}}/{_HASH}\.parquet|chunks/(log|names)/\d{{16}}-\d{{1,20}}\.chunk"
)
#: A document of a bundle is at most this long, and so is what reading one takes.
DOCUMENT = 1 << 30
#: More members than any bundle has.
MEMBERS = 1_000_000
_BLOCK = tarfile.BLOCKSIZE
_COPY = 1 << 20
#: Bytes of holes in the file: of its end, where a copy made it sparse.
_HOLES = 1 << 20
#: Zeros at the end of a tar: two blocks, filled up to a record.
_END = 2 * _BLOCK + tarfile.RECORDSIZE


class ArchiveWriter:
    """Puts members into a tar, whose names must come in their order."""

    def __init__(self, file: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - closed in close

    def add(self, name: str, size: int, content: IO[bytes], sha256: str) -> None:
        """One member of that size and hash. DamagedError where the content has another: it changed since it was listed."""
        info = tarfile.TarInfo(name)
        info.size = size
        hashed = _Hashed(content)
        try:
            self._tar.addfile(info, hashed)
        except ValueError as error:
            raise HistoryError(
                f"{name}: {size} bytes are more than a bundle takes ({error}); ask for less time"
            ) from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise DamagedError(f"{name}: it ends before its {size} bytes: it was cut") from error
        if hashed.digest.hexdigest() != sha256 or content.read(1):
            raise DamagedError(f"{name}: its SHA-256 is not {sha256}: it was changed")

    def close(self) -> None:
        """The end of the tar."""
        self._tar.close()


class _Hashed:
    """A file that is hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


@dataclass(frozen=True)
class Member:
    """Where a member's content stands in the file."""

    offset: int
    size: int


class Archive:
    """A bundle's file, read where it is. DamagedError where it is no bundle, or holds what no bundle holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise HistoryError(f"{path}: the bundle cannot be read ({error.strerror})") from error
        try:
            found = os.fstat(self._descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise HistoryError(f"{path}: this is no file; name the one that `firsthand evidence` wrote")
            self.size = found.st_size
            self._without_holes()
            self.members = dict(self._walk())
        except BaseException:
            self.close()
            raise

    def open(self, name: str) -> IO[bytes]:
        """A member's content as a file. DamagedError where there is none."""
        member = self.members.get(name)
        if member is None:
            raise DamagedError(f"{name}: it is missing from the bundle")
        return io.BufferedReader(_Slice(self._descriptor, member), _COPY)

    def read(self, name: str) -> bytes:
        """A document, whole. DamagedError where there is none, or a longer one than DOCUMENT."""
        with self.open(name) as file:
            if self.members[name].size > DOCUMENT:
                raise DamagedError(f"{name}: it is longer than {DOCUMENT:,} bytes, which no document of a bundle is")
            return file.read()

    def sha256(self, name: str) -> str:
        """The hash of a member's content."""
        with self.open(name) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _without_holes(self) -> None:
        """A sparse file is longer than what it has: no bundle is one, but for the zeros at its end."""
        at = holes = 0
        for _ in range(MEMBERS):
            try:
                data = os.lseek(self._descriptor, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    return  # a filesystem without holes
                data = self.size
            holes += data - at
            if holes > _HOLES:
                raise self._refused(at, f"more than {_HOLES:,} of its {self.size:,} bytes are holes")
            if data >= self.size:
                return
            at = os.lseek(self._descriptor, data, os.SEEK_HOLE)

    def _walk(self) -> Iterator[tuple[str, Member]]:
        """Every member in the file's order, which must be that of the names."""
        at, last, count = 0, "", 0
        while (info := self._header(at)) is not None:
            name, count = self._checked(info, at), count + 1
            if name <= last or count > MEMBERS:
                raise self._refused(at, f"{name!r} stands out of order, twice, or behind {MEMBERS:,} others")
            yield name, Member(at + _BLOCK, info.size)
            end = at + _BLOCK + info.size
            at, last = end + -info.size % _BLOCK, name
            if self._at(end, at - end).strip(b"\0"):
                raise self._refused(end, f"something stands behind the end of {name!r}")
        if self.size - at > _END or self._at(at, _END).strip(b"\0"):
            raise self._refused(at, "something stands behind the end of the tar")

    def _header(self, at: int) -> tarfile.TarInfo | None:
        """The member's header at an offset; None for the end of the tar, two blocks of zeros."""
        block = self._at(at, _BLOCK)
        if len(block) == _BLOCK and not block.strip(b"\0") and not self._at(at + _BLOCK, _BLOCK).strip(b"\0"):
            return None
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except (tarfile.TarError, ValueError, IndexError) as error:
            raise self._refused(at, f"no header of a tar begins there ({error})") from error

    def _checked(self, info: tarfile.TarInfo, at: int) -> str:
        if info.type != tarfile.REGTYPE or info.linkname:
            raise self._refused(at, f"{info.name!r} is no plain file (type {info.type!r}): a bundle has nothing else")
        if not _NAME.fullmatch(info.name):
            raise self._refused(at, f"{info.name!r} is no name of a bundle's file")
        if info.size < 0 or info.size > self.size - at - _BLOCK:
            raise self._refused(at, f"{info.name!r} of {info.size} bytes reaches beyond the file of {self.size}")
        return info.name

    def _at(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def _refused(self, at: int, what: str) -> DamagedError:
        return DamagedError(
            f"{self.path}: refused at byte {at}: {what}; nothing was unpacked. Expected a bundle of `firsthand evidence`"
        )


class _Slice(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, descriptor: int, member: Member) -> None:
        self._descriptor, self._member, self._at = descriptor, member, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._member.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        size = max(0, min(len(buffer), self._member.size - self._at))
        data = os.pread(self._descriptor, size, self._member.offset + self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
