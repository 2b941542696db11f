"""How far the scrub (scrub.py) has come: HISTORY/scrub.json, which the keeper writes and `status` reads."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FILE = "scrub.json"
DAY = 86_400.0


@dataclass(frozen=True)
class ScrubProgress:
    """Where a round stands. Times in seconds since 1970: when it `began`, when the round before `finished` (0.0: none has).

    `path`: the last segment that was read; `done` and `bytes`: of the segments that were read, and of all;
    `damaged`: segments that this round set aside.
    """

    began: float = 0.0
    finished: float = 0.0
    path: str = ""
    done: int = 0
    bytes: int = 0
    damaged: int = 0


def load(directory: Path) -> ScrubProgress | None:
    """What the scrub wrote last; None where it has not, or it cannot be read."""
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
        raw = json.loads((directory / FILE).read_text())
        found = ScrubProgress(**{name: raw[name] for name in asdict(ScrubProgress()) if name in raw})
        kinds = [type(value) for value in asdict(found).values()]
        if all(kind is type(value) for kind, value in zip(kinds, asdict(ScrubProgress()).values(), strict=True)):
            return found
    return None


def written(directory: Path) -> float:
    """When it was written last, in seconds since 1970; now where it never was."""
    try:
        return (directory / FILE).stat().st_mtime
    except OSError:
        return time.time()


def plain(directory: Path, days: float, iso: Callable[[float], str]) -> dict[str, Any] | None:
    """For `status`: when the round began and is to end, what of it is done, when the last one ended; None where none has begun."""
    found = load(directory)
    if found is None:
        return None
    told = {
        "began": iso(found.began),
        "due": iso(found.began + days * DAY),
        "done_bytes": found.done,
        "bytes": found.bytes,
    }
    return told | {"finished": iso(found.finished) if found.finished else None, "damaged": found.damaged}
