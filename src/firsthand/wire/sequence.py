"""Losses, told from the numbers that each (ring, CPU) gives its records (law 2).

A gap counts only after it stayed open past a re-ordering window: an interrupt's program can overtake the one that it
interrupted. At the end, numbers that were taken and never came are an open tail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW = 1.0
#: Gaps that may be open at once; beyond, the oldest are reported before their time.
MOST_OPEN = 4096


@dataclass(frozen=True)
class Gap:
    """Numbers `first` to `last` of one CPU that never came; seen missing at `since` (monotonic seconds).

    `tail`: no record behind them came either; the kernel's own counter tells of them.
    """

    cpu: int
    first: int
    last: int
    since: float
    tail: bool = False

    @property
    def events(self) -> int:
        return self.last - self.first + 1


@dataclass
class Sequences:
    """One ring's numbers. `window` is the re-ordering window in seconds."""

    window: float = WINDOW
    recorded: int = 0
    repeated: int = 0
    _next: dict[int, int] = field(default_factory=dict)
    _open: dict[int, list[Gap]] = field(default_factory=dict)
    _anywhere: bool = False

    @classmethod
    def restored(cls, state: dict[str, Any] | None, now: float) -> Sequences:
        """As `state` told; gaps that were open then are seen missing `now`."""
        found = cls()
        if state:
            found.recorded = state["recorded"]
            found._next = {int(cpu): number for cpu, number in state["next"].items()}
            for cpu, first, last in state["open"]:
                found._add(Gap(cpu, first, last, now))
        return found

    def state(self) -> dict[str, Any]:
        """What a later reader needs to go on: plain numbers."""
        gaps = [(gap.cpu, gap.first, gap.last) for gaps in self._open.values() for gap in gaps]
        return {"recorded": self.recorded, "next": dict(self._next), "open": gaps}

    def begin_anywhere(self) -> None:
        """The first number of a CPU need not be 0: others have read before."""
        self._anywhere = True

    def take(self, cpus: NDArray[np.integer], numbers: NDArray[np.int64], now: float) -> None:
        """The records of a batch, in ring order."""
        self.recorded += len(numbers)
        for cpu in np.unique(cpus).tolist():
            self._take(cpu, np.sort(numbers[cpus == cpu]), now)

    def _take(self, cpu: int, numbers: NDArray[np.int64], now: float) -> None:
        expected = self._next.get(cpu, int(numbers[0]) if self._anywhere else 0)
        late = numbers[numbers < expected]
        for number in late.tolist():
            self._fill(cpu, number)
        fresh = numbers[numbers >= expected]
        if not len(fresh):
            return
        before = np.concatenate(([expected - 1], fresh[:-1]))
        for place in np.flatnonzero(fresh - before > 1).tolist():
            self._add(Gap(cpu, int(before[place]) + 1, int(fresh[place]) - 1, now))
        self._next[cpu] = int(fresh[-1]) + 1

    def _add(self, gap: Gap) -> None:
        self._open.setdefault(gap.cpu, []).append(gap)

    def _fill(self, cpu: int, number: int) -> None:
        for gap in self._open.get(cpu, []):
            if gap.first <= number <= gap.last:
                self._open[cpu].remove(gap)
                if gap.first < number:
                    self._add(replace(gap, last=number - 1))
                if number < gap.last:
                    self._add(replace(gap, first=number + 1))
                return
        self.repeated += 1

    def produced(self, counters: Sequence[int], now: float) -> None:
        """Numbers taken so far by CPU, read before the ring was drained: what is missing below them is a gap."""
        for cpu, count in enumerate(counters):
            expected = self._next.get(cpu, count if self._anywhere else 0)
            if self._anywhere:
                self._next.setdefault(cpu, count)
            if count > expected:
                self._add(Gap(cpu, expected, count - 1, now, tail=True))
                self._next[cpu] = count

    @property
    def open(self) -> int:
        """Gaps that are open now."""
        return sum(map(len, self._open.values()))

    @property
    def awaited(self) -> float | None:
        """When the first of the gaps that are open was seen (monotonic seconds); None: every number has come or was reported."""
        return min((gap.since for gaps in self._open.values() for gap in gaps), default=None)

    def closed(self, now: float) -> list[Gap]:
        """Gaps that stayed open past the window; they are reported once."""
        every = [gap for gaps in self._open.values() for gap in gaps]
        over = sorted(every, key=lambda gap: gap.since)[: max(0, len(every) - MOST_OPEN)]
        ripe = [gap for gap in every if now - gap.since >= self.window or gap in over]
        for gap in ripe:
            self._open[gap.cpu].remove(gap)
        return ripe
