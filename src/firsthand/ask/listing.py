"""Questions that subjects declare as data (subjects/declare.py, Listing): the rows of a table, in their order."""

from __future__ import annotations

from functools import partial
from typing import Any

from firsthand.ask import completeness, watched
from firsthand.ask.answer import Asked, Found, plural
from firsthand.ask.question import Question
from firsthand.ask.questions.timeline import narrowed
from firsthand.probe.spec import HOOKS
from firsthand.schema.tables import KEPT
from firsthand.subjects.declare import FOLD, Listing
from firsthand.subjects.registry import SUBJECTS, TABLES

_FIRST = ("time", "event", "pod", "container_name", "container", "exec_id", "exe")


def questions() -> dict[str, Question]:
    """Those of all subjects, by name."""
    return {one.name: question(one) for subject in SUBJECTS for one in subject.questions}


def question(one: Listing) -> Question:
    """The question that is declared so."""
    usage = "[POD|CONTAINER|EXEC_ID|PID]"
    return Question(one.doc, usage, partial(_listed, one), (one.table,), takes=(0, 1), subject=True, rank=one.rank)


def _listed(one: Listing, asked: Asked) -> Found:
    """All rows of a container, a process, or of the window."""
    conditions, whose = narrowed(asked)
    if one.events:
        conditions = [*conditions, ("list_contains(?, event)", [list(one.events)])]
    where, values = (asked.ran if TABLES[one.table].having(FOLD) else asked.where)(*conditions)
    shown = [name for name in _FIRST if name == "exec_id" or name in KEPT[one.table].names] + list(one.columns)
    told = [*shown, *(name for name in ("claimed",) if name in KEPT[one.table].names)]
    total = asked.number(f"SELECT count(*) FROM {one.table} WHERE {where}", values)  # noqa: S608 (as declared)
    query = f"SELECT {', '.join(told)} FROM {one.table} WHERE {where} ORDER BY time, ktime LIMIT ?"  # noqa: S608
    rows: list[dict[str, Any]] = asked.rows(query, [*values, asked.limit])
    sentence = f"{'Yes' if total else 'No'}: {plural(total, one.noun, one.many)}{whose}"
    return Found(sentence, rows, total, shown, reasons=[] if total else _unseen(asked, one.table))


def _unseen(asked: Asked, table: str) -> list[str]:
    """Why there may be rows all the same: hooks without which other answers are complete, and that were missing."""
    spots = {hook.name: hook.blind_spot for hook in HOOKS if hook.table == table and not hook.needed}
    inside = watched.inside(asked, completeness.spans(asked.connection, asked.window.until))
    missing = {name for span in inside for name in spots if span.hooks.get(name, "").startswith("missing")}
    return [f"not recorded: {spots[name]}" for name in sorted(missing)]
