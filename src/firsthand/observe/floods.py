"""Who flooded a ring: what stands in a `loss` row about the records that the kernel side held back (kernel/include/flood.h)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

from firsthand.observe.source import GAPS, Lost
from firsthand.probe import stats
from firsthand.probe.loaded import Loaded
from firsthand.probe.stats import Flood

#: Whom a row names.
MOST = 3


class Floods:
    """What was held back since the last time. `path`: of a cgroup by its id, empty if it is not known; `looked`: when a reader before last
    looked for losses, bpf_ktime_get_boot_ns: whoever was held back since then has not been named.

    `held_back` counts the records that were held back and are in a row, since this observer began.
    """

    def __init__(self, loaded: Loaded, path: Callable[[int], str], looked: int) -> None:
        self._loaded = loaded
        self._path = path
        self.held_back = 0
        self._before = {key: one for key, one in self._now().items() if one.last <= looked}

    def explained(self, losses: list[Lost]) -> list[Lost]:
        """Losses; the largest one of records of a ring that was flooded also says by whom."""
        gaps = [loss for loss in losses if loss.cause in GAPS]
        words: dict[int, str] = {}  # by id: losses can be equal
        for ring, told in (self._details() if gaps else {}).items():
            largest = max((loss for loss in gaps if loss.ring == ring), key=lambda loss: loss.events or 0, default=None)
            words |= {id(largest): told} if largest is not None else {}
        return [replace(loss, detail=", ".join(filter(None, (loss.detail, words.get(id(loss)))))) for loss in losses]

    def _details(self) -> dict[int, str]:
        """By ring, who and how many; only rings of which something was held back since the last time."""
        now = self._now()
        rings: dict[int, list[tuple[int, Flood]]] = {}
        for key, one in now.items():
            before = self._before.get(key)
            number = one.held_back - (before.held_back if before and before.held_back <= one.held_back else 0)
            if number:
                rings.setdefault(one.ring, []).append((number, one))
                self.held_back += number
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
        """Names as JSON texts: whoever is named chose them, and could write the rest of the sentence into them."""
        name, path = flood.comm.decode(errors="backslashreplace"), self._path(flood.cgroup)
        where = json.dumps(path, ensure_ascii=False) if path else f"cgroup {flood.cgroup}"
        return f"{number:,} of {json.dumps(name, ensure_ascii=False)} (parent {flood.parent}) in {where}"
