"""Whether the wall clock went as time did. One that was set far ahead makes every row look old: then none may go for its age."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from firsthand.history.store.manifest import Manifest

#: Seconds of wall time that nobody saw pass from which on the clock is not believed, and for how long it is not.
STEP, WAIT = 86_400.0, 86_400.0


@dataclass
class Steady:
    """`now` is the wall clock, `elapsed` one that nobody can set, both in seconds. What was seen outlives the keeper in the manifest.

    A time in which no keeper ran is one that nobody saw: after a day of it ages wait as well.
    """

    now: Callable[[], float]
    elapsed: Callable[[], float]
    manifest: Manifest
    _seen: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._seen = max(self.manifest.last_change(), self.manifest.doubted() or 0.0)
        self._at = self.elapsed()

    def believed(self) -> bool:
        """Whether ages may be told by the clock now; said on standard error where they may no longer."""
        now, at = self.now(), self.elapsed()
        unseen = (now - self._seen) - (at - self._at)
        self._seen, self._at = now, at
        if unseen > STEP:
            self.manifest.doubt(now)
            print(
                f"keeper: the wall clock went on by {unseen:,.0f} s that nobody saw pass: for a day no row goes for its age; set the "
                "clock right if it is wrong",
                file=sys.stderr,
                flush=True,
            )
        since = self.manifest.doubted()
        if since is not None and now < since:  # it was set back
            self.manifest.doubt(None)
            return True
        return since is None or now >= since + WAIT
