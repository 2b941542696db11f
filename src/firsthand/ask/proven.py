"""When nobody proved that the hooks still record: rounds of canaries that came too late (history/store/rounds.py).

A round proves the hooks at the moment when it began. Between two rounds they are proven where the second began within two of the
intervals that are set, and rounds.PATIENCE. Both clocks of a row are kept: by the monotonic one a suspended machine is not late.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from firsthand.ask.answer import Connection, Window, iso
from firsthand.history.store import observing, rounds
from firsthand.history.store.rounds import Stretch

#: Seconds after which an observer that said nothing lives no more.
ALIVE = 15.0
#: How far behind a window rounds are looked for: what was not proven for longer shows within it.
BEHIND = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def reasons(connection: Connection, window: Window, node: str | None = None) -> list[str]:
    """What of a window is not proven, for each observer."""
    return [
        f"no canary proved the hooks on {name} from {iso(begin)} to {iso(end)}: the supervisor was stopped or too slow"
        for name, begin, end in _unproven(
            _stretches(connection, window.since, window.until + BEHIND), datetime.now(UTC)
        )
        if end >= window.since and begin <= window.until and (node is None or node == name)
    ]


def overdue(connection: Connection, now: datetime) -> dict[str, datetime]:
    """The nodes whose hooks are not proven now, and since when."""
    found = _stretches(connection, now - timedelta(seconds=2 * ALIVE), now)
    last = {one.observer: one for one in found}
    return {one.node: _moment(one.last_began) for one in last.values() if _overdue(one, now)}


def _unproven(found: Sequence[Stretch], now: datetime) -> Iterator[tuple[str, datetime, datetime]]:
    for one, following in itertools.zip_longest(found, found[1:]):
        if following is not None and following.observer == one.observer:
            yield one.node, _moment(one.last_began), _moment(following.began)
        elif _overdue(one, now):
            yield one.node, _moment(one.last_began), _until(one, now)


def _until(one: Stretch, now: datetime) -> datetime:
    """To when its last round is the last one: the last row that tells it, or now where its observer lives."""
    told = _moment(one.told)
    lives = not one.ended and timedelta() <= now - told <= timedelta(seconds=ALIVE)
    return now if lives else told


def _overdue(one: Stretch, now: datetime) -> bool:
    """Whether the next round should have begun by then."""
    return one.told_seconds - one.last + (_until(one, now) - _moment(one.told)).total_seconds() > one.within


def _stretches(connection: Connection, since: datetime, until: datetime) -> list[Stretch]:
    from firsthand.history.store.connection import LazyConnection

    if isinstance(connection, LazyConnection):
        return connection.rounds(*((moment - _EPOCH) // timedelta(microseconds=1) for moment in (since, until)))
    return rounds.of_source(connection, observing.TABLE)


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
