"""`touched` and `writes`: who opened, read or changed a watched file, and what was written where."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from firsthand.ask import completeness, watched
from firsthand.ask.answer import Asked, Found, cut, plural
from firsthand.ask.question import Question
from firsthand.ask.reliance import Relies
from firsthand.ask.show import WHERE
from firsthand.ask.watched import FileTarget
from firsthand.settings.watchlist import READ, WRITE

NEEDS = (watched.TABLE,)
_COLUMNS = [
    "time",
    "namespace",
    WHERE,
    "exe",
    "event",
    "path",
    "target",
    "opened_for",
    "bytes_written",
    "error",
    "exec_id",
]
_WIDE = [
    "flag_names",
    "path_raw",
    "source_path",
    "uid",
    "euid",
    "writes",
    "opener_exec_id",
    "file_inode",
    "file_device",
    "file_mode",
]
_WIDE += ["new_mode", "new_uid", "new_gid", "container", "pid", "tier", "cgroup_path"]
#: An open for writing, or one that makes or empties the file; a change. A refused try changed nothing.
_CHANGES = """(event <> 'open' OR list_has_any(string_split(coalesce(opened_for, ''), ' '), ['write', 'truncate'])
    OR contains(coalesce(flag_names, ''), 'CREATED'))"""


def touched(asked: Asked) -> Found:
    """Every row of the files: opens for reading too."""
    return _found(asked, watched.target(asked.arguments), READ, "true", "touched")


def writes(asked: Asked) -> Found:
    """Opens for writing and changes, with what was written; of all that was watched where no path is given."""
    return _found(asked, watched.target(asked.arguments), WRITE, _CHANGES, "written or changed")


def _found(asked: Asked, target: FileTarget | None, access: int, kind: str, done: str) -> Found:
    condition, values = target.condition if target else ("true", [])
    where, parameters = asked.where((kind, []), (condition, values))
    rows = asked.rows(f"SELECT * FROM file WHERE {where} ORDER BY time, ktime", parameters)  # noqa: S608
    spans = watched.inside(asked, completeness.spans(asked.connection, datetime.now(UTC)))
    unwatched = watched.unwatched(spans, target, access)
    named = target.text if target else "a watched file"
    reasons = unwatched + watched.doubts(asked, spans) + watched.renamed(rows, spans, access)
    if not rows and unwatched:
        return Found(f"Not watched: {'; '.join(unwatched)}", [], 0, _COLUMNS, wide=_WIDE, reasons=reasons)
    return Found(_sentence(rows, named, done), cut(rows, asked.limit), len(rows), _COLUMNS, wide=_WIDE, reasons=reasons)


def _sentence(rows: list[dict[str, Any]], named: str, done: str) -> str:
    if not rows:
        return f"No: {named} was not {done}"
    processes = len({row["exec_id"] for row in rows})
    refused = sum(1 for row in rows if row["error"] is not None)
    files = len({row["path"] for row in rows})
    told = sum(row["bytes_written"] or 0 for row in rows)
    sentence = (
        f"Yes: {plural(len(rows), 'event')} of {plural(files, 'file')} by {plural(processes, 'process', 'processes')}"
    )
    sentence += f", {told:,} bytes written" if told else ""
    return sentence + (f"; {refused:,} of them {'was' if refused == 1 else 'were'} refused" if refused else "")


QUESTIONS = {
    "touched": Question(
        "who opened, read, wrote, renamed or removed a watched file",
        "PATH|FOLDER/|PATTERN",
        touched,
        NEEDS,
        takes=(1, 1),
        relies=(Relies("file", "path"),),
        rank=200,
    ),
    "writes": Question(
        "what was written to watched files, and changed of them",
        "[PATH|FOLDER/|PATTERN]",
        writes,
        NEEDS,
        takes=(0, 1),
        relies=(Relies("file", "path"),),
        rank=210,
    ),
}
