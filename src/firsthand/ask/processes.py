"""`processes` and `process`: which ran, and everything about one."""

from __future__ import annotations

import re
from typing import Any

from firsthand.ask.answer import COUNT, Asked, Found, counted, cut, folded
from firsthand.errors import UsageError
from firsthand.schema.tables import TABLES

_CONDITION = re.compile(r"^([a-z_]+)(!=|>=|<=|=|~|>|<)(.*)$", re.DOTALL)
_ALIASES = {"user": "euid", "parent": "parent_name", "flags": "flag_names", "binary": "exe", "code": "exit_code"}
_PLAIN = {"=": "=", "!=": "IS DISTINCT FROM", ">": ">", "<": "<", ">=": ">=", "<=": "<="}
_SECONDS = {"ns": 1, "us": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_COLUMNS = ["time", "container", "exec_id", "parent_name", "exe", "args", "uid", "euid", "flag_names", "event"]
_WIDE = ["pod", "pid", "parent_exec_id", "cwd", "cap_effective", "host_namespaces", "redaction", "cgroup_path"]
_EXECUTED = "event IN ('exec', 'seen', 'folded')"
#: The tables that these questions need.
NEEDS = ("process",)


def condition(text: str) -> tuple[str, list[Any]]:
    """One `column=value` (also != ~ > < >= <=) as SQL. UsageError names what can be written."""
    found = _CONDITION.match(text)
    if not found:
        raise UsageError(f"{text!r}: write COLUMN=VALUE, also with != ~ (holds) > < >= <=")
    name, sign, value = _ALIASES.get(found[1], found[1]), found[2], found[3]
    if name in ("exec_id", "parent_exec_id", "previous_exec_id"):
        return (f"contains({name}, ?)" if sign == "~" else f"{name} {_PLAIN[sign]} ?"), [value]
    if name not in TABLES["process"].names:
        raise UsageError(f"no column {found[1]!r}; `firsthand sql` and `.schema process` list them")
    return _on_column(name, sign, value)


def _on_column(name: str, sign: str, value: str) -> tuple[str, list[Any]]:
    kind = TABLES["process"].column(name).type
    if kind == "list":
        return f"contains(array_to_string({name}, ' '), ?)", [value]
    if sign == "~":
        return f"contains(lower(CAST({name} AS VARCHAR)), lower(?))", [value]
    if name == "flag_names" and sign == "=":
        return "list_contains(string_split(flag_names, ','), ?)", [value.upper()]
    if name == "container":
        return "starts_with(coalesce(container, 'host'), ?)", [value]
    if kind.startswith("int"):
        return f"{name} {_PLAIN[sign]} ?", [_number(name, value)]
    return f"{name} {_PLAIN[sign]} ?", [value]


def _number(name: str, value: str) -> int:
    found = re.fullmatch(r"(-?\d+)(ns|us|ms|s|m|h)?", value)
    if not found:
        raise UsageError(f"{name} is a number; found {value!r}")
    return int(found[1]) * _SECONDS[found[2] or "ns"]


def processes(asked: Asked) -> Found:
    """Program images that ran in the window, by conditions on any column."""
    given = [condition(text) for text in asked.arguments]
    if not any(text.startswith("event") for text in asked.arguments):
        given.append((_EXECUTED, []))
    where, parameters = asked.ran(*given)
    of_where, of_parameters = asked.ran((_EXECUTED, []))
    counts = f"count(*) AS total, sum({COUNT}) AS number, count(folded_count) AS many, sum(folded_count) AS short"
    found = asked.rows(f"SELECT {counts} FROM process WHERE {where}", parameters)[0]  # noqa: S608
    total, number = found["total"], int(found["number"] or 0)
    of = asked.number(f"SELECT sum({COUNT}) FROM process WHERE {of_where}", of_parameters)  # noqa: S608
    query = f"SELECT * FROM process WHERE {where} ORDER BY time, ktime LIMIT ?"  # noqa: S608
    rows = asked.rows(query, [*parameters, asked.limit])
    sentence = counted(number, max(of, number), "executed programs match")
    if not found["many"]:
        return Found(sentence, rows, total, _COLUMNS, wide=_WIDE)
    told = [{**row, "folded": folded(row)} for row in rows]
    sentence += f", {int(found['short']):,} of them folded into {found['many']:,}"
    return Found(sentence, told, total, [*_COLUMNS, "folded"], wide=_WIDE)


def identify(asked: Asked, text: str) -> str:
    """An exec_id, from itself or from a process id that names one process only."""
    if ":" in text:
        if not asked.number("SELECT count(*) FROM process WHERE exec_id = ?", [text]):
            raise UsageError(f"no process {text} in this history")
        return text
    if not text.isdigit():
        raise UsageError(f"{text!r}: give an exec_id such as 1f2e3d4c:4711:123456789:3, or a process id")
    query = """SELECT exec_start, boot, arg_max(exec_id, exec_number) AS id FROM process WHERE pid = ?
               GROUP BY ALL ORDER BY exec_start"""
    found = [row["id"] for row in asked.rows(query, [int(text)])]
    if len(found) != 1:
        named = ", ".join(found[:5])
        raise UsageError(
            f"pid {text} was {len(found)} processes{f'; say which: {named}' if named else ' in this history'}"
        )
    return str(found[0])


def process(asked: Asked) -> Found:
    """All that is known of one process: its rows, its images before and after, its lineage, its children, its end."""
    if len(asked.arguments) != 1:
        raise UsageError("`ask process` takes one exec_id or process id")
    key = identify(asked, asked.arguments[0])
    own = _related(asked, "self", "exec_id = ?", [key])
    first = own[0]
    rows = _ancestors(asked, first) + _images(asked, first, "before", "<") + own + _images(asked, first, "after", ">")
    rows += _related(asked, "child", "parent_exec_id = ? AND event IN ('fork', 'exec', 'seen', 'folded')", [key])
    exe = next((row["exe"] for row in own if row["exe"]), "unknown binary")
    ended = next((row for row in own if row["event"] in ("exit", "folded")), None)
    return Found(f"{exe}: {_end(ended)}", cut(rows, asked.limit), len(rows), [])


def _end(row: dict[str, Any] | None) -> str:
    if row is None:
        return "its end is not recorded, or it was replaced by an exec, or it runs"
    if row["event"] == "folded":
        longest = f"{row['duration'] / 1e9:.3f} s"
        return f"one of {row['folded_count']:,} equal ones, each ended with code {row['exit_code']}, the longest after {longest}"
    how = f"code {row['exit_code']}" if row["exit_signal"] is None else f"signal {row['exit_signal']}"
    return f"ended with {how} after {row['duration'] / 1e9:.3f} s"


def _related(asked: Asked, relation: str, where: str, parameters: list[Any]) -> list[dict[str, Any]]:
    query = f"SELECT ? AS relation, * FROM process WHERE {where} ORDER BY ktime LIMIT ?"  # noqa: S608
    return asked.rows(query, [relation, *parameters, asked.limit])


def _images(asked: Asked, row: dict[str, Any], relation: str, sign: str) -> list[dict[str, Any]]:
    where = f"boot = ? AND exec_tgid = ? AND exec_start = ? AND exec_number {sign} ? AND event <> 'exit'"
    return _related(asked, relation, where, [row["boot"], row["exec_tgid"], row["exec_start"], row["exec_number"]])


def _ancestors(asked: Asked, row: dict[str, Any], most: int = 64) -> list[dict[str, Any]]:
    """The parents, from the nearest; each is the image that it was at the fork."""
    found: list[dict[str, Any]] = []
    key = row["parent_exec_id"]
    while key and len(found) < most:
        parents = _related(asked, f"parent {len(found) + 1}", "exec_id = ? AND event <> 'exit'", [key])
        if not parents:
            break
        found.append(parents[-1])
        key = parents[-1]["parent_exec_id"]
    return found[::-1]
