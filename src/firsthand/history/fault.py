"""Points at which a test makes this process die, one inside every step that makes rows durable or moves them.

FIRSTHAND_FAULT=NAME[:N] with FIRSTHAND_FAULT_ALLOWED=1 kills the process (SIGKILL) when it comes to the point NAME for the Nth
time. Without both, a point costs a look into a dictionary.
"""

from __future__ import annotations

import os
import signal

#: Every point, in the order in which a row meets them.
POINTS = (
    "append.before_write",
    "append.before_sync",
    "append.after_sync",
    "segment.before_rename",
    "segment.after_rename",
    "hand_over.before_commit",
    "hand_over.after_commit",
    "log.before_delete",
    "merge.before_link",
    "merge.before_merge",
    "merge.after_rows",
    "merge.before_commit",
    "merge.after_commit",
    "merge.before_swap",
    "merge.after_swap",
    "merge.before_mark",
    "retire.before_commit",
    "retire.after_commit",
)
_counts: dict[str, int] = {}


def reached(point: str) -> None:
    """Die here, where a test asked for it. ValueError for a point that is not listed."""
    if os.environ.get("FIRSTHAND_FAULT_ALLOWED") != "1":
        return
    if point not in POINTS:
        raise ValueError(f"{point} is no fault point; list it in {__name__}.POINTS")
    wanted, _, number = os.environ.get("FIRSTHAND_FAULT", "").partition(":")
    if wanted != point:
        return
    _counts[point] = _counts.get(point, 0) + 1
    if _counts[point] == int(number or 1):
        os.kill(os.getpid(), signal.SIGKILL)
