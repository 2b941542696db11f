"""Whether an answer's evidence is complete, and if not, why: judged by the rows of `observer` and `loss` (law 2)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb

from firsthand.ask import retained
from firsthand.ask.answer import Filters, Window
from firsthand.ask.answer import iso as iso
from firsthand.history.share import CAUSE
from firsthand.schema.tables import KEPT

#: A running observer says that it is alive every ten seconds; one that was silent for longer has ended.
ALIVE_WITHIN = timedelta(seconds=15)
_BEGIN = "start"
#: Settings that leave a table's rows out, and what is said then.
_SWITCHES = {
    "names": ("name", "DNS questions and answers were not recorded"),
    "requests": ("request", "heads of TLS and HTTP were not recorded"),
    "translations": ("connection", "what services' addresses were translated to was not recorded"),
}
#: What folds by setting, and the table that has the rows.
_FOLDING = {"processes": "process", "connections": "connection"}


@dataclass
class Span:
    """One observer's time: from `ready` to `stop`, or its last sign of life; `open` where it never said that it stopped.

    What ran before it is told between `started` and `begin`. `reach` is how long one folded row spans at most.
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
    measures: dict[str, float] = field(default_factory=dict)

    def observing(self, now: datetime) -> bool:
        """Whether it goes on at this moment, as far as the history tells."""
        return self.open and abs(now - self.end) <= ALIVE_WITHIN


@dataclass
class Completeness:
    """The judgement, as it stands in every answer. `folded`: short processes of the window that stand in rows of many, and connections."""

    complete: bool
    observed: list[tuple[datetime, datetime]]
    history_begins: datetime | None
    events_held: int
    events_lost: int
    blind_spots: list[str]
    reasons: list[str]
    scope: list[str] = field(default_factory=list)
    folded: int = 0
    folded_connections: int = 0

    def plain(self) -> dict[str, Any]:
        """As JSON objects and ISO times."""
        return {
            "complete": self.complete,
            "observed": [[iso(begin), iso(end)] for begin, end in self.observed],
            "history_begins": iso(self.history_begins) if self.history_begins else None,
            "events_held": self.events_held,
            "events_lost": self.events_lost,
            "folded": self.folded,
            "folded_connections": self.folded_connections,
            "blind_spots": self.blind_spots,
            "reasons": self.reasons,
            "scope": self.scope,
        }


def spans(connection: duckdb.DuckDBPyConnection, now: datetime) -> list[Span]:
    """Everything that was ever observed, in order. A span that is open and was alive just now reaches to now.

    A wall clock that was set back ends a span and begins another one.
    """
    query = """SELECT node, boot, instance, time, event, scope, hooks, blind_spots, settings, recorded, lost, measures FROM observer
               WHERE event <> 'runtime' ORDER BY node, boot, instance, ktime, time, recorded"""
    found: list[Span] = []
    last: tuple[str, str, str] | None = None
    for node, boot, instance, time, event, scope, *told in connection.execute(query).fetchall():
        moment = time.replace(tzinfo=UTC)
        same = last == (node, boot, instance)
        if same and moment < found[-1].end:
            found[-1].open = False
            found.append(Span(node, min(found[-1].started, moment), moment, moment, scope, {}, [], {}))
        elif event == _BEGIN or not same:
            if same:  # whoever observed before it has ended, whether it said so or not
                found[-1].open = False
            found.append(Span(node, moment, moment, moment, scope, {}, [], {}))
        last = (node, boot, instance)
        _extend(found[-1], moment, event, told)
    for span in found:
        if span.observing(now):
            span.end = max(span.end, now)
    return sorted(found, key=lambda span: span.begin)


def _extend(span: Span, moment: datetime, event: str, told: Sequence[Any]) -> None:
    """One more row of a span. One that resumed is ready again: the kernel side went on meanwhile."""
    hooks, blind, settings, recorded, lost, measures = told
    if event == "ready" and span.begin == span.started:
        span.begin = moment
    span.end, span.open = moment, event != "stop"
    span.hooks, span.blind_spots = json.loads(hooks or "{}"), json.loads(blind or "[]")
    span.settings, span.measures = json.loads(settings or "{}"), json.loads(measures or "{}")
    span.reach = max(span.reach, _folding(span.settings, 2))
    span.recorded, span.lost = recorded or 0, lost or 0


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


def extent(found: list[Span], now: datetime) -> Window:
    """The whole history: from its beginning to its end, which is now while it is being written."""
    if not found:
        return Window(now, now)
    return Window(min(span.begin for span in found), max(span.end for span in found))


def judge(
    connection: duckdb.DuckDBPyConnection,
    found: list[Span],
    window: Window,
    tables: tuple[str, ...],
    hooks_of: dict[str, str],
    *,
    node: str | None = None,
    arguments_matter: bool = False,
    names_matter: bool = False,
    filters: Filters | None = None,
    reaches: datetime | None = None,
    damage: Sequence[str] = (),
) -> Completeness:
    """Whether `window` was observed in whole with all that `tables` need. `hooks_of` gives the table of each hook.

    `names_matter`: a container whose name is not known may belong into the answer.
    `filters`: what retention let go counts only where they concern it. `reaches`: how far before the window the question looks.
    """
    mine, inside = _concerned(found, window, node)
    lost, reasons = recorded(connection, found, window, tables, hooks_of, node=node)
    reasons += [f"damaged: {what}" for what in damage]
    reasons += _not_yet_told(inside, window, tables)
    if arguments_matter:
        reasons += _left_out(inside)
    begin = min(window.since, reaches or window.since)
    reasons += retained.reasons(connection, begin, window.until, tables, filters or Filters(node=node))
    if names_matter:
        reasons += _unnamed(connection, window)
    scope, blind = _unseen(inside)
    return Completeness(
        complete=not reasons,
        observed=observed(mine, window),
        history_begins=min((span.begin for span in mine), default=None),
        events_held=_held(connection, window, tables),
        events_lost=lost,
        blind_spots=blind,
        reasons=reasons,
        scope=scope,
        folded=_folded(connection, window, reach(inside), "process") if "process" in tables else 0,
        folded_connections=_folded(connection, window, reach(inside), "connection") if "connection" in tables else 0,
    )


def _unseen(inside: Sequence[Span]) -> tuple[list[str], list[str]]:
    """The cgroups to which observing was held, and everything that it could not see."""
    scope = sorted({text for span in inside if span.scope for text in span.scope.split("\n")})
    blind = sorted({spot for span in inside for spot in span.blind_spots})
    return scope, blind + [f"outside the cgroup {text} nothing was recorded" for text in scope]


def _folded(connection: duckdb.DuckDBPyConnection, window: Window, reach: timedelta, table: str) -> int:
    """How many the rows of `table` that stand for many and reach into the window stand for."""
    if not reach:
        return 0
    query = f"SELECT sum(folded_count) FROM {table} WHERE time >= ? AND time <= ? AND folded_until >= ?"  # noqa: S608
    since, until = window.since.replace(tzinfo=None), window.until.replace(tzinfo=None)
    row = connection.execute(query, [since - reach, until, since]).fetchone()
    return int(row[0] or 0) if row else 0


def recorded(
    connection: duckdb.DuckDBPyConnection,
    found: list[Span],
    window: Window,
    tables: tuple[str, ...],
    hooks_of: dict[str, str],
    *,
    node: str | None = None,
) -> tuple[int, list[str]]:
    """What the rows of `observer` and `loss` alone say: events lost in the window, and the reasons why it is not whole."""
    mine, inside = _concerned(found, window, node)
    lost, reasons = _losses(connection, window, tables)
    return lost, _gaps(mine, window) + reasons + _missing(inside, tables, hooks_of) + _scopes(inside)


def _concerned(found: list[Span], window: Window, node: str | None) -> tuple[list[Span], list[Span]]:
    """The spans of a node (None: all), and those of them that reach into the window."""
    mine = [span for span in found if node is None or span.node == node]
    return mine, [span for span in mine if span.end >= window.since and span.begin <= window.until]


def observed(mine: list[Span], window: Window) -> list[tuple[datetime, datetime]]:
    """When within the window these spans observed."""
    inside = [span for span in mine if span.end >= window.since and span.begin <= window.until]
    return _merged([(max(span.begin, window.since), min(span.end, window.until)) for span in inside])


def _held(connection: duckdb.DuckDBPyConnection, window: Window, tables: tuple[str, ...]) -> int:
    bounds = [window.since.replace(tzinfo=None), window.until.replace(tzinfo=None)]
    total = 0
    for table in KEPT.keys() & set(tables):  # a hook's table may be one that is not kept
        query = f"SELECT count(*) FROM {table} WHERE time >= ? AND time <= ?"  # noqa: S608 (a table of TABLES)
        row = connection.execute(query, bounds).fetchone()
        total += int(row[0]) if row else 0
    return total


def _gaps(mine: list[Span], window: Window) -> list[str]:
    """What of the window nobody observed, for each node that the history knows."""
    if not mine:
        return [f"nothing was recorded from {iso(window.since)} to {iso(window.until)}"]
    reasons = []
    begins = min(span.begin for span in mine)
    if begins > window.since:
        reasons.append(f"the history begins at {iso(begins)}, after the window's start at {iso(window.since)}")
    for name in sorted({span.node for span in mine}):
        at = max(window.since, begins)
        of_node = [span for span in mine if span.node == name]
        for begin, end in [*_merged([(s.begin, s.end) for s in of_node]), (window.until, window.until)]:
            if begin > at and at < window.until:
                reasons.append(f"not recorded from {iso(at)} to {iso(min(begin, window.until))} on {name}")
            at = max(at, end)
    return reasons


def _merged(pairs: list[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    merged: list[tuple[datetime, datetime]] = []
    for begin, end in sorted(pairs):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def _losses(connection: duckdb.DuckDBPyConnection, window: Window, tables: tuple[str, ...]) -> tuple[int, list[str]]:
    """Events lost in the window that the tables could have held, and a sentence for each cause."""
    query = """SELECT cause, detail, sum(events), min(since), max(until) FROM loss
               WHERE cause <> ? AND until >= ? AND since <= ? AND (table_name IS NULL OR list_contains(?, table_name))
               GROUP BY cause, detail ORDER BY cause, detail"""
    bounds = [CAUSE, window.since.replace(tzinfo=None), window.until.replace(tzinfo=None), list(tables)]
    total, reasons = 0, []
    for cause, detail, events, since, until in connection.execute(query, bounds).fetchall():
        total += int(events)
        between = f"between {iso(since.replace(tzinfo=UTC))} and {iso(until.replace(tzinfo=UTC))}"
        what = f"{int(events):,} events or values lost" if events else "names may be missing"
        reasons.append(f"{what} {between} ({cause}{f': {detail}' if detail else ''})")
    return total, reasons


def _missing(inside: list[Span], tables: tuple[str, ...], hooks_of: dict[str, str]) -> list[str]:
    missing = {
        name: state
        for span in inside
        for name, state in span.hooks.items()
        if state.startswith("missing") and hooks_of.get(name) in tables
    }
    told = [f"hook {name} was {state}" for name, state in sorted(missing.items())]
    return told + _switched_off(inside, tables) + _not_there(inside, tables, hooks_of)


def _switched_off(inside: list[Span], tables: tuple[str, ...]) -> list[str]:
    """What the settings of those who observed leave out."""
    off = {key for span in inside for key in _SWITCHES if span.settings.get(key) is False}
    return [f"{_SWITCHES[key][1]} (setting network.{key})" for key in sorted(off) if _SWITCHES[key][0] in tables]


def _not_there(inside: list[Span], tables: tuple[str, ...], hooks_of: dict[str, str]) -> list[str]:
    """Tables of which an observer had no hook at all: a version before them."""
    wanted = {table for table in hooks_of.values() if table in tables}
    old = {table for span in inside if span.hooks for table in wanted - {hooks_of.get(name) for name in span.hooks}}
    return [f"a version observed that had no hooks for {table}" for table in sorted(old)]


def _scopes(inside: list[Span]) -> list[str]:
    scopes = {span.scope for span in inside}
    if len(scopes) <= 1:
        return []
    named = "; ".join(sorted((scope or "the whole machine").replace("\n", ", ") for scope in scopes))
    return [f"the scope changed within the window: {named}"]


def _unnamed(connection: duckdb.DuckDBPyConnection, window: Window) -> list[str]:
    """Containers that no runtime named."""
    query = """SELECT count(DISTINCT container) FROM process WHERE time >= ? AND time <= ?
               AND container IS NOT NULL AND pod IS NULL AND container_name IS NULL"""
    row = connection.execute(query, [window.since.replace(tzinfo=None), window.until.replace(tzinfo=None)]).fetchone()
    number = int(row[0]) if row else 0
    return [f"{number:,} containers have an id and no name (`firsthand ask unknown` lists them)"] if number else []


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


def _left_out(inside: list[Span]) -> list[str]:
    modes = {span.settings.get("redaction") for span in inside} & {"hash", "drop"}
    return [f"arguments were kept by redaction mode {mode!r} only" for mode in sorted(str(mode) for mode in modes)]
