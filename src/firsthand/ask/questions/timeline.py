"""`timeline`: everything in the order in which it happened."""

from __future__ import annotations

import re
from typing import Any

from firsthand.ask import known, phrase, subject
from firsthand.ask.answer import Asked, Found, plural
from firsthand.ask.question import Question
from firsthand.ask.questions.processes import identify
from firsthand.schema.tables import KEPT
from firsthand.subjects.declare import FOLD, TimelineRow
from firsthand.subjects.registry import TABLES

#: Tables with a line here, and those whose rows pass through to one.
NEEDS = tuple(name for name, table in TABLES.items() if (table.line and table.line.always) or not table.kept)
_COLUMNS = ["time", "table", "event", "pod", "container_name", "container", "exec_id", "what", "detail"]
_TOLD = [*_COLUMNS, "claimed"]
_FROM = re.compile(r"\bFROM (?=\w+ WHERE )")
_LINES: dict[str, TimelineRow] = {name: table.line for name, table in TABLES.items() if table.line}
#: Tables of whose columns `phrase` makes a line.
_PHRASED = tuple(name for name, line in _LINES.items() if line.phrase)


def _line(table: str) -> str:
    """A query of a table's rows as lines, without its conditions."""
    line, names = _LINES[table], KEPT[table].names
    told = ", ".join(f"{name} := {name}" for name in line.phrase)
    detail = f"struct_pack({told}) AS of_{table}" if told else f"{line.detail} AS detail"
    columns = ", ".join(name if name in names else f"NULL AS {name}" for name in ("container_name", "claimed"))
    return f"""SELECT time, ktime, '{table}' AS "table", {line.event} AS event, pod, container, {columns}, exec_id, {line.what} AS what,
        {detail} FROM {table} WHERE """  # noqa: S608 (as declared)


def timeline(asked: Asked) -> Found:
    """All rows of a container, a process, or of the window."""
    narrow, parameters = narrowed(asked)
    parts, values = [], []
    for table, line in _LINES.items():
        if not line.always and (narrow or asked.filters.conditions):
            continue
        if table == "pod" and parameters.startswith(" of process"):
            continue  # a pod is none of its processes
        having = asked.ran if TABLES[table].having(FOLD) else asked.where
        conditions = [*narrow, (line.where, [])] if line.where else narrow
        where, bounds = having(*conditions)
        if "container_name" not in KEPT[table].names:
            where = where.replace("container_name = ?", "? IS NULL")
        parts.append(_line(table) + where)
        values += bounds
    union = " UNION ALL BY NAME ".join(parts)
    counts = " UNION ALL ".join(f"SELECT count(*) AS n FROM {_FROM.split(part, maxsplit=1)[1]}" for part in parts)  # noqa: S608
    total = asked.number(f"SELECT sum(n) FROM ({counts})", values)  # noqa: S608
    names = ", ".join(f'"{column}"' for column in (*_TOLD, *(f"of_{table}" for table in _PHRASED)))
    query = f"SELECT {names} FROM ({union}) ORDER BY time, ktime LIMIT ?"  # noqa: S608
    rows = [_worded(row) for row in asked.rows(query, [*values, asked.limit])]
    return Found(f"{plural(total, 'event')}{parameters}", rows, total, _COLUMNS)


def _worded(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the network in the words of all other questions."""
    for table in _PHRASED:
        told = row.pop(f"of_{table}")
        if told is not None:
            row["detail"] = phrase.of(told)
    return row


def narrowed(asked: Asked) -> tuple[list[tuple[str, list[Any]]], str]:
    """The conditions that a question's argument is, a pod, a container or a process, and the words for it."""
    if not asked.arguments:
        return [], ""
    text = asked.arguments[0]
    if known.process(text):
        key = identify(asked, text)
        boot, tgid, start, _ = key.split(":")
        condition = "starts_with(boot, ?) AND exec_tgid = ? AND exec_start = ?"
        return [(condition, [boot, int(tgid), int(start)])], f" of process {key}"
    return [subject.condition(text)], f" of {text}"


QUESTIONS = {
    "timeline": Question(
        "everything in the order in which it happened",
        "[POD|CONTAINER|EXEC_ID|PID]",
        timeline,
        NEEDS,
        whole=True,
        takes=(0, 1),
        subject=True,
        rank=80,
    ),
}
