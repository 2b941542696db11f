"""Conditions on columns as data: what can be asked of a column, and what its empty value proves (law 11).

A condition on one row is true, false or not known. It is not known where the row's kind does not fill the column, where the value was
truncated or redacted, and where a folded row stands for several processes that need not be equal in it.
"""

from __future__ import annotations

import grp
import pwd
import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from firsthand.ask.nearest import meant
from firsthand.ask.subject import of_container
from firsthand.errors import UsageError
from firsthand.host import machine
from firsthand.schema import capability, filled, flags
from firsthand.schema.tables import TABLES

#: What an empty value means in a row whose kind fills the column: there is none; it is not known; not known unless a runtime named the
#: container; not known of a container at all. On the host the last two mean that there is none.
NONE, UNKNOWN, UNNAMED, INSIDE = "none", "unknown", "unnamed", "inside"
#: What a folded row's value is: that of each; of one of them; the longest; the sum.
SAME, ONE, MOST, SUM = "same", "one", "most", "sum"
_ORDER = ("=", "!=", ">", "<", ">=", "<=")
#: Operators by the type of a column.
OPERATORS = {
    "int16": _ORDER,
    "int32": _ORDER,
    "int64": _ORDER,
    "time": _ORDER,
    "text": (*_ORDER, "~"),
    "list": ("=", "!=", "~"),
    "bool": ("=", "!="),
    "bytes": ("=", "!="),
    "words": ("=", "!=", "~"),
    "capabilities": (*_ORDER, "~"),
    "signal": _ORDER,
    "place": ("=", "!=", "~"),
}
_SECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
_BYTES = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_CONDITION = re.compile(r"^([a-z_]+)(!=|>=|<=|=|~|>|<)(.*)$", re.DOTALL)

Sql = tuple[str, list[Any]]


@dataclass(frozen=True)
class Predicate:
    """One column that a question can be narrowed by: its kind of value, and the kinds of rows (`event`) that fill it.

    `null`: what an empty value in such a row means. `lossy`: flags under which the value is not whole. `folded`: whose value a folded
    row has. `ends`: the value comes with a process's end, and is not there yet while it runs.
    """

    name: str
    type: str
    events: tuple[str, ...]
    unit: str = ""
    null: str = UNKNOWN
    lossy: tuple[str, ...] = ()
    folded: str = SAME
    ends: bool = False

    @property
    def operators(self) -> tuple[str, ...]:
        """What it can be asked with."""
        return OPERATORS[self.type]


@dataclass(frozen=True)
class Test:
    """A condition as typed, its value read. `named`: it was given by a user's or group's name, the `word`: of this machine, which
    holds for its own processes alone (UNKNOWN_USER where it has none such), or by what a container says of its users."""

    predicate: Predicate
    sign: str
    value: Any
    typed: str
    named: bool = False
    word: str = ""

    @property
    def name(self) -> str:
        """The word that the user gave for the column."""
        return self.typed


_EXECUTED = ("exec", "seen", "folded")
_ENDED = ("exit", "folded")
#: An image, and the one from which it came.
_IDS = ("exec_tgid", "exec_start", "exec_number", "exec_id", "previous_number", "previous_exec_id")
_PARENT = ("parent_tgid", "parent_start", "parent_number", "parent_exec_id")
_CREATOR = ("creator_tgid", "creator_start", "creator_number", "creator_exec_id")
_FOLDS = ("folded_count", "folded_last", "folded_until")
_OPTIONAL = ("tty", "script_raw", "interpreter_raw", "flag_names", "marks", "redaction", "login_uid", "login_session")
#: Columns of which an empty value means that there is none.
_NONE = {
    *_IDS,
    *_PARENT,
    *_CREATOR,
    *_FOLDS,
    *_OPTIONAL,
    "container",
    "pod_uid",
    "host_namespaces",
    "exit_code",
    "exit_signal",
    "ended",
}
#: Columns that a runtime tells.
_UNNAMED = {"pod", "namespace", "workload", "workload_source", "image", "container_name"}
#: Columns in which a folded row has the value of one of its processes.
_ONE = {*_IDS, *_PARENT, *_CREATOR, "pid", "tid", "namespace_pid", "time", "ended", "ktime", "seq", "cpu", "ring"}
_NAME = ("NAME_TRUNCATED",)
_LOSSY = {
    "args": ("ARGS_TRUNCATED", "ARGS_UNREAD"),
    "args_bytes": ("ARGS_TRUNCATED", "ARGS_UNREAD"),
    "env_names": ("ENV_TRUNCATED", "ENV_UNREAD"),
    "env_values": ("ENV_TRUNCATED", "ENV_UNREAD"),
    "exe": ("EXE_TRUNCATED", "PATH_RACED"),
    "cwd": ("CWD_TRUNCATED", "PATH_RACED"),
    "filename_raw": _NAME,
    "script_raw": _NAME,
    "interpreter_raw": _NAME,
} | dict.fromkeys(("parent_name", *_PARENT), ("PARENT_UNSURE",))
_SPECIAL = {"exit_signal": "signal", "flag_names": "words", "event": "words", "container": "place"}


@cache
def of_processes() -> dict[str, Predicate]:
    """A predicate for each column of `process`, and for those that its view and `ask processes` add."""
    found = {column.name: _declared(column.name, column.type, column.unit) for column in TABLES["process"].columns}
    every = filled.kinds("process")
    for name in ("exec_id", "parent_exec_id", "creator_exec_id", "previous_exec_id"):
        found[name] = _declared(name, "text", "", _EXECUTED if name == "previous_exec_id" else every)
    found["marks"] = _declared("marks", "words", "", every)
    del found["flags"]  # the word is short for `marks`
    found["state"] = Predicate("state", "words", every)
    found["ended"] = Predicate("ended", "time", _ENDED, null=NONE, folded=ONE, ends=True)
    return found


def _declared(name: str, kind: str, unit: str, events: tuple[str, ...] | None = None) -> Predicate:
    events = events or filled.columns("process")[name]
    null = UNNAMED if name in _UNNAMED else INSIDE if name in ("runtime", "claimed") else UNKNOWN
    null = NONE if name in _NONE or kind == "bytes" else null
    special = "capabilities" if name.startswith("cap_") else _SPECIAL.get(name, kind)
    folded = ONE if name in _ONE else MOST if name == "duration" else SUM if name.endswith("_time") and unit else SAME
    ends = set(events) <= set(_ENDED) and "exit" in events
    return Predicate(name, special, events, unit, null, _LOSSY.get(name, ()), folded, ends)


ALIASES = {"user": "euid", "parent": "parent_name", "flags": "marks", "binary": "exe", "code": "exit_code"}


def parse(text: str, known: dict[str, Predicate], now: datetime) -> Test:
    """One `column=value` (also != ~ > < >= <=), or a column that is yes or no, alone. UsageError says what can be written."""
    found = _CONDITION.match(text)
    name, sign, value = found.groups() if found else (text, "=", "yes")
    predicate = known.get(ALIASES.get(name, name))
    if not found and (predicate is None or predicate.type != "bool"):
        raise UsageError(f"{text!r}: write COLUMN=VALUE, also with != ~ (holds) > < >= <=")
    if predicate is None:
        raise UsageError(
            f"no column {name!r}{meant(name, [*known, *ALIASES])}; `.schema process` in `firsthand sql` lists them"
        )
    if sign not in predicate.operators:
        raise UsageError(f"{name} takes {' '.join(predicate.operators)}; found {text!r}")
    if predicate.name in USERS | _GROUPS and sign in ("=", "!=") and not re.fullmatch(r"-?\d+", value):
        return Test(predicate, sign, _number_of(predicate.name, name, value), name, named=True, word=value)
    return Test(predicate, sign, _read(predicate, name, sign, value, now), name)


#: Columns that can be asked by a user's or group's name.
USERS = {"uid", "euid", "suid", "fsuid", "login_uid"}
_GROUPS = {"gid", "egid", "sgid", "fsgid"}


#: A number that no user has.
UNKNOWN_USER = -1


def _number_of(column: str, name: str, value: str) -> int:
    """A user's or group's number on this machine; UNKNOWN_USER where it has no such user, but a container may."""
    try:
        return pwd.getpwnam(value).pw_uid if column in USERS else grp.getgrnam(value).gr_gid
    except KeyError:
        if column in USERS:
            return UNKNOWN_USER
        raise nobody(name, value, "group", [one.gr_name for one in grp.getgrall()]) from None


def nobody(name: str, value: str, what: str, known: Iterable[str]) -> UsageError:
    """Nobody of this name is known."""
    return UsageError(
        f"{name}: no {what} {value!r} on this machine{meant(value, known)}; of another machine give the number"
    )


def _read(predicate: Predicate, name: str, sign: str, value: str, now: datetime) -> Any:
    kind = predicate.type
    if kind == "words":
        return _word(predicate, name, sign, value)
    if kind == "capabilities" and sign == "~":
        return _capability(name, value)
    if kind == "signal" and (found := _signal(value)) is not None:
        return found
    if kind.startswith("int") or kind in ("signal", "capabilities"):
        return _number(predicate, name, value)
    if kind == "bool":
        return _yes(name, value)
    if kind == "time":
        return _moment(name, value, now)
    return _unescaped(value) if kind == "bytes" else value


def _word(predicate: Predicate, name: str, sign: str, value: str) -> str:
    """A word of a column that has only known ones; what none of them holds can never be found."""
    if predicate.name == "event":
        every, word = filled.kinds("process"), value.lower()
    elif predicate.name == "state":
        every, word = STATES, value.lower()
    else:
        every, word = (flags.known() if predicate.name == "marks" else flags.stored()), value.upper()
    if not any(word == one or (sign == "~" and word in one) for one in every):
        more = "; `flags` has the derived ones too" if predicate.name == "flag_names" and word in flags.DERIVED else ""
        raise UsageError(f"{name}: no row can have {value!r}{meant(word, every)}; there are {', '.join(every)}{more}")
    return word


#: What became of an image by the window's end.
STATES = ("running", "exited", "replaced", "left")


def _number(predicate: Predicate, name: str, value: str) -> int:
    units = {"ns": _SECONDS, "bytes": _BYTES}.get(predicate.unit, {})
    found = re.fullmatch(r"(-?\d+)([a-zA-Z]*)", value)
    if (
        not found
        or (found[2] and found[2] not in units)
        or not -(2**63) <= int(found[1]) * units.get(found[2], 1) < 2**63
    ):
        also = f", also with {' '.join(units)}" if units else ""
        raise UsageError(f"{name} is a number{also}; found {value!r}")
    return int(found[1]) * units.get(found[2], 1)


def _signal(value: str) -> int | None:
    names = {one.name: one.value for one in signal.Signals}
    word = value.upper()
    return names.get(word, names.get(f"SIG{word}"))


def _capability(name: str, value: str) -> int:
    word = value.lower().removeprefix("cap_")
    if word not in capability.NAMES:
        raise UsageError(f"{name}: no capability {value!r}{meant(word, capability.NAMES)}")
    return capability.bits([word])


def _yes(name: str, value: str) -> bool:
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if value.lower() not in words:
        raise UsageError(f"{name} is yes or no; found {value!r}")
    return words[value.lower()]


def _moment(name: str, value: str, now: datetime) -> datetime:
    try:
        if found := re.fullmatch(r"(\d+)([smhd])", value):
            return (now - timedelta(microseconds=int(found[1]) * _SECONDS[found[2]] // 1000)).replace(tzinfo=None)
        moment = datetime.fromisoformat(value)
        return (moment.astimezone(UTC) if moment.tzinfo else moment).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise UsageError(f"{name} is a time; write 2h (ago) or 2026-05-01T12:00Z; found {value!r:.80}") from None


def _unescaped(value: str) -> bytes:
    """Bytes as they are shown: \\xNN for what is no text, \\\\ for a backslash."""
    parts = re.split(rb"(\\x[0-9a-fA-F]{2}|\\\\)", value.encode())
    return b"".join(_byte(part) for part in parts)


def _byte(part: bytes) -> bytes:
    if part == b"\\\\":
        return b"\\"
    return bytes.fromhex(part[2:].decode()) if re.fullmatch(rb"\\x[0-9a-fA-F]{2}", part) else part


# ---- as SQL ----


def sql(test: Test) -> Sql:
    """The condition over an image (`images.py`), by SQL's three values: null is not known."""
    predicate = test.predicate
    plain, values = _compared(test, f"v_{predicate.name}")
    empty = "true" if test.sign == "!=" else "false"
    found = f"CASE WHEN v_{predicate.name} IS NULL THEN {_empty(predicate, empty)}{_not_whole(test, plain)} ELSE {plain} END"
    found = _of_many(test, found, plain)
    if predicate.ends:
        found = f"CASE WHEN NOT has_end THEN NULL ELSE {found} END"
    if test.named:
        found = f"CASE WHEN {of_this_machine()} THEN {found} END"
    values = values * found.count(plain)
    if test.named and predicate.name in USERS:
        no = "NOT " if test.sign == "!=" else ""
        said = f"{no}list_contains(own_users, concat(v_{predicate.name}, '=', ?))"
        found = f"coalesce({found}, CASE WHEN own_users IS NOT NULL AND NOT {of_this_machine()} AND v_{predicate.name} IS NOT NULL THEN {said} END)"
        values = [*values, test.word]
    return f"({found})", values


def of_this_machine() -> str:
    """SQL for images whose users are this machine's: its own processes outside of containers."""
    return f"(on_host AND node = '{machine.node().replace(chr(39), chr(39) * 2)}')"


def _empty(predicate: Predicate, none: str) -> str:
    """What an empty value proves; nothing where no row of a kind that fills the column is held."""
    if predicate.null == UNKNOWN:
        return "NULL"
    known = {UNNAMED: "is_named", INSIDE: "on_host"}.get(predicate.null, "true")
    begun = "" if "exit" in predicate.events else " AND begun"
    return f"CASE WHEN {known}{begun} THEN {none} END"


def _not_whole(test: Test, plain: str) -> str:
    """What a cut or redacted value still proves: that it holds what it shows."""
    tests = [f"contains(',' || coalesce(v_flag_names, '') || ',', ',{flag},')" for flag in test.predicate.lossy]
    if test.predicate.name in ("args", "args_bytes"):
        tests.append("coalesce(v_redacted, false)")
    if not tests:
        return ""
    shown = f"CASE WHEN {plain} THEN true END" if test.sign == "~" else "NULL"
    return f" WHEN {' OR '.join(tests)} THEN {shown}"


def _of_many(test: Test, found: str, plain: str) -> str:
    """The same for a folded row, whose value need not be that of each."""
    kind, sign = test.predicate.folded, test.sign
    more, less = sign in (">", ">="), sign in ("<", "<=")
    if kind == SAME:
        return found
    if kind == ONE:
        many = f"CASE WHEN {found} THEN true END"
    elif kind == MOST:
        many = f"CASE WHEN {plain} THEN true ELSE {'false' if more else 'NULL'} END"
    elif less:
        many = f"CASE WHEN {plain} THEN true END"
    else:
        many = f"CASE WHEN NOT ({plain}) THEN false END" if more else "NULL"
    return f"CASE WHEN many > 1 THEN {many} ELSE {found} END"


def holds_for_each(test: Test) -> bool:
    """Whether what is true of a folded row is true of each process in it."""
    kind = test.predicate.folded
    return kind == SAME or (kind in (MOST, SUM) and test.sign in ("<", "<="))


_SIGNS = {"=": "=", "!=": "<>", ">": ">", "<": "<", ">=": ">=", "<=": "<="}


def _compared(test: Test, column: str) -> Sql:
    """The comparison of a value that is there."""
    kind, sign, value = test.predicate.type, test.sign, test.value
    negated = "NOT " if sign == "!=" else ""
    if kind == "list":
        joined = f"array_to_string({column}, ' ')"
        if sign == "~":
            return f"contains(lower({joined}), lower(?))", [value]
        return f"{negated}({joined} = ? OR list_contains({column}, ?))", [value, value]
    if kind == "place":
        if sign == "~":
            return (
                f"(contains(lower({column}), lower(?)) OR contains(lower(coalesce(v_container_name, '')), lower(?)))",
                [value, value],
            )
        inside, values = of_container(column, value)
        return f"{negated}({inside} OR coalesce(v_container_name, '') = ?)", [*values, value]
    if kind == "words":
        if sign == "~":
            return f"contains({column}, ?)", [value]
        return f"{negated}list_contains(string_split({column}, ','), ?)", [value]
    if kind == "capabilities" and sign == "~":
        return f"({column} & ?) <> 0", [value]
    if sign == "~":
        return f"contains(lower({column}), lower(?))", [value]
    return f"{column} {_SIGNS[sign]} ?", [value]
