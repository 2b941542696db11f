"""When was observed: rows of `observer` as runs, small enough to be kept in the manifest beside each segment.

An observer writes a row each ten seconds, 259,200 in a month, and nearly all of them say what the one before said. Consecutive
`alive` rows of one observer that say the same of scope, hooks, blind spots and settings are one run; every other row is its own. A
question reads the runs; the rows themselves only where they are in no segment yet, or in one that was written before there were runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, Protocol

TABLE = "observer"
ALIVE, RUNTIME = "alive", "runtime"
#: What an observer says of itself, as its columns have it.
WORDS = ("scope", "hooks", "blind_spots", "settings")
#: The columns that runs are made of.
COLUMNS = ("node", "boot", "instance", "event", "ktime", "time", "recorded", "lost", *WORDS)


@dataclass(frozen=True)
class Run:
    """Rows of one observer, (node, boot, instance). `ktime` (ns) and wall clock (microseconds) of the first and of the last;
    `recorded` and `lost` of the last; `words` as WORDS, JSON where the columns are."""

    node: str | None
    boot: str | None
    instance: str | None
    event: str
    first: int
    last: int
    begin: int
    end: int
    recorded: int
    lost: int
    words: tuple[str | None, ...]

    @property
    def observer(self) -> tuple[str, str, str]:
        """Whose rows they are."""
        return self.node or "", self.boot or "", self.instance or ""


class Queries(Protocol):
    """A connection of DuckDB."""

    def execute(self, query: str, parameters: Any = None) -> Any:
        """Run a statement."""


def ordered(runs: Iterable[Run]) -> list[Run]:
    """Observer by observer, by the kernel's clock."""
    return sorted(runs, key=lambda run: (run.observer, run.first, run.begin, run.recorded))


def joined(runs: Iterable[Run]) -> list[Run]:
    """In order; those that follow on one another as one."""
    found: list[Run] = []
    for run in ordered(runs):
        if found and _follows(run, found[-1]):
            found[-1] = replace(run, first=found[-1].first, begin=found[-1].begin)
        else:
            found.append(run)
    return found


def of_rows(rows: Iterable[Sequence[Any]]) -> list[Run]:
    """The runs of rows, each as COLUMNS, times in microseconds; in any order."""
    return joined(_run(row) for row in rows if row[3] not in (None, RUNTIME))


def _run(row: Sequence[Any]) -> Run:
    node, boot, instance, event, ktime, time, recorded, lost, *words = row
    return Run(
        node,
        boot,
        instance,
        event,
        ktime or 0,
        ktime or 0,
        time or 0,
        time or 0,
        recorded or 0,
        lost or 0,
        tuple(words),
    )


def _follows(run: Run, before: Run) -> bool:
    same = (run.observer, run.event, run.words) == (before.observer, ALIVE, before.words)
    return same and before.event == ALIVE and run.begin >= before.end


def encode(runs: Sequence[Run]) -> str:
    """Runs as text for the manifest, each text of their words once."""
    words = list(dict.fromkeys(run.words for run in runs))
    return json.dumps([words, [[*astuple(run)[:-1], words.index(run.words)] for run in runs]], separators=(",", ":"))


def decode(text: str) -> list[Run]:
    """The runs of such a text. ValueError, TypeError, IndexError where it is none."""
    words, runs = json.loads(text)
    return [Run(*[*values[:-1], tuple(words[values[-1]])]) for values in runs]


#: Runs by SQL, for many rows: texts are compared by their hashes, and read once each.
_ISLANDS = """WITH said AS (SELECT node, boot, instance, event, coalesce(ktime, 0) AS k, coalesce(epoch_us(time), 0) AS t,
        coalesce(recorded, 0) AS recorded, coalesce(lost, 0) AS lost, hash({words}) AS words FROM {source} WHERE event <> 'runtime'),
    edges AS (SELECT *, event <> 'alive' OR lag(event) OVER w IS DISTINCT FROM 'alive' OR lag(words) OVER w <> words OR lag(t) OVER w > t
        AS edge FROM said WINDOW w AS (PARTITION BY node, boot, instance ORDER BY k, t, recorded)),
    numbered AS (SELECT *, count(*) FILTER (edge) OVER (PARTITION BY node, boot, instance ORDER BY k, t, recorded ROWS UNBOUNDED PRECEDING)
        AS number FROM edges)
    SELECT node, boot, instance, any_value(event), min(k), max(k), min(t), max(t), max(recorded), max(lost), any_value(words)
    FROM numbered GROUP BY node, boot, instance, number"""
_TEXTS = "SELECT hash({words}), {texts} FROM {source} WHERE event <> 'runtime' GROUP BY ALL"


def of_few(connection: Queries, source: str) -> list[Run]:
    """As `of_source`, for rows that may be many times their number in memory."""
    names = ", ".join("epoch_us(time)" if name == "time" else name for name in COLUMNS)
    return of_rows(connection.execute(f"SELECT {names} FROM {source}").fetchall())  # noqa: S608 - names of ours


def of_source(connection: Queries, source: str) -> list[Run]:
    """The runs of a table or a query in brackets that has COLUMNS; memory as for the numbers of the rows alone."""
    names = ", ".join(WORDS)
    texts = _TEXTS.format(words=names, texts=", ".join(f"any_value({name})" for name in WORDS), source=source)
    words = {row[0]: tuple(row[1:]) for row in connection.execute(texts).fetchall()}
    rows = connection.execute(_ISLANDS.format(words=names, source=source)).fetchall()
    return [Run(*[*row[:-1], words[row[-1]]]) for row in rows]
