"""Who flooded a ring: what stands in a `loss` row about the records that the kernel side held back (kernel/include/flood.h)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from firsthand.observe.source import GAPS, Lost
from firsthand.probe import stats
from firsthand.probe.loaded import Loaded
from firsthand.probe.stats import Flood

#: Whom a row names.
MOST = 3


class Floods:
    """What was held back since the last time. `path`: of a cgroup by its id, empty if it is not known."""

    def __init__(self, loaded: Loaded, path: Callable[[int], str]) -> None:
        self._loaded = loaded
        self._path = path
        self._before = self._now() if loaded.taken_over else {}

    def explained(self, losses: list[Lost]) -> list[Lost]:
        """Losses; the first of records of a ring that was flooded also says by whom."""
        rings = self._details() if any(loss.cause in GAPS for loss in losses) else {}
        found = []
        for loss in losses:
            words = rings.pop(loss.ring, "") if loss.cause in GAPS and loss.ring is not None else ""
            found.append(replace(loss, detail=", ".join(filter(None, (loss.detail, words)))))
        return found

    def _details(self) -> dict[int, str]:
        """By ring, who and how many; only rings of which something was held back since the last time."""
        now = self._now()
        rings: dict[int, list[tuple[int, Flood]]] = {}
        for key, one in now.items():
            before = self._before.get(key)
            number = one.held_back - (before.held_back if before and before.held_back <= one.held_back else 0)
            if number:
                rings.setdefault(one.ring, []).append((number, one))
        self._before = now
        return {ring: self._words(sorted(found, key=lambda each: -each[0])) for ring, found in rings.items()}

    def _now(self) -> dict[tuple[int, int, int, bytes], Flood]:
        try:
            return {(one.cgroup, one.parent, one.ring, one.comm): one for one in stats.floods(self._loaded)}
        except OSError:  # refused: the losses are counted all the same
            return {}

    def _words(self, found: list[tuple[int, Flood]]) -> str:
        named = ", ".join(self._one(number, flood) for number, flood in found[:MOST])
        rest = sum(number for number, _ in found[MOST:])
        return f"held back in a flood: {named}" + (f", {rest:,} of others" if rest else "")

    def _one(self, number: int, flood: Flood) -> str:
        name = flood.comm.decode(errors="backslashreplace")
        where = self._path(flood.cgroup) or f"cgroup {flood.cgroup}"
        return f"{number:,} of {name} (parent {flood.parent}) in {where}"
