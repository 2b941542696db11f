"""Whether an answer's evidence is complete, and if not, why: judged by the rows of `observer` and `loss` (law 2)."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from firsthand.ask import dissected, proven, retained, whose
from firsthand.ask.answer import Completeness as Completeness
from firsthand.ask.answer import Connection, Filters, Window
from firsthand.ask.answer import iso as iso
from firsthand.history.names.owner import CAUSE
from firsthand.history.store import observing
from firsthand.history.store.observing import Run
from firsthand.schema.tables import KEPT
from firsthand.subjects.declare import Hook, Switch
from firsthand.subjects.registry import OWNED, SUBJECTS, TABLES

#: A running observer says that it is alive every ten seconds; one that was silent for longer has ended.
ALIVE_WITHIN = timedelta(seconds=15)
_BEGIN, _READY, _RESUME, _STOP = "start", "ready", "resume", "stop"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Settings that leave a table's rows out.
_SWITCHES: tuple[Switch, ...] = tuple(switch for one in SUBJECTS for switch in one.switches)
#: Tables of what settings choose, and where the observer's column `settings` has whether they are on.
_CHOSEN: dict[str, tuple[str, ...]] = {
    one.table: one.at for one in _SWITCHES if one.table in TABLES and TABLES[one.table].chosen
}
#: Hooks that do not see all that their table has rows of.
_DOUBTS: dict[str, Hook] = {hook.name: hook for one in SUBJECTS for hook in one.hooks if hook.doubt}
#: The table that tells which cgroups there are and what moves between them: by it a row is a container's.
_CGROUPS = "container"
#: The table whose rows tell of flows of datagrams: when they end, or when they have lasted for a second.
_FLOWS = "connection"
#: Within this time each flow and each attempt has its row: a flow after a second (kernel/include/flow.h), an attempt when it has an
#: answer, after a second, or when no neighbour has the address, which takes three.
_SWEPT = timedelta(seconds=5)
#: What folds by setting, and the table that has the rows.
_FOLDING = {"processes": "process", "connections": "connection"}


@dataclass
class Span:
    """One observer's time: from `start`, which `ready` proves, to `stop`, or its last sign of life; `open` where it never said that it stopped.

    Rows `seen`, of what ran before, lie behind `started`. `reach` is how long one folded row spans at most. `observer`, `words`,
    `ready`, `ktime` and `changing` (since it resumed) are of its last row: by them the next one is placed. `told`: that row's time,
    microseconds.
    """

    node: str
    started: datetime
    begin: datetime
    end: datetime
    scope: str | None
    hooks: dict[str, str]
    blind_spots: list[str]
    settings: dict[str, Any]
    open: bool = True
    reach: timedelta = timedelta()
    recorded: int = 0
    lost: int = 0
    observer: tuple[str, str, str] = ("", "", "")
    words: tuple[str | None, ...] = ()
    ready: bool = True
    ktime: int = 0
    changing: datetime | None = None
    told: int = 0

    def observing(self, now: datetime) -> bool:
        """Whether it goes on at this moment, as far as the history tells."""
        return self.open and abs(now - self.end) <= ALIVE_WITHIN


def spans(connection: Connection, now: datetime) -> list[Span]:
    """Everything that was ever observed, in order. A span that is open and was alive just now reaches to now, as far as its observer says
    that the record is whole.

    A wall clock that was set back ends a span and begins another one; so does another scope, setting or state of a hook, without a gap
    between the two. `connection`: a history's LazyConnection, or one that has the table `observer`.
    """
    from firsthand.history.store.connection import LazyConnection

    runs = (
        connection.runs()
        if isinstance(connection, LazyConnection)
        else observing.of_source(connection, observing.TABLE)
    )
    through = connection.through if isinstance(connection, LazyConnection) else None
    found: list[Span] = []
    for run in observing.ordered(runs):
        _take(found, run)
    for span in found:
        if span.observing(now):
            span.end = max(span.end, now if through is None else min(now, through.record))
    return sorted(found, key=lambda span: span.begin)


def _take(found: list[Span], run: Run) -> None:
    """One more run, of the last span's observer or of the next one."""
    begin, end = _moment(run.begin), _moment(run.end)
    last = found[-1] if found and found[-1].observer == run.observer else None
    if last is not None and begin < last.end and run.first >= last.ktime:  # the clock was set back
        last.open = False
        found.append(_span(run, min(last.started, begin), begin))
    elif last is None or run.event == _BEGIN:
        if last is not None:  # whoever observed before it has ended, whether it said so or not
            last.open = False
        found.append(_span(run, begin, begin))
    elif run.event == _RESUME:  # what it says of hooks is said again when they have answered
        last.changing = last.changing or begin
    elif last.words != run.words and (last.ready or run.event != _READY):
        at = last.changing or begin
        last.end, last.open = max(last.end, at), False
        found.append(_span(run, last.started, at))
    _extend(found[-1], run, end)


def _span(run: Run, started: datetime, begin: datetime) -> Span:
    return Span(
        run.node or "", started, begin, begin, None, {}, [], {}, observer=run.observer, ready=run.event != _BEGIN
    )


def _extend(span: Span, run: Run, end: datetime) -> None:
    """One more run of a span. `ready` proves it from its `start` on: nothing is attached between the two. One that resumed is ready
    again: the kernel side went on meanwhile."""
    span.end, span.open, span.ktime = max(span.end, end), run.event != _STOP, max(span.ktime, run.last)
    span.told = run.end
    span.recorded, span.lost = run.recorded, run.lost
    if run.event == _RESUME and span.words:
        return
    span.ready = span.ready or run.event == _READY
    span.changing = None
    if span.words == run.words:
        return
    span.words = run.words
    span.scope, hooks, blind, settings = run.words
    span.hooks, span.blind_spots, span.settings = (
        json.loads(hooks or "{}"),
        json.loads(blind or "[]"),
        json.loads(settings or "{}"),
    )
    span.reach = max(span.reach, _folding(span.settings, 2))


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _folding(settings: dict[str, Any], rows: int) -> timedelta:
    """The time of so many folded rows, of a life, and a second or two of delay; zero where none folds.

    One row covers twice its time at most (takes() of kernel/include/fold.h).
    """
    folding = settings.get("folding", {})
    if "every_seconds" not in folding:
        return timedelta()
    return timedelta(seconds=rows * folding["every_seconds"] + folding["most_ms"] / 1000 + 2)


def reach(found: Sequence[Span]) -> timedelta:
    """How long one folded row spans at most, in any of these spans; zero where none were folded."""
    return max((span.reach for span in found), default=timedelta())


def session_began(found: list[Span], moment: datetime) -> datetime:
    """When the observers that watched at a moment had started: what ran at that moment was told after that."""
    return min((span.started for span in found if span.begin <= moment <= span.end), default=moment)


def extent(found: list[Span], now: datetime, held: Window | None = None) -> Window:
    """The whole history: from its beginning to its end, which is now while it is being written; and what is `held` of before and after,
    which the kernel's side recorded while nobody said that it was observed."""
    if not found:
        return held or Window(now, now)
    observed = Window(min(span.begin for span in found), max(span.end for span in found))
    if held is None:
        return observed
    return Window(min(observed.since, held.since), max(observed.until, held.until))


def held(connection: Connection, tables: Collection[str]) -> Window | None:
    """When the first and the last event happened that the history has of tables of OWNED; None: there is none."""
    from firsthand.history.store.connection import LazyConnection

    bounds = (
        connection.held([name for name in tables if name in OWNED]) if isinstance(connection, LazyConnection) else None
    )
    return Window(*(moment.replace(tzinfo=UTC) for moment in bounds)) if bounds else None


def judge(
    connection: Connection,
    found: list[Span],
    window: Window,
    tables: tuple[str, ...],
    hooks_of: dict[str, str],
    *,
    node: str | None = None,
    arguments_matter: bool = False,
    names_from: datetime | None = None,
    filters: Filters | None = None,
    reaches: datetime | None = None,
    stands: datetime | None = None,
    damage: Sequence[str] = (),
    beyond: Window | None = None,
    whole: bool = False,
) -> Completeness:
    """Whether `window` was observed in whole with all that `tables` need. `hooks_of` gives the table of each hook.

    `names_from`: a container whose name is not known may belong into the answer, if it has rows from then on; None: names do not matter.
    `filters`: rows that retention removed count only if they match. `reaches`: the begin of the rows that the question compares the window with.
    `stands`: the record has what began before the window and goes on since this time; losses since then count.
    `beyond`: when the first and the last row that is held happened. `whole`: it is about all that was recorded; tables of what settings
    choose count only if they were on.
    """
    mine, inside = _concerned(found, window, node)
    tables = _in_force(inside, tables) if whole else tables
    needed = tables if names_from is None or _CGROUPS in tables else (*tables, _CGROUPS)
    told = Window(min(window.since, stands or window.since), window.until)
    lost, reasons = recorded(
        connection, found, window, needed, hooks_of, node=node, beyond=beyond, told=told, whole=whole
    )
    reasons += _of_time(connection, inside, told, tables, node)
    if arguments_matter:
        reasons += _left_out(inside)
    begin = min(told.since, reaches or told.since)
    reasons += retained.reasons(connection, begin, window.until, tables, filters or Filters(node=node))
    if names_from is not None:
        named = Window(names_from, window.until)
        reasons += whose.reasons(connection, named, tables, node, session_began(found, window.since))
    events_held = _held(connection, window, tables)
    reasons += [f"damaged: {what}" for what in damage]  # last: a table is looked at when it is first read
    return _whole(connection, mine, inside, window, tables, (events_held, lost, reasons))


def _of_time(
    connection: Connection, inside: list[Span], window: Window, tables: tuple[str, ...], node: str | None
) -> list[str]:
    """Why what happened in the window may not be in the record yet, or is not proven to be."""
    found = _not_yet_told(inside, window, tables) + proven.reasons(connection, window, node)
    if _FLOWS in tables:
        found += _flows(connection, inside, window)
    return found + dissected.reasons(connection, window, tables, node)


def _whole(
    connection: Connection,
    mine: list[Span],
    inside: list[Span],
    window: Window,
    tables: tuple[str, ...],
    counted: tuple[int, int, list[str]],
) -> Completeness:
    """The verdict. `counted`: events held and lost, and the reasons."""
    scope, blind = _unseen(inside)
    held, lost, reasons = counted
    folded = {
        table: _folded(connection, window, reach(inside), table) if table in tables else 0
        for table in ("process", "connection")
    }
    return Completeness(
        complete=not reasons,
        observed=observed(mine, window),
        history_begins=min((span.begin for span in mine), default=None),
        events_held=held,
        events_lost=lost,
        blind_spots=blind,
        reasons=reasons,
        scope=scope,
        folded=folded["process"],
        folded_connections=folded["connection"],
    )


def _unseen(inside: Sequence[Span]) -> tuple[list[str], list[str]]:
    """The cgroups to which observing was held, and everything that it could not see."""
    scope = sorted({text for span in inside if span.scope for text in span.scope.split("\n")})
    blind = sorted({spot for span in inside for spot in span.blind_spots})
    return scope, blind + [f"outside the cgroup {text} nothing was recorded" for text in scope]


def _folded(connection: Connection, window: Window, reach: timedelta, table: str) -> int:
    """How many the rows of `table` that stand for many and reach into the window stand for."""
    if not reach:
        return 0
    query = f"SELECT sum(folded_count) FROM {table} WHERE time >= ? AND time <= ? AND folded_until >= ?"  # noqa: S608
    since, until = window.since.replace(tzinfo=None), window.until.replace(tzinfo=None)
    row = connection.execute(query, [since - reach, until, since]).fetchone()
    return int(row[0] or 0) if row else 0


def recorded(
    connection: Connection,
    found: list[Span],
    window: Window,
    tables: tuple[str, ...],
    hooks_of: dict[str, str],
    *,
    node: str | None = None,
    beyond: Window | None = None,
    told: Window | None = None,
    whole: bool = False,
) -> tuple[int, list[str]]:
    """What the rows of `observer` and `loss` alone say: events lost in the window, and the reasons why it is not whole.

    `told`: the time of the rows that matter, where it begins before the window. `whole` as for `judge`.
    """
    mine, inside = _concerned(found, told or window, node)
    tables = _in_force(inside, tables) if whole else tables
    lost, reasons = _losses(connection, told or window, tables)
    return lost, _gaps(mine, window, beyond) + reasons + _missing(inside, tables, hooks_of) + _scopes(inside)


def _in_force(inside: list[Span], tables: tuple[str, ...]) -> tuple[str, ...]:
    """Without tables of what settings choose that were off in all spans."""
    return tuple(
        table
        for table in tables
        if table not in _CHOSEN or any(_value(span.settings, _CHOSEN[table]) is True for span in inside)
    )


def _concerned(found: list[Span], window: Window, node: str | None) -> tuple[list[Span], list[Span]]:
    """The spans of a node (None: all), and those of them that reach into the window."""
    mine = [span for span in found if node is None or span.node == node]
    return mine, [span for span in mine if span.end >= window.since and span.begin <= window.until]


def observed(mine: list[Span], window: Window) -> list[tuple[datetime, datetime]]:
    """When within the window these spans observed."""
    inside = [span for span in mine if span.end >= window.since and span.begin <= window.until]
    return _merged([(max(span.begin, window.since), min(span.end, window.until)) for span in inside])


def _held(connection: Connection, window: Window, tables: tuple[str, ...]) -> int:
    from firsthand.history.store.connection import LazyConnection

    bounds = [window.since.replace(tzinfo=None), window.until.replace(tzinfo=None)]
    total = 0
    for table in KEPT.keys() & set(tables):  # a hook's table may be one that is not kept
        if isinstance(connection, LazyConnection):
            total += connection.count(table, *bounds)
            continue
        query = f"SELECT count(*) FROM {table} WHERE time >= ? AND time <= ?"  # noqa: S608 (a table of TABLES)
        row = connection.execute(query, bounds).fetchone()
        total += int(row[0]) if row else 0
    return total


def _gaps(mine: list[Span], window: Window, beyond: Window | None) -> list[str]:
    """What of the window nobody observed, for each node that the history knows; and where rows are held beyond what was."""
    if not mine:
        return [f"nothing was recorded from {iso(window.since)} to {iso(window.until)}"]
    reasons = []
    begins, ends = min(span.begin for span in mine), max(span.end for span in mine)
    if begins > window.since and beyond is not None and beyond.since < begins:
        reasons.append(_unproven(window.since, min(begins, window.until), "observing was not ready"))
    elif begins > window.since:
        reasons.append(f"the history begins at {iso(begins)}, after the window's start at {iso(window.since)}")
    for name in sorted({span.node for span in mine}):
        at = max(window.since, begins)
        of_node = [span for span in mine if span.node == name]
        for begin, end in [*_merged([(s.begin, s.end) for s in of_node]), (window.until, window.until)]:
            if begin > at and at < window.until and at == ends and beyond is not None and beyond.until > at:
                reasons.append(_unproven(at, window.until, f"{name} gave no sign of life"))
            elif begin > at and at < window.until:
                reasons.append(f"not recorded from {iso(at)} to {iso(min(begin, window.until))} on {name}")
            at = max(at, end)
    return reasons


def _unproven(since: datetime, until: datetime, why: str) -> str:
    return f"not proven observed from {iso(since)} to {iso(until)}: {why}; rows of that time are held, and others may be missing"


def _merged(pairs: list[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    merged: list[tuple[datetime, datetime]] = []
    for begin, end in sorted(pairs):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def _losses(connection: Connection, window: Window, tables: tuple[str, ...]) -> tuple[int, list[str]]:
    """Events lost in the window that the tables could have held, and a sentence for each cause. A row without a moment may be of any
    time, and one without a number of any number."""
    query = """SELECT cause, detail, coalesce(sum(events), 0), bool_or(events IS NULL),
               min(coalesce(since, TIMESTAMP '0001-01-01')), max(coalesce(until, TIMESTAMP '9999-12-31')) FROM loss
               WHERE cause <> ? AND coalesce(until, TIMESTAMP '9999-12-31') >= ? AND coalesce(since, TIMESTAMP '0001-01-01') <= ?
               AND (table_name IS NULL OR list_contains(?, table_name)) GROUP BY cause, detail ORDER BY cause, detail"""
    bounds = [CAUSE, window.since.replace(tzinfo=None), window.until.replace(tzinfo=None), list(tables)]
    total, reasons = 0, []
    for cause, detail, events, unknown, since, until in connection.execute(query, bounds).fetchall():
        total += int(events)
        what = f"{int(events):,} events or values lost" if events else "names may be missing"
        if unknown:
            what = (
                f"{int(events):,} events or values and an unknown number lost"
                if events
                else "an unknown number of rows lost"
            )
        reasons.append(f"{what} {_between(since, until)} ({cause}{f': {detail}' if detail else ''})")
    return total, reasons


def _between(since: datetime, until: datetime) -> str:
    """When something was lost; the first and the last year stand for moments that are not known."""
    begin, end = iso(since.replace(tzinfo=UTC)), iso(until.replace(tzinfo=UTC))
    if since.year == 1 and until.year == 9999:
        return "at an unknown moment"
    if since.year == 1:
        return f"at an unknown moment before {end}"
    return f"after {begin}" if until.year == 9999 else f"between {begin} and {end}"


def _missing(inside: list[Span], tables: tuple[str, ...], hooks_of: dict[str, str]) -> list[str]:
    missing = {
        name: state
        for span in inside
        for name, state in span.hooks.items()
        if state.startswith("missing") and hooks_of.get(name) in tables
    }
    told = [f"hook {name} was {state}" for name, state in sorted(missing.items())]
    return told + _doubted(inside, tables) + _switched_off(inside, tables) + _not_there(inside, tables, hooks_of)


def _doubted(inside: list[Span], tables: tuple[str, ...]) -> list[str]:
    """What hooks do not see though they were attached."""
    there = {name for span in inside for name, state in span.hooks.items() if state.startswith("present")}
    return [_DOUBTS[name].doubt for name in sorted(there & set(_DOUBTS)) if _DOUBTS[name].table in tables]


def _switched_off(inside: list[Span], tables: tuple[str, ...]) -> list[str]:
    """What the settings of those who observed leave out."""
    off = {one.setting: one for span in inside for one in _SWITCHES if _value(span.settings, one.at) is False}
    return [f"{off[name].words} (setting {name})" for name in sorted(off) if off[name].table in tables]


def _value(settings: Any, at: Sequence[str]) -> Any:
    """What stands there in an observer's settings; None where nothing does."""
    for name in at:
        settings = settings.get(name) if isinstance(settings, dict) else None
    return settings


def _not_there(inside: list[Span], tables: tuple[str, ...], hooks_of: dict[str, str]) -> list[str]:
    """Tables of which an observer had no hook at all: a version before them."""
    wanted = {table for table in hooks_of.values() if table in tables}
    old = {
        table
        for span in inside
        if span.hooks
        for table in wanted - _off(span) - {hooks_of.get(name) for name in span.hooks}
    }
    return [f"a version observed that had no hooks for {table}" for table in sorted(old)]


def _off(span: Span) -> set[str]:
    """Tables that settings left out."""
    return {one.table for one in _SWITCHES if _value(span.settings, one.at) is False}


def _scopes(inside: list[Span]) -> list[str]:
    scopes = {span.scope for span in inside}
    if len(scopes) <= 1:
        return []
    named = "; ".join(sorted((scope or "the whole machine").replace("\n", ", ") for scope in scopes))
    return [f"the scope changed within the window: {named}"]


def _not_yet_told(inside: list[Span], window: Window, tables: tuple[str, ...]) -> list[str]:
    """Where what the question counts folds, and nobody said that observing stopped: the rows of the last ones are still to come."""
    reasons = []
    for span in inside:
        late, folding = _folding(span.settings, 1), span.settings.get("folding", {})
        what = [word for word, table in _FOLDING.items() if table in tables and folding.get(word, word == "processes")]
        since = max(span.begin, span.end - late)
        if span.open and late and what and window.until >= since:
            reasons.append(
                f"equal short {' and '.join(what)} since {iso(since)} on {span.node} may not be told yet (setting folding)"
            )
    return reasons


def _flows(connection: Connection, inside: list[Span], window: Window) -> list[str]:
    """Where the observer that works now has not written yet which flows of datagrams go on, and which attempts have no answer."""
    from firsthand.history.store.connection import LazyConnection

    through = connection.through if isinstance(connection, LazyConnection) else None
    working = next((span for span in inside if span.open and span.end >= window.until), None)
    if through is None or working is None:
        return []
    since = max(working.begin, through.flows, working.end - _SWEPT)
    if since >= window.until:
        return []
    return [f"attempts to connect and flows of datagrams since {iso(since)} on {working.node} may not be recorded yet"]


def _left_out(inside: list[Span]) -> list[str]:
    modes = {span.settings.get("redaction") for span in inside} & {"hash", "drop"}
    return [f"arguments were kept by redaction mode {mode!r} only" for mode in sorted(str(mode) for mode in modes)]
