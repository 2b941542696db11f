"""What the observer measures of its bounds: NAME is what is in use, NAME_limit the bound; a table of the kernel's is kernel_NAME, a
counter of what failed there failed_NAME. They stand in the table `observer`, and `status` and `metrics` show them.
"""

from __future__ import annotations

import contextlib
import time

from firsthand.observe.source import Source, failure_names
from firsthand.probe import stats
from firsthand.probe.loaded import RINGS, Loaded
from firsthand.wire.sequence import MOST_OPEN

#: Seconds between two counts of the kernel's tables: each entry costs some 100 ns.
EVERY = 60.0


def bound(name: str, used: float, limit: float) -> dict[str, float]:
    """One bound, as it stands among the measures."""
    return {name: used, f"{name}_limit": limit}


class KernelTables:
    """Entries of the kernel's hash maps, counted anew once in EVERY seconds."""

    def __init__(self) -> None:
        self._due = 0.0
        self._held: dict[str, float] = {}

    def measures(self, loaded: Loaded) -> dict[str, float]:
        """All of them; empty where the kernel does not let them be counted."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + EVERY
            with contextlib.suppress(OSError):
                self._held = _tables(loaded)
        return self._held


def _tables(loaded: Loaded) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, (used, limit) in stats.tables(loaded).items():
        found |= bound(f"kernel_{name}", used, limit)
    return found


def failures(loaded: Loaded) -> dict[str, float]:
    """How often each thing failed in the kernel since its side was made."""
    found = {f"failed_{name}": float(count) for name, count in stats.failures(loaded, failure_names()).items()}
    for subject, counted in stats.subject_failures(loaded).items():
        found |= {f"failed_{subject}_{name}": float(count) for name, count in counted.items()}
    return found


def rings(source: Source, now: float) -> dict[str, float]:
    """How full the rings are, how long the ordinary one lasts at the present rate, and the gaps that are open."""
    found: dict[str, float] = {}
    bytes_per_second = 0.0
    for stream, name in zip(source.streams, RINGS, strict=True):
        found |= bound(f"{name}_waiting_bytes", stream.waiting, stream.ring.size)
        bytes_per_second += stream.rate(now)
    if bytes_per_second:
        found["ring_seconds"] = round(source.streams[0].ring.size / bytes_per_second, 1)
    most = max((stream.sequences.open for stream in source.streams), default=0)
    return found | bound("open_gaps", most, MOST_OPEN)
