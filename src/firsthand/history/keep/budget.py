"""What has to go: by age, and by bytes, where each namespace has its fair share (max-min) and loses its own oldest rows first.

Pure: pieces in, cuts out. Four kinds of rows (share.py): `bulk`; `protected`, which lives longer, in a quarter of the bytes;
`names` and `record`, which stay as long as anything of their day or of later ones that they speak of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from firsthand.history.store.share import BULK, NAMES, PROTECTED, RECORD, Share
from firsthand.settings.sections.retention import Limits

DAY = 86_400_000_000
#: Over the budget, this much of it is filled again, so that not every minute's rows cost a rewriting.
LOW = 0.9
#: The part of the bytes for protected rows, and for names; and what is shared however much holds and the record take.
PART = 4


@dataclass(frozen=True, eq=False)
class Piece:
    """One share of one segment: what goes together. `bytes` are the segment's by rows, `held` the rows that a hold has.

    Equal to itself alone: a history has some hundred thousand of them, looked at each minute.
    """

    path: str
    table: str
    date: str
    share: Share
    bytes: int
    held: int = 0

    @property
    def free(self) -> int:
        """Bytes that may go."""
        return self.bytes * (self.share.rows - self.held) // self.share.rows if self.held else self.bytes


@dataclass(frozen=True)
class Cut:
    """A piece that goes, and why."""

    piece: Piece
    reason: str


def plan(pieces: Sequence[Piece], limits: Limits, now: int, goal: int) -> list[Cut]:
    """What is to go at `now` (microseconds) so that no more than `goal` bytes stay."""
    cuts: dict[Piece, str] = {}
    for step in (_aged(limits, now), _capped(limits), _crowded(limits, goal), _orphaned(limits, now)):
        kept = [one for one in pieces if one not in cuts] if cuts else pieces
        left = [one for one in kept if one.held < one.share.rows]
        cuts |= {cut.piece: cut.reason for cut in step(left, kept)}
    return [Cut(piece, reason) for piece, reason in cuts.items()]


_Step = Callable[[Sequence[Piece], Sequence[Piece]], Iterable[Cut]]


def _aged(limits: Limits, now: int) -> _Step:
    """Rows that are older than their days. One without a time does not age."""
    fixed = {name: limit.days for name, limit in limits.namespaces.items() if limit.days is not None}

    def step(left: Sequence[Piece], _: Sequence[Piece]) -> Iterator[Cut]:
        for one in left:
            days = fixed.get(one.share.namespace, limits.days)
            if one.share.kind == PROTECTED:
                days = max(days, limits.protected_days)
            if one.share.kind in (BULK, PROTECTED) and 0 < one.share.last < now - days * DAY:
                yield Cut(one, f"older than {days} days")

    return step


def _capped(limits: Limits) -> _Step:
    """Namespaces over the bytes that they were given, whatever room there is else."""
    fixed = {name: limit.bytes for name, limit in limits.namespaces.items() if limit.bytes is not None}

    def step(left: Sequence[Piece], _: Sequence[Piece]) -> Iterator[Cut]:
        for name, most in fixed.items():
            mine = [one for one in left if one.share.namespace == name and one.share.kind in (BULK, PROTECTED)]
            if _bytes(mine) > most:
                yield from _oldest(_bulk_first(mine), int(most * LOW), "over the bytes that its namespace is given")

    return step


def _bulk_first(pieces: list[Piece]) -> list[Piece]:
    return sorted(pieces, key=lambda one: (one.share.kind == PROTECTED, one.share.last, one.path))


def _crowded(limits: Limits, goal: int) -> _Step:
    """Where all together are over the goal, each over its fair share."""
    reason = "over its namespace's share of the bytes"

    def step(left: Sequence[Piece], kept: Sequence[Piece]) -> Iterator[Cut]:
        if sum(one.bytes for one in kept) <= goal:
            return
        pools = _pools(left, kept, limits, int(goal * LOW))
        for kind, most in pools.items():
            yield from _over([one for one in left if one.share.kind == kind], most, limits, reason)

    return step


def _pools(left: Sequence[Piece], kept: Sequence[Piece], limits: Limits, goal: int) -> dict[str, int]:
    """The bytes for each kind that can be cut."""
    names = min(_bytes(left, NAMES), goal // PART)
    fixed = _bytes(left, RECORD) + sum(one.bytes - one.free for one in kept)
    spend = max(goal - fixed - names, goal // PART)
    protected = min(_bytes(left, PROTECTED), spend // PART)
    return {NAMES: names, PROTECTED: protected, BULK: spend - protected}


def _bytes(pieces: Iterable[Piece], kind: str | None = None) -> int:
    return sum(one.free for one in pieces if kind in (None, one.share.kind))


def _over(pieces: list[Piece], most: int, limits: Limits, reason: str) -> Iterator[Cut]:
    by_name: dict[str, list[Piece]] = {}
    for one in sorted(pieces, key=lambda one: (one.share.last, one.path)):
        by_name.setdefault(one.share.namespace, []).append(one)
    fixed = {name: limit.bytes for name, limit in limits.namespaces.items() if limit.bytes is not None}
    may = fair({name: _bytes(mine) for name, mine in by_name.items()}, most, fixed)
    for name, mine in by_name.items():
        yield from _oldest(mine, may[name], reason)


def _oldest(pieces: list[Piece], most: int, reason: str) -> Iterator[Cut]:
    """The first pieces, until the rest is no more than `most` bytes."""
    left = _bytes(pieces)
    for one in pieces:
        if left <= most:
            return
        left -= one.free
        yield Cut(one, reason)


def fair(wanted: Mapping[str, int], most: int, fixed: Mapping[str, int]) -> dict[str, int]:
    """Bytes for each, max-min: who wants less than an equal part has it all, the others share what is left.

    `fixed` ones have theirs first, as far as they want it; where even these are too many, all share alike.
    """
    given = {name: min(wanted[name], fixed[name]) for name in wanted if name in fixed}
    if sum(given.values()) > most:
        given = {}
    left = most - sum(given.values())
    others = sorted((want, name) for name, want in wanted.items() if name not in given)
    for place, (want, name) in enumerate(others):
        given[name] = min(want, left // (len(others) - place))
        left -= given[name]
    return given


def _orphaned(limits: Limits, now: int) -> _Step:
    """Names and the record of days before anything else that is held: whole days, all tables alike, so that none of them
    speaks of a time of which another has gone."""

    def step(left: Sequence[Piece], kept: Sequence[Piece]) -> Iterator[Cut]:
        begins = [one.share.first for one in kept if one.share.kind in (BULK, PROTECTED) and one.share.first > 0]
        floor = min([*begins, now - limits.days * DAY]) // DAY
        for one in left:
            if one.share.kind in (NAMES, RECORD) and 0 < one.share.last < floor * DAY:
                yield Cut(one, "older than all that is held")

    return step
