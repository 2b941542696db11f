"""Rounds of canaries as stretches of time, small enough to be kept in the manifest beside each segment of `observer`.

A round proves the hooks at the moment when it began; the observer's rows say which was the last one. Rounds of one observer that each
began in time after the one before are one stretch: between them all is proven. A question reads the stretches of its window, not the
rows' measures (2.6 KB of JSON each ten seconds).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from firsthand.history.store.manifest import Segment
from firsthand.history.store.observing import RUNTIME, TABLE, Queries

#: Seconds that a round may take to begin and to be answered on a loaded machine.
PATIENCE = 10.0
#: The columns that stretches are made of.
COLUMNS = ("node", "boot", "instance", "event", "time", "measures")
_STOP = "stop"
_NAMES = ("proven_monotonic", "monotonic", "canary_seconds")
_NUMBER = re.compile(rf'"({"|".join(_NAMES)})": ([0-9.]+)')


@dataclass(frozen=True)
class Stretch:
    """Rounds of one observer, (node, boot, instance), from the `first` to the `last`, which began at these monotonic seconds.

    `began`: when the first one did, microseconds of the wall clock. `every`: seconds between two, as the last one's rows have it.
    `told`, `told_seconds`: the last row that tells the last one, by both clocks; `ended`: its observer stopped then.
    """

    node: str
    boot: str
    instance: str
    first: float
    began: int
    last: float
    every: float
    told: int
    told_seconds: float
    ended: bool

    @property
    def observer(self) -> tuple[str, str, str]:
        """Whose rounds they are."""
        return self.node, self.boot, self.instance

    @property
    def within(self) -> float:
        """Seconds after the last one within which the next one is in time."""
        return 2 * self.every + PATIENCE

    @property
    def last_began(self) -> int:
        """When the last one began, microseconds of the wall clock: by the row that tells it, and so after a suspend as well."""
        return self.told - round((self.told_seconds - self.last) * 1e6)


def joined(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Observer by observer, in order; those that follow on one another as one."""
    found: list[Stretch] = []
    for one in sorted(stretches, key=lambda one: (one.observer, one.first, one.told_seconds)):
        before = found[-1] if found and found[-1].observer == one.observer else None
        if before is None or one.first - before.last > before.within:
            found.append(one)
        else:
            found[-1] = _together(before, one)
    return found


def _together(before: Stretch, after: Stretch) -> Stretch:
    if before.last == after.last:  # rows of one round, in several segments
        told, seconds = max((before.told, before.told_seconds), (after.told, after.told_seconds))
        every, ended = max(before.every, after.every), before.ended or after.ended
        return replace(before, every=every, told=told, told_seconds=seconds, ended=ended)
    newest = max(before, after, key=lambda one: one.last)
    return replace(newest, first=before.first, began=before.began)


def of_rows(rows: Iterable[Sequence[Any]]) -> list[Stretch]:
    """The stretches of rows, each as COLUMNS, times in microseconds; in any order."""
    return joined(one for row in rows if (one := _of_row(*row)) is not None)


def _of_row(
    node: str | None, boot: str | None, instance: str | None, event: str | None, time: int | None, measures: str | None
) -> Stretch | None:
    said = {} if measures is None or event in (None, RUNTIME) else dict(_NUMBER.findall(measures))
    try:
        seconds, now, every = (float(said[name]) for name in _NAMES)
    except (KeyError, ValueError):
        return None
    return _round(node, boot, instance, seconds, every, time or 0, now, event == _STOP)


def _round(node: str | None, boot: str | None, instance: str | None, *told: Any) -> Stretch:
    seconds, every, time, now, ended = told
    began = time - round((now - seconds) * 1e6)
    return Stretch(node or "", boot or "", instance or "", seconds, began, seconds, every, time, now, ended)


def encode(stretches: Sequence[Stretch]) -> str:
    """Stretches as text for the manifest."""
    return json.dumps([astuple(one) for one in stretches], separators=(",", ":"))


def decode(text: str) -> list[Stretch]:
    """The stretches of such a text. ValueError, TypeError where it is none."""
    return [_checked(*values) for values in json.loads(text)]


def _checked(*values: Any) -> Stretch:
    one = Stretch(*values)
    texts, moments = (one.node, one.boot, one.instance), (one.began, one.told)
    numbers = (one.first, one.last, one.every, one.told_seconds)
    if not all(type(text) is str for text in texts) or not all(type(moment) is int for moment in moments):
        raise TypeError(f"{values!r} is no stretch")
    if not all(type(number) in (int, float) for number in numbers) or type(one.ended) is not bool:
        raise TypeError(f"{values!r} is no stretch")
    return one


def of_segments(segments: Iterable[Segment], since: int, until: int) -> tuple[list[Stretch], list[Segment]]:
    """The stretches of segments of `observer` with rows of that time, and those segments whose rows must be read for it."""
    found, rest = list[Stretch](), list[Segment]()
    for one in segments:
        if one.table != TABLE or not (one.time_min or 0) <= until or not (one.time_max or until) >= since:
            continue
        try:
            found += decode(one.rounds or "")
        except (ValueError, TypeError):
            rest.append(one)
    return found, rest


def of_source(connection: Queries, source: str) -> list[Stretch]:
    """The stretches of a table or a query in brackets that has COLUMNS."""
    said = (f"CAST(regexp_extract(measures, '\"{name}\": ([0-9.]+)', 1) AS DOUBLE)" for name in _NAMES)
    proven, monotonic, every = said
    query = f"""SELECT node, boot, instance, {proven} AS round, max({every}), epoch_us(max(time)), max({monotonic}),
        bool_or(event = '{_STOP}') FROM {source} WHERE event <> '{RUNTIME}' AND measures LIKE '%"proven_monotonic"%'
        GROUP BY node, boot, instance, round"""  # noqa: S608 - names of ours
    return joined(_round(*row) for row in connection.execute(query).fetchall())
