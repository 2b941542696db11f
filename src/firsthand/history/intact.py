"""Whether a segment's file is what the manifest says of it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from firsthand.history.manifest import Segment


def damage(path: Path, one: Segment, *, by_size: bool = False) -> str | None:
    """What is wrong with a segment's file: missing, of another size or hash, unreadable; None: nothing. With how many rows that are.

    `by_size` holds a file against its hash only where somebody wrote it since. A segment whose hash is not known is only opened.
    """
    try:
        found = path.stat()
        if found.st_size != one.bytes:
            return _said(
                path, one, f"has {found.st_size} bytes, {one.bytes} when it was written: it was cut or changed"
            )
        if by_size and one.written in (None, found.st_mtime_ns):
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
