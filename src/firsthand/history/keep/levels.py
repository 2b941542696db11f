"""Which segments are merged next: by levels, so that a row is written at most six times whatever the rate. Pure: segments in, merges out.

The segments of one table, day, node and log are a group. Within it a level is a range of rows, each some sixteen times the one below.
FAN segments of a level become one of a higher level. From HEAVY rows on a segment waits until FULL rows are together: such a merge is a row's
last, but for the day's. When the day closes, what is below FULL rows is merged once more.

A row is written first, once at each level that it passes, and once at the close. A level needs FAN segments of the one below, and a
keeper writes a table's rows each 30 s at low rates: 2,880 a day pass two small levels and HEAVY. At high rates the first segments are HEAVY.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from firsthand.history.store.manifest import Segment

#: So many segments of one small level are merged, and at most so many at once: what waited, and what is HEAVY.
FAN, MOST = 16, 64
#: Rows from which on a segment is of the next level.
LEVELS = (16, 256, 4_096, 16_384)
HEAVY = LEVELS[-1]
#: Rows from which on a segment is never merged again. A merged one has less than twice as many.
FULL = 1_000_000
#: Seconds after a day's end at which its last rows are in segments.
SETTLED = 600
_DAY = 86_400

Group = tuple[str, str, str, str]


@dataclass(frozen=True)
class Merge:
    """Segments that become one, in log order. `closes`: it leaves nothing to be merged in its closed day."""

    parts: tuple[Segment, ...]
    urgent: bool
    closes: bool = False

    @property
    def group(self) -> Group:
        """The group that its parts are of."""
        return group(self.parts[0])

    @property
    def rows(self) -> int:
        """Rows that it writes."""
        return sum(one.rows for one in self.parts)


def group(one: Segment) -> Group:
    """Segments of one group may be merged: (table, date, node, log)."""
    return one.table, one.date, one.node, one.log


def level(rows: int) -> int:
    """The level of a segment of so many rows; len(LEVELS) is HEAVY."""
    return bisect.bisect_right(LEVELS, rows)


def due(segments: Sequence[Segment], today: str, closed: Collection[Group] = (), fan: int = FAN) -> list[Merge]:
    """The merges that are due, the most urgent first. Days before `today` (YYYY-MM-DD) are closed, groups in `closed` have been merged for it."""
    found: list[Merge] = []
    for key, mine in _groups(segments).items():
        closing = key[1] < today and key not in closed
        merges = list(_by_levels(mine, fan)) if not closing else [_close(mine)] if len(mine) > 1 else []
        found += merges
    return sorted(found, key=lambda one: (not one.urgent, one.group[1] if not one.urgent else "", one.rows, one.group))


def _groups(segments: Sequence[Segment]) -> dict[Group, list[Segment]]:
    """What is not FULL, by group, in log order."""
    found: dict[Group, list[Segment]] = {}
    for one in segments:
        if one.rows < FULL:
            found.setdefault(group(one), []).append(one)
    for mine in found.values():
        mine.sort(key=_place)
    return found


def _by_levels(mine: Sequence[Segment], fan: int) -> Iterator[Merge]:
    levels: dict[int, list[Segment]] = {}
    for one in mine:
        levels.setdefault(level(one.rows), []).append(one)
    for number, those in sorted(levels.items()):
        taken = _filled(those)
        enough = fan if number < len(LEVELS) else MOST
        if len(taken) > 1 and (len(taken) >= enough or sum(one.rows for one in taken) >= FULL):
            yield Merge(tuple(taken), urgent=True)


def _filled(those: Sequence[Segment]) -> list[Segment]:
    """The first ones, up to MOST, until they have FULL rows."""
    taken: list[Segment] = []
    rows = 0
    for one in those[:MOST]:
        taken.append(one)
        rows += one.rows
        if rows >= FULL:
            break
    return taken


def _close(mine: Sequence[Segment]) -> Merge:
    """All of a closed day where that is no more than MOST segments and twice FULL, else the smallest of them."""
    taken: list[Segment] = []
    rows = 0
    for one in sorted(mine, key=lambda one: one.rows):
        if len(taken) == MOST or (len(taken) > 1 and rows + one.rows > 2 * FULL):
            break
        taken.append(one)
        rows += one.rows
    return Merge(tuple(sorted(taken, key=_place)), urgent=False, closes=len(taken) == len(mine))


def _place(one: Segment) -> tuple[int, int, str]:
    return one.from_file, one.from_offset, one.path


def closes(now: float) -> int:
    """The day, in days since 1970, before which all are closed at `now` (seconds since 1970)."""
    return int((now - SETTLED) // _DAY)
