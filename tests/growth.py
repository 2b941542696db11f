"""Sleeping until a history's logs grow: a test that waits for rows asks again only after something was written."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from firsthand.history import place
from firsthand.history.log import growth

#: Seconds after which a wait looks again though no log has grown: at names that the keeper has frozen, at a process that ended.
MOST_ASLEEP = 1.0
T = TypeVar("T")


class LogsGrowth:
    """What is written into the observer's log and the follower's from the beginning of the block on.

    A write before the first `wait` counts, so that nothing is missed between a look at the rows and the wait after it.
    """

    def __init__(self, history: Path) -> None:
        self._log, self._names = (growth.Growth(history / name) for name in (place.LOG, place.NAMES))

    def __enter__(self) -> LogsGrowth:
        self._log.watch()
        self._names.watch()
        return self

    def wait(self, most: float) -> None:
        """Sleep until something was written since the last `wait`, `most` seconds at most."""
        self._names.watch()
        names = self._names.fileno()
        if self._log.wait(most, [names] if names >= 0 else []):
            self._names.seen()

    def __exit__(self, *_: object) -> None:
        self._log.close()
        self._names.close()


def until_grown(
    history: Path,
    look: Callable[[], list[T]],
    met: Callable[[list[T]], Any],
    seconds: float,
    alive: Callable[[], object],
    what: str,
) -> list[T]:
    """What `look` finds as soon as it is as wanted, within so many seconds; it looks again only when the log has grown.

    `alive`: fails where nothing will come any more. AssertionError with what was found, and `what` was looked for.
    """
    until = time.monotonic() + seconds
    with LogsGrowth(history) as logs:
        while not met(found := look()):
            alive()
            assert time.monotonic() < until, f"not as wanted: {found}: {what}"
            logs.wait(MOST_ASLEEP)
    return found
