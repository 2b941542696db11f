"""Program images as a relation: one row for each, its begin and its end joined, with conditions judged by three values.

An image is in a window in which it began or ended. Its begin may lie before the window: then it is looked up. A fork that an exec
replaced is no image of its own: the program that it was a copy of has a row already.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from firsthand.ask import predicate, users
from firsthand.ask.answer import Asked
from firsthand.ask.predicate import Predicate, Test
from firsthand.history.names import telling
from firsthand.history.store.connection import LazyConnection, quoted
from firsthand.history.store.relations import known_columns

_KEY = ("node", "boot", "exec_tgid", "exec_start", "exec_number")
_KEYS = ", ".join(_KEY)
#: The same key in less memory, for millions of rows: `place` is a number for a boot that observers recorded, `elsewhere` text for any other.
_SHORT = "place, elsewhere, exec_tgid, exec_start, exec_number"
_ELSEWHERE = "if(place = 0, coalesce(length(node) || ':' || node, '') || coalesce(':' || boot, ''), '')"
#: Boots that get a number.
_BOOTS = 16
#: Rows that are no begin. A process that left the scope may come back, and then its end is recorded.
_LAST = ("exit", "left")
#: Columns of an image's end.
END = ("user_time", "system_time", "duration", "peak_memory", "exit_code", "exit_signal", "core_dumped")
#: Whose an image is. One that a runtime forked outside and moved in is its container's from then on: its end says so.
_OWNERS = ("container", "pod_uid", "claimed", *telling.NAMES)
#: Ends whose begins lie before the window and are looked up one by one; more are looked for in all rows since the first of them.
_FEW = 10_000
#: Up to so many images that match are found by the pass that counts them.
_TOGETHER = 10_000
#: What kinds of rows there are of an image, as bits.
_KIND = """CASE event WHEN 'exec' THEN 1 WHEN 'seen' THEN 2 WHEN 'folded' THEN 4 WHEN 'exit' THEN 8 WHEN 'left' THEN 16
    ELSE if(event IS NULL, NULL, 32) END::TINYINT"""
_EXECUTED, _FOLDED, _ENDED, _LEFT, _BEGUN = 1 | 2 | 4, 4, 4 | 8, 16, 1 | 2 | 4 | 32
#: Whether a row is a begin, and whether it is an end.
_BEGINS, _ENDS = f"(kind & {_BEGUN}) <> 0", f"(kind & {_ENDED}) <> 0"
#: What is known of an image from its rows, and from the kinds that they are of.
_GROUPED = {
    "kinds": "bit_or(kind)",
    "node": "any_value(node)",
    "first_seen": f"coalesce(min(time) FILTER ({_BEGINS}), max(time))",
    "ticks": "min(ktime)",
    "many": "max(coalesce(folded_count, 1))",
    "on_host": "bool_or(container IS NULL)",
    "is_named": "bool_or(container IS NULL OR pod IS NOT NULL OR container_name IS NOT NULL)",
    "v_event": "string_agg(DISTINCT event, ',' ORDER BY event)",
    "v_time": f"coalesce(min(time) FILTER ({_BEGINS}), max(time))",
    "v_ended": f"max(time) FILTER ({_ENDS})",
}
_DERIVED = {
    "is_folded": _FOLDED,
    "begun": _BEGUN,
    "executed": _EXECUTED,
    "has_end": _ENDED,
    "has_left": _LEFT,
}
_NEXT = "lead(exec_number) OVER (PARTITION BY {life} ORDER BY exec_number)"
_STATE = """CASE WHEN has_end THEN 'exited' WHEN next IS NOT NULL THEN 'replaced' WHEN has_left THEN 'left' ELSE 'running' END"""


@dataclass
class Counts:
    """Processes by what the conditions say of them: `of` in all, `number` that match, `unknown`. `rows`: images or folded rows that match.

    `folded`: rows that match and stand for several, and `short`, for how many. `said`: those judged by what their containers say.
    """

    of: int
    number: int
    unknown: int
    rows: int
    folded: int
    short: int
    ended: int
    said: int
    causes: list[dict[str, int]] = field(default_factory=list)
    known: list[int] = field(default_factory=list)


class Images:
    """The images of a window, narrowed by conditions."""

    def __init__(self, asked: Asked, tests: Sequence[Test]) -> None:
        self.asked = asked
        self.tests = list(tests)
        named = {test.predicate.name for test in self.tests}
        self.executed = any(_only_executed(test.predicate) for test in self.tests)
        self.forks = "event" in named
        self.by_user = any(_by_user(test) for test in self.tests)
        users.check(asked, self.tests)
        self._since = self._earlier()
        self._starts: list[int] | None = None

    def counts(self) -> Counts:
        """How many processes there are, match, and are not known to match or not."""
        weight = "many" if all(map(predicate.holds_for_each, self.tests)) else "1"
        parts = ["coalesce(sum(many), 0) AS of", f"coalesce(sum({weight}) FILTER (m), 0) AS number"]
        parts += [
            f"coalesce(sum(many) FILTER (m IS NULL), 0) + coalesce(sum(many - {weight}) FILTER (m), 0) AS unknown"
        ]
        parts += ["count(*) FILTER (m) AS rows", "count(*) FILTER (m AND is_folded) AS folded"]
        parts += ["coalesce(sum(many) FILTER (m AND is_folded), 0) AS short", "count(*) FILTER (has_end) AS ended"]
        said = f"own_users IS NOT NULL AND NOT {predicate.of_this_machine()}" if self.by_user else "false"
        parts.append(f"coalesce(sum(many) FILTER ({said}), 0) AS said")
        for i, test in enumerate(self.tests):
            here = f"t_{i} IS NULL AND m IS NULL"
            parts += [f"coalesce(sum(many) FILTER ({here} AND {sql}), 0) AS {name}_{i}" for name, sql in _causes(test)]
            parts.append(f"count(v_{test.predicate.name}) AS known_{i}")
        parts += self._first()
        text = ", ".join(parts)
        query, values = self._relation(text)
        row = self.asked.rows(f"{query} SELECT {text} FROM judged", values)[0]  # noqa: S608
        self._remember(row)
        causes = [{name: int(row[f"{name}_{i}"]) for name, _ in _causes(test)} for i, test in enumerate(self.tests)]
        known = [int(row[f"known_{i}"]) for i in range(len(causes))]
        plain = ("of", "number", "unknown", "rows", "folded", "short", "ended", "said")
        return Counts(**{name: int(row[name]) for name in plain}, causes=causes, known=known)

    def _first(self) -> list[str]:
        """Aggregates by which the first images that match are found again: when they were first seen, and when their processes began."""
        limit = self.asked.limit
        if limit > _TOGETHER:
            return []
        return [
            f"min(first_seen, {limit}) FILTER (m) AS seen",
            f"arg_min(coalesce(exec_start, -1), first_seen, {limit}) FILTER (m) AS starts",
        ]

    def _remember(self, row: dict[str, Any]) -> None:
        """When the processes began of which the first images that match are. Of those seen at the last of these moments there may be
        more than were counted."""
        if "starts" not in row:
            return
        starts = set(row["starts"] or ())
        if row["rows"] > self.asked.limit:
            query = "SELECT DISTINCT coalesce(exec_start, -1) AS s FROM process WHERE time = ?"
            starts |= {found["s"] for found in self.asked.rows(query, [max(row["seen"])])}
        self._starts = sorted(starts) if -1 not in starts else None

    def rows(self) -> list[dict[str, Any]]:
        """The first images that match, whole: the row of the begin with the columns of the end, `state` and `ended`."""
        query, values = self._relation("v_state v_ended first_seen ticks", whole=True)
        query += f" SELECT {_KEYS}, v_state, v_ended FROM judged WHERE m ORDER BY first_seen, ticks, {_KEYS} LIMIT ?"  # noqa: S608
        found = self.asked.rows(query, [*values, self.asked.limit])
        begins, ends = self._whole(found)
        return [_joined(row, begins.get(_key(row)), ends.get(_key(row))) for row in found]

    def _whole(self, found: Sequence[dict[str, Any]]) -> tuple[dict[Any, dict[str, Any]], dict[Any, dict[str, Any]]]:
        """The whole rows of images, by key: those of their begins, and of their ends."""
        starts = sorted({row["exec_start"] for row in found if row["exec_start"] is not None})
        query = """SELECT * FROM process WHERE time <= ? AND exec_start IN (SELECT unnest(CAST(? AS BIGINT[])))
            ORDER BY event = 'fork', ktime DESC"""
        wanted = {_key(row) for row in found}
        begins: dict[Any, dict[str, Any]] = {}
        ends: dict[Any, dict[str, Any]] = {}
        for row in self.asked.rows(query, [self.asked.until, starts]) if found else ():
            if (key := _key(row)) in wanted:
                (ends if row["event"] in _LAST else begins)[key] = row
        return begins, ends

    # ---- the relation ----

    def _relation(self, wanted: str, *, whole: bool = False) -> tuple[str, list[Any]]:
        """SQL of CTEs of which the last, `judged`, has what the text `wanted` names: each condition `t_N`, all of them `m`, the values
        `v_COLUMN`, and what is known of each image. `whole`: of the first ones that match, where they are remembered, by _KEYS."""
        tests = [predicate.sql(test) for test in self.tests]
        population = self._population()
        own = f" LEFT JOIN ({users.OWN}) ON node = own_node AND v_container = own_container" if self.by_user else ""
        words = _words(wanted, population, own, *(text for text, _ in tests))
        words |= _words(_STATE) if "v_state" in words else set()
        grouped = {name: text for name, text in self._aggregates().items() if name in words}
        derived = {name: f"(kinds & {bits}) <> 0" for name, bits in _DERIVED.items() if name in words}
        grouped |= {"kinds": _GROUPED["kinds"]} if derived else {}
        keys = _KEYS if whole else _SHORT
        if whole:
            grouped.pop("node", None)
        derived |= {"next": _NEXT.format(life=keys.rpartition(",")[0])} if "next" in words else {}
        state = {"v_state": _STATE} if "v_state" in words else {}
        judged = {f"t_{i}": text for i, (text, _) in enumerate(tests)}
        rows, values = self._rows(_words(*grouped.values()), whole=whole)
        query = f"""WITH {rows},
            grouped AS (SELECT {keys}{_also(grouped)} FROM rows GROUP BY {keys}),
            followed AS (SELECT *{_also(derived)} FROM grouped),
            images AS (SELECT *{_also(state)} FROM followed{own} WHERE {population}),
            tested AS (SELECT *{_also(judged)} FROM images),
            judged AS (SELECT *, ({" AND ".join(judged) or "true"}) AS m FROM tested)"""  # noqa: S608
        return query, [*values, *(value for _, some in tests for value in some)]

    def _aggregates(self) -> dict[str, str]:
        """All that can be known of an image."""
        none = {test.predicate.name for test in self.tests if test.predicate.null == predicate.NONE} | {"flag_names"}
        read = ["container", "container_name", *(name for test in self.tests for name in _read(test.predicate))]
        return _GROUPED | {f"v_{name}": _value(name, empty_means_none=name in none) for name in read}

    def _population(self) -> str:
        """The images that are searched; one whose begin is not held may be of any kind."""
        if self.executed:
            return "(executed OR NOT begun)"
        return "true" if self.forks else "(executed OR NOT begun OR next IS NULL)"

    def _rows(self, words: set[str], *, whole: bool) -> tuple[str, list[Any]]:
        """The window's rows with the columns among these words, and the begins from before it of what ended in it."""
        asked = self.asked
        keys = _KEYS if whole else _SHORT
        chosen = [("exec_start IN (SELECT unnest(CAST(? AS BIGINT[])))", [self._starts])] if self._starts else []
        chosen = list[tuple[str, list[Any]]](chosen if whole else [])
        where, values = asked.ran(*chosen)
        inside = f"inside AS (SELECT {self._columns(words, whole=whole)} FROM process WHERE {where})"  # noqa: S608
        since, starts = self._since
        if since is None:
            return f"{inside}, rows AS (FROM inside)", values
        conditions = [
            ("time >= ? AND time < ? AND event NOT IN ('exit', 'left')", [since, asked.since]),
            *asked.filters.conditions,
            *chosen,
        ]
        if starts:
            conditions.append(("exec_start IN (SELECT unnest(CAST(? AS BIGINT[])))", [starts]))
        earlier = " AND ".join(text for text, _ in conditions)
        more = [value for _, some in conditions for value in some]
        query = f"""{inside}, alone AS (SELECT {keys} FROM inside WHERE alone),
            earlier AS (SELECT {self._columns(words, whole=whole)} FROM process WHERE {earlier}),
            rows AS (FROM inside UNION ALL SELECT e.* FROM earlier e SEMI JOIN alone USING ({keys}))"""  # noqa: S608
        return query, [*values, *more]

    def _columns(self, words: set[str], *, whole: bool) -> str:
        """What is read of a row: its image, its kind, and the columns among these words."""
        keys = _KEY if whole else _KEY[2:]
        read = [*keys, *(name for name in sorted(known_columns()["process"]) if name in words and name not in keys)]
        place = [] if whole else [f"{self._place()}::TINYINT AS place", f"{_ELSEWHERE} AS elsewhere"]
        kind = [f"{_KIND} AS kind"] if "kind" in words else []
        alone = ["event IN ('exit', 'left') AS alone"] if self._since[0] is not None else []
        return ", ".join([*read, *place, *kind, *alone])

    def _place(self) -> str:
        """The number of a row's boot, 0 where it has none: texts are long to compare and to keep."""
        connection = self.asked.connection
        runs = connection.runs() if isinstance(connection, LazyConnection) else ()
        boots = list(dict.fromkeys((run.node, run.boot) for run in reversed(runs) if run.node and run.boot))[:_BOOTS]
        cases = [
            f"WHEN node = {quoted(node)} AND boot = {quoted(boot)} THEN {i}" for i, (node, boot) in enumerate(boots, 1)
        ]
        return f"CASE {' '.join(cases)} ELSE 0 END" if cases else "0"

    def _earlier(self) -> tuple[Any, list[int]]:
        """Since when images may have begun that ended in the window; None: since its begin. And their starts, where they are few."""
        if not self.asked.number(
            "SELECT count(*) FROM (SELECT 1 FROM process WHERE time < ? LIMIT 1)", [self.asked.since]
        ):
            return None, []
        began = "time - to_microseconds(coalesce(duration, if(event = 'left', ktime - exec_start, 0)) // 1000)"
        where, values = self.asked.where(("event IN ('exit', 'left')", []), (f"{began} < ?", [self.asked.since]))
        query = (
            f"SELECT exec_start, min({began}) AS since FROM process WHERE {where} GROUP BY exec_start LIMIT {_FEW + 1}"  # noqa: S608
        )
        found = self.asked.rows(query, values)
        if not found:
            return None, []
        if len(found) > _FEW:
            since = self.asked.rows(f"SELECT min({began}) AS since FROM process WHERE {where}", values)[0]["since"]  # noqa: S608
            return since - timedelta(seconds=1), []
        return min(row["since"] for row in found) - timedelta(seconds=1), [row["exec_start"] for row in found]


def _words(*texts: str) -> set[str]:
    """The names in texts of SQL."""
    return {word for text in texts for word in re.findall(r"\w+", text)}


def _also(columns: Mapping[str, str]) -> str:
    """More columns of a SELECT."""
    return "".join(f", {text} AS {name}" for name, text in columns.items())


def _only_executed(one: Predicate) -> bool:
    return not one.ends and not {"fork", "exit", "left"} & set(one.events) and "exec" in one.events


def _read(one: Predicate) -> list[str]:
    """The columns of `process` from which a predicate's value comes."""
    if one.name in ("event", "time", "state", "ended"):
        return []
    more = ["flag_names"] if one.lossy else []
    return [one.name, *more, *(["redacted"] if one.name in ("args", "args_bytes") else [])]


def _value(name: str, *, empty_means_none: bool) -> str:
    """An image's value of a column: its begin's; its end's where no begin is held, or where the begin's is not known."""
    if name == "core_dumped":  # what dumped core does not fold (is_short of kernel/include/fold.h)
        return (
            f"coalesce(any_value({name}) FILTER ({_ENDS}), CASE WHEN bool_or((kind & {_FOLDED}) <> 0) THEN false END)"
        )
    if name in END:
        return f"any_value({name}) FILTER ({_ENDS})"
    text = "coalesce(container, 'host')" if name == "container" else name
    begins = f"arg_min({text}, ktime) FILTER ({_BEGINS})"
    ends = f"any_value({text}) FILTER (NOT ({_BEGINS}))"
    if empty_means_none:
        return f"CASE WHEN bool_or({_BEGINS}) THEN {begins} ELSE {ends} END"
    return f"coalesce({begins}, {ends})"


def _causes(test: Test) -> list[tuple[str, str]]:
    """Why a condition is not known of an image, as SQL, each image by the first that applies."""
    open_ = "NOT has_end" if test.predicate.ends else "false"
    elsewhere = f"NOT {predicate.of_this_machine()}" if test.named else "false"
    elsewhere += " AND own_users IS NULL" if _by_user(test) else ""
    empty = f"v_{test.predicate.name} IS NULL"
    return [
        ("running", f"{open_} AND next IS NULL AND NOT has_left" if test.predicate.ends else open_),
        ("left", f"{open_} AND next IS NULL AND has_left" if test.predicate.ends else open_),
        ("replaced", f"{open_} AND next IS NOT NULL" if test.predicate.ends else open_),
        ("elsewhere", elsewhere),
        ("folded", f"NOT ({open_}) AND NOT ({elsewhere}) AND many > 1"),
        ("empty", f"NOT ({open_}) AND NOT ({elsewhere}) AND many = 1 AND {empty}"),
        ("cut", f"NOT ({open_}) AND NOT ({elsewhere}) AND many = 1 AND NOT ({empty})"),
    ]


def _by_user(test: Test) -> bool:
    """Whether what containers say of their users matters."""
    return test.named and test.predicate.name in predicate.USERS


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _KEY)


def _joined(found: dict[str, Any], begin: dict[str, Any] | None, end: dict[str, Any] | None) -> dict[str, Any]:
    whole = dict(begin or end or found)
    if end is not None and begin is not None and found["v_state"] == "exited":
        whole |= {name: end[name] for name in END}
        whole |= {name: end[name] for name in _OWNERS if whole[name] is None}
    return whole | {"state": found["v_state"], "ended": found["v_ended"]}
