"""`processes` and `process`: which ran, and everything about one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from firsthand.ask import known, predicate, subject, users
from firsthand.ask.answer import Asked, Found, counted, cut, folded, plural, which
from firsthand.ask.images import Counts, Images
from firsthand.ask.predicate import Test
from firsthand.ask.question import ANY, Question
from firsthand.ask.show import WHERE
from firsthand.errors import UsageError

_COLUMNS = [
    "time",
    "namespace",
    WHERE,
    "parent_name",
    "exe",
    "args",
    "uid",
    "euid",
    "marks",
    "event",
    "state",
    "exec_id",
]
_WIDE = ["exit_code", "exit_signal", "duration", "ended", "container", "pid", "parent_exec_id", "cwd"]
_WIDE += ["cap_effective", "host_namespaces", "redaction", "cgroup_path"]
#: The tables that these questions need.
NEEDS = ("process",)
#: What can be asked of an image.
PREDICATES = predicate.of_processes
#: Why a value is not known: in the words of a sentence, and as a reason why an answer is not complete.
_OPEN = {
    "running": ("still runs", "still run"),
    "left": ("left the scope", "left the scope"),
    "replaced": ("was replaced by an exec", "were replaced by an exec"),
}
_REASONS = {
    "elsewhere": "its container did not say its users' names, or it ran on another machine: give the number",
    "folded": "folded rows do not tell it of each process (setting folding)",
    "empty": "it was not recorded",
    "cut": "it was truncated or redacted",
}


def processes(asked: Asked) -> Found:
    """Program images that began or ended in the window, by conditions on any column."""
    columns = PREDICATES()
    now = datetime.now(UTC)
    tests = [predicate.parse(text, columns, now) for text in asked.arguments]
    images = Images(asked, tests)
    counts = images.counts()
    what = "executed programs" if images.executed else "program images"
    if (never := _never(counts, tests)) is not None:
        reason = f"no row of the {plural(counts.of, what.removesuffix('s'))} has {never}: nothing is known of it"
        return Found(f"Not known: {reason}", [], 0, _COLUMNS, wide=_WIDE, reasons=[reason])
    sentence = counted(counts.number, counts.of, f"{what}{which(asked)} match") + _unknown(counts, tests)
    rows = images.rows() if counts.rows else []
    reasons = _reasons(counts, tests, what) + users.reason(counts.said)
    if not counts.folded:
        return Found(sentence, rows, counts.rows, _COLUMNS, wide=_WIDE, reasons=reasons)
    told = [{**row, "folded": folded(row)} for row in rows]
    sentence += f", {counts.short:,} of them folded into {counts.folded:,}"
    return Found(sentence, told, counts.rows, [*_COLUMNS, "folded"], wide=_WIDE, reasons=reasons)


def _never(counts: Counts, tests: list[Test]) -> str | None:
    """A column that no searched row fills, though its kind could: that it holds nothing that was asked for proves nothing."""
    for test, number in zip(tests, counts.known, strict=True):
        unfilled = counts.of and not number and test.predicate.null != predicate.NONE
        if unfilled and (counts.ended or not test.predicate.ends):
            return test.name
    return None


def _unknown(counts: Counts, tests: list[Test]) -> str:
    """What the conditions could not be judged of, because it goes on or went over into another program."""
    parts = []
    for test, causes in zip(tests, counts.causes, strict=True):
        if total := sum(causes.values()):
            words = [f"{causes[name]:,} {_OPEN[name][causes[name] != 1]}" for name in _OPEN if causes[name]]
            rest = sum(causes[name] for name in _REASONS)
            words += [f"of {rest:,} it is not recorded"] if rest else []
            parts.append(f"; {test.name} is not known of {total:,} more: {', '.join(words)}")
    return "".join(parts)


def _reasons(counts: Counts, tests: list[Test], what: str) -> list[str]:
    """What keeps a condition from being judged of a row that should tell it."""
    found = []
    for test, causes in zip(tests, counts.causes, strict=True):
        for name, why in _REASONS.items():
            if number := causes[name]:
                found.append(f"{test.name} is not known of {plural(number, what.removesuffix('s'))}: {why}")
    return found


def identify(asked: Asked, text: str) -> str:
    """An exec_id, from itself or from a process id that names one process only. UsageError where there is none, or several."""
    narrowed = "".join(f" AND {condition}" for condition, _ in asked.filters.conditions)
    values = [value for _, some in asked.filters.conditions for value in some]
    if ":" in text:
        own, key = subject.image(text)
        if not asked.number(f"SELECT count(*) FROM process WHERE {own}{narrowed}", [*key, *values]):  # noqa: S608
            raise UsageError(f"no process {text} is in this history")
        return text
    if not known.process(text):
        raise UsageError(f"{text!r}: give an exec_id such as 1f2e3d4c:4711:123456789:3, or a process id")
    query = f"""SELECT exec_start, boot, node, arg_max(exec_id, exec_number) AS id FROM process WHERE pid = ?{narrowed}
               GROUP BY ALL ORDER BY exec_start"""  # noqa: S608
    found = [row["id"] for row in asked.rows(query, [int(text), *values])]
    if not found:
        raise UsageError(f"no process {text} is in this history")
    if len(found) > 1:
        more = f" and {len(found) - 5:,} more" if len(found) > 5 else ""
        raise UsageError(f"pid {text} was {len(found):,} processes; say which: {', '.join(found[:5])}{more}")
    return str(found[0])


def process(asked: Asked) -> Found:
    """All that is known of one process: its rows, its images before and after, its lineage, its children, its end."""
    if len(asked.arguments) != 1:
        raise UsageError("`ask process` takes one exec_id or process id")
    key = identify(asked, asked.arguments[0])
    own = _related(asked, "self", *subject.image(key))
    first = own[0]
    rows = _ancestors(asked, first) + _images(asked, first, "before", "<") + own + _images(asked, first, "after", ">")
    below, numbers = subject.image(key, "parent")
    rows += _related(asked, "child", f"{below} AND event IN ('fork', 'exec', 'seen', 'folded')", numbers)
    exe = next((row["exe"] for row in own if row["exe"]), "unknown binary")
    ended = next((row for row in reversed(own) if row["event"] in ("exit", "folded", "left")), None)
    after = next((row["exe"] for row in rows if row["relation"] == "after" and row["exe"]), None)
    return Found(f"{exe}: {_end(ended, after)}", cut(rows, asked.limit), len(rows), [])


def _end(row: dict[str, Any] | None, after: str | None) -> str:
    if row is None:
        return (
            f"it was replaced by {after}" if after else "no end of it is recorded: it runs, as far as the history tells"
        )
    if row["event"] == "folded":
        longest = f"{row['duration'] / 1e9:.3f} s"
        return f"one of {row['folded_count']:,} equal ones, each ended with code {row['exit_code']}, the longest after {longest}"
    if row["event"] == "left":
        return f"it left the scope at {row['time']:%H:%M:%S.%f} UTC; what it did then was not recorded"
    how = f"code {row['exit_code']}" if row["exit_signal"] is None else f"signal {row['exit_signal']}"
    return f"ended with {how} after {row['duration'] / 1e9:.3f} s"


def _related(asked: Asked, relation: str, where: str, parameters: list[Any]) -> list[dict[str, Any]]:
    query = f"SELECT ? AS relation, * FROM process WHERE {where} ORDER BY ktime LIMIT ?"  # noqa: S608
    return asked.rows(query, [relation, *parameters, asked.limit])


def _images(asked: Asked, row: dict[str, Any], relation: str, sign: str) -> list[dict[str, Any]]:
    where = f"boot = ? AND exec_tgid = ? AND exec_start = ? AND exec_number {sign} ? AND event NOT IN ('exit', 'left')"
    return _related(asked, relation, where, [row["boot"], row["exec_tgid"], row["exec_start"], row["exec_number"]])


def _ancestors(asked: Asked, row: dict[str, Any], most: int = 64) -> list[dict[str, Any]]:
    """The parents, from the nearest; each is the image that it was at the fork."""
    found: list[dict[str, Any]] = []
    key = row["parent_exec_id"]
    while key and len(found) < most:
        own, numbers = subject.image(key)
        parents = _related(asked, f"parent {len(found) + 1}", f"{own} AND event NOT IN ('exit', 'left')", numbers)
        if not parents:
            break
        found.append(parents[-1])
        key = parents[-1]["parent_exec_id"] if parents[-1]["parent_exec_id"] != key else None
    return found[::-1]


QUESTIONS = {
    "processes": Question(
        "programs that ran, by conditions on any column",
        "[COLUMN=VALUE]...",
        processes,
        NEEDS,
        takes=(0, ANY),
        predicates=PREDICATES,
        rank=0,
    ),
    "process": Question("everything about one process", "EXEC_ID|PID", process, NEEDS, takes=(1, 1), rank=10),
}
