"""When a file of lines is full or old, what becomes of it: FILE.000001, FILE.000002.zst and so on, the oldest going first."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

#: Codec by PyArrow's name -> the suffix of its files.
SUFFIXES = {"zstd": ".zst", "gzip": ".gz"}
_COPY = 1 << 20


@dataclass(frozen=True)
class Rotation:
    """Limits of one file in bytes and seconds (None: none), how many old ones stay (None: all), and their codec."""

    bytes: int | None = None
    age: float | None = None
    keep: int | None = None
    codec: str | None = None

    def due(self, length: int, age: float) -> bool:
        """Whether a file of that length and age is to be put aside."""
        return (self.bytes is not None and length >= self.bytes) or (self.age is not None and age >= self.age)

    def path(self, path: Path, number: int) -> Path:
        """Where the file put aside as `number` stands, before it is packed."""
        return path.with_name(f"{path.name}.{number:06d}")

    def numbers(self, path: Path) -> list[int]:
        """Numbers of the files that were put aside, rising."""
        return sorted({int(found[1]) for found in map(_pattern(path).fullmatch, os.listdir(path.parent)) if found})  # noqa: PTH208

    def tidy(self, path: Path) -> None:
        """Pack what was put aside, also by an earlier run that was killed, and remove what is beyond `keep`. OSError."""
        numbers = self.numbers(path)
        gone = numbers[: -self.keep] if self.keep else numbers if self.keep == 0 else []
        for number in numbers:
            if number in gone:
                self._remove(path, number)
            elif self.codec is not None:
                _pack(self.path(path, number), self.codec)

    def _remove(self, path: Path, number: int) -> None:
        for suffix in ("", *SUFFIXES.values()):
            plain = self.path(path, number)
            plain.with_name(plain.name + suffix).unlink(missing_ok=True)


def _pattern(path: Path) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(path.name)}\.(\d{{6,}})({'|'.join(map(re.escape, SUFFIXES.values()))})?")


def _pack(plain: Path, codec: str) -> None:
    """The packed file whole under its name before the plain one goes."""
    if not plain.exists():
        return
    temporary = plain.with_name(f".{plain.name}.new")
    with plain.open("rb") as source, pa.CompressedOutputStream(str(temporary), codec) as sink:
        shutil.copyfileobj(source, sink, _COPY)
    temporary.chmod(plain.stat().st_mode & 0o777)
    handle = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    temporary.replace(plain.with_name(plain.name + SUFFIXES[codec]))
    plain.unlink()
