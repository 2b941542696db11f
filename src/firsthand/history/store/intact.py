"""Whether a segment's file is what the manifest says of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from firsthand.history import _crc
from firsthand.history.store.manifest import Segment

#: Bytes that are read at once: they stay in the processor's cache.
_BLOCK = 1 << 18


def damage(path: Path, one: Segment, *, by_size: bool = False, quick: bool = False) -> str | None:
    """What is wrong with a segment's file: missing, of another size or hash, unreadable; None: nothing. With how many rows that are.

    `by_size` holds a file against its hash only where somebody wrote it since. `quick`: by its CRC-32 where that is known, a tenth of the
    time: it tells damage, and whoever changes a file on purpose is for `verify` and the scrub. A segment whose hash is not known is only
    opened.
    """
    try:
        found = path.stat()
        if found.st_size != one.bytes:
            return _said(
                path, one, f"has {found.st_size} bytes, {one.bytes} when it was written: it was cut or changed"
            )
        if by_size and one.written in (None, found.st_mtime_ns):
            return None
        if quick and one.crc is not None and crc(path) == one.crc:
            return None
        return _changed(path, one) if one.sha256 else _unreadable(path)
    except FileNotFoundError:
        return _said(path, one, "is missing")
    except OSError as error:
        return _said(path, one, f"cannot be read ({error})")


def compared(path: Path, one: Segment, digest: str) -> str | None:
    """What is wrong with a file that has this SHA-256."""
    if digest == one.sha256 or not one.sha256:
        return None
    return _said(path, one, f"its SHA-256 is {digest}, {one.sha256} when it was written: it was changed")


def crc(path: Path) -> int:
    """CRC-32 of a file. OSError where it cannot be read."""
    found = 0
    for block in _blocks(path):
        found = _crc.crc32(block, found)
    return found


def sums(path: Path) -> tuple[str, int]:
    """SHA-256 and CRC-32 of a file, of the same bytes. OSError where it cannot be read."""
    digest, found = hashlib.sha256(), 0
    for block in _blocks(path):
        digest.update(block)
        found = _crc.crc32(block, found)
    return digest.hexdigest(), found


def _blocks(path: Path) -> Iterator[memoryview]:
    """What a file has, in one buffer that is used again."""
    block = bytearray(_BLOCK)
    whole = memoryview(block)
    with path.open("rb", buffering=0) as file:
        while read := file.readinto(block):
            yield whole[:read]


def _changed(path: Path, one: Segment) -> str | None:
    with path.open("rb") as file:
        return compared(path, one, hashlib.file_digest(file, "sha256").hexdigest())


def _unreadable(path: Path) -> str | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.read_metadata(path)
    except pa.ArrowException as error:
        return f"{path}: cannot be read ({error})"
    return None


def _said(path: Path, one: Segment, what: str) -> str:
    """With the rows that are missing with it, where the manifest tells."""
    if not one.rows or one.time_min is None or one.time_max is None:
        return f"{path}: {what}"
    begin, end = (_iso(moment) for moment in (one.time_min, one.time_max))
    return f"{path}: {what}; it had {one.rows:,} {'row' if one.rows == 1 else 'rows'} from {begin} to {end}"


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1_000_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
