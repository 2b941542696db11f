"""Processes whose every value is known, what a history holds of them, and the naive truth of a condition.

`Life` is what really happened. Its rows are what the record holds of it: values may be cut, redacted, folded, or not there. `known` says
in the plainest way what those rows prove of one value; `judged` is the condition's truth by that: True, False, or None for not known.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from firsthand.ask import predicate
from firsthand.ask.predicate import Predicate, Test
from firsthand.schema import filled, flags
from firsthand.schema.tables import TABLES
from tests.samples import BOOT, NODE, ORDINARY

START = datetime(2026, 3, 1, 12)
_EXECUTED = ("exec", "seen", "folded")
ENDS = ("user_time", "system_time", "duration", "peak_memory", "exit_code", "exit_signal", "core_dumped")
_ROW = ("event", "time", "ktime", "seq", "cpu", "ring", "folded_count", "folded_until", "folded_last")
_IDS = ("exec_tgid", "exec_start", "exec_number", "pid", "tid", "namespace_pid")
#: One container in a pod, one in none, one that no runtime named, and the host.
PLACES: tuple[dict[str, Any], ...] = (
    {
        "container": "a" * 64,
        "pod": "web-1",
        "namespace": "shop",
        "container_name": "app",
        "workload": "shop/Deployment/web",
    },
    {"container": "b" * 64, "pod": None, "namespace": None, "container_name": "solo", "workload": None},
    {"container": "c" * 64, "pod": None, "namespace": None, "container_name": None, "workload": None},
    {"container": None, "pod": None, "namespace": None, "container_name": None, "workload": None},
)
_TEXTS = ("alpha", "Beta", "gamma ray", "/usr/bin/Alpha", "delta,x", "")
_LISTS: tuple[list[str], ...] = (["alpha", "x"], ["beta"], ["alpha x", "Beta"], ["gamma"])
_BYTES = (b"\xff\xfe", b"ok\xc3", b"\\x41\xff")
#: Never recorded in this history, whatever the rows' kind.
UNFILLED = ("env_values", "ns_time", "file_device")


@dataclass
class Life:
    """One image or fold: the begin's event and the rows; `true` by column; `many` processes, each with its own `each`."""

    event: str
    begun: datetime
    ended: datetime | None
    rows: list[dict[str, Any]]
    many: int = 1
    shown: dict[str, Any] = field(default_factory=dict)
    state: str = "running"
    left: datetime | None = None


def value(chance: random.Random, name: str, kind: str) -> Any:
    """A value of a column's type, from few, so that conditions meet some rows."""
    if kind in ("int16", "int32", "int64"):
        return chance.choice((0, 1, 7, 4711))
    if kind == "bool":
        return chance.random() < 0.5
    if kind == "time":
        return START + timedelta(seconds=chance.randrange(600))
    if kind == "list":
        return chance.choice(_LISTS)
    return chance.choice(_BYTES) if kind == "bytes" else chance.choice(_TEXTS[:5])


def _columns(chance: random.Random, event: str) -> dict[str, Any]:
    """A row's values of the columns that its kind fills, some of them empty."""
    found = {}
    for column in TABLES["process"].columns:
        name = column.name
        if event not in filled.columns("process")[name] or name in UNFILLED or name in _ROW:
            continue
        empty = (name != "flags" and predicate.of_processes()[name].null != predicate.UNKNOWN) or name in (
            "cwd",
            "comm",
            "file_inode",
        )
        found[name] = None if empty and chance.random() < 0.3 else value(chance, name, column.type)
    return found


def _flagged(chance: random.Random) -> str | None:
    return (
        ",".join(sorted(chance.sample(flags.stored(), chance.randrange(3)))) or None if chance.random() < 0.6 else None
    )


class World:
    """A history's processes. `rows` are those that are written; `lives` what they tell of."""

    def __init__(self, seed: int, number: int = 60) -> None:
        self.chance = random.Random(seed)
        self.lives: list[Life] = []
        self._ticks = 0
        for index in range(number):
            self._life(index)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All of them in the order of their times."""
        return sorted((row for life in self.lives for row in life.rows), key=lambda row: row["time"])

    def _row(self, event: str, at: datetime, shared: dict[str, Any]) -> dict[str, Any]:
        self._ticks += 1
        row = _columns(self.chance, event) | shared
        row = {name: one for name, one in row.items() if event in filled.columns("process").get(name, ())}
        ticks = int((at - START).total_seconds() * 1e9) + self._ticks
        return row | {"event": event, "time": at, "ktime": ticks, "seq": self._ticks, "cpu": self._ticks % 2, "ring": 0}

    def _life(self, index: int) -> None:
        """A begin of some kind, perhaps an end, perhaps another image behind it."""
        chance = self.chance
        event = chance.choice(("exec", "exec", "exec", "seen", "fork", "folded"))
        begun = START + timedelta(seconds=chance.randrange(1, 500))
        ids = {"exec_tgid": 1000 + index, "exec_start": 5000 + index, "exec_number": 7, "pid": 1000 + index}
        shared = (
            ids
            | chance.choice(PLACES)
            | {
                "node": NODE,
                "boot": BOOT,
                "flag_names": _flagged(chance),
                "cap_permitted": ORDINARY | chance.choice((0, 2)),
            }
        )
        begin = self._row(event, begun, shared)
        life = Life(event, begun, None, [begin], shown=dict(begin))
        self.lives.append(life)
        if event == "folded":
            self._fold(life, begin)
            return
        if event == "exec" and chance.random() < 0.2:  # a later observer saw it
            again = begin | {"event": "seen", "time": begun + timedelta(seconds=2), "ktime": begin["ktime"] + 2 * 10**9}
            life.rows.append(again)
        what = chance.choice(("ends", "ends", "runs", "execs", "leaves"))
        if what == "ends":
            self._end(life, shared)
        elif what == "leaves":
            life.left = begun + timedelta(seconds=chance.randrange(3, 60))
            life.rows.append(self._row("left", life.left, shared))
        elif what == "execs":
            life.state = "replaced"
            after = self._row("exec", begun + timedelta(seconds=1), shared | {"exec_number": 8, "previous_number": 7})
            following = Life("exec", begun + timedelta(seconds=1), None, [after], shown=dict(after))
            self.lives.append(following)
            if event == "fork":
                life.state = "copy"
            self._end(following, shared | {"exec_number": 8})

    def _end(self, life: Life, shared: dict[str, Any]) -> None:
        at = life.begun + timedelta(seconds=self.chance.randrange(3, 60))
        end = self._row("exit", at, shared)
        end["duration"] = int((at - life.begun).total_seconds() * 1e9) + self.chance.choice((0, 10**6))
        end["core_dumped"], end["user_time"] = self.chance.random() < 0.3, self.chance.choice((10**6, 10**9))
        signalled = self.chance.random() < 0.3
        end |= {
            "exit_code": None if signalled else self.chance.choice((0, 1, 77)),
            "exit_signal": 9 if signalled else None,
        }
        life.rows.append(end)
        life.ended, life.state = at, "exited"
        life.shown |= {name: end.get(name) for name in ENDS}

    def _fold(self, life: Life, row: dict[str, Any]) -> None:
        life.many = row["folded_count"] = self.chance.choice((2, 5, 240))
        row["folded_until"] = life.begun + timedelta(seconds=20)
        row["folded_last"] = row["ktime"] + 20 * 10**9
        row |= {
            "exit_code": self.chance.choice((0, 1)),
            "duration": self.chance.choice((10**6, 10**8)),
            "user_time": 10**7,
            "system_time": 10**6,
        }
        life.ended, life.state = life.begun, "exited"
        life.shown = dict(row) | {"core_dumped": False, "exit_signal": None, "peak_memory": None}


# ---- what is in a window, and what is proven of it ----


def within(lives: list[Life], since: datetime, until: datetime, forks: bool, executed: bool) -> list[Life]:
    """The images that began or ended in a window."""
    found = []
    for life in lives:
        reaches = life.event == "folded" and life.begun <= until and life.rows[0]["folded_until"] >= since
        inside = [row for row in life.rows if since <= row["time"] <= until]
        if not inside and not reaches:
            continue
        if (life.state == "copy" and not forks and _replaced(life, since, until)) or (
            executed and life.event == "fork"
        ):
            continue
        found.append(life)
    return found


#: Columns that say whose a row is.
WHOSE = {
    "container",
    "container_name",
    "pod",
    "pod_uid",
    "namespace",
    "workload",
    "workload_source",
    "image",
    "runtime",
    "claimed",
}


def nameless(lives: list[Life], since: datetime, until: datetime) -> bool:
    """Whether rows of a window are of a container without a name, which may be any that is asked for by one."""
    rows = [row for life in lives for row in life.rows if since <= row["time"] <= until and row.get("container")]
    return any(not row["pod"] and not row["container_name"] for row in rows)


def _replaced(life: Life, since: datetime, until: datetime) -> bool:
    return since <= life.begun + timedelta(seconds=1) <= until


def state(life: Life, until: datetime) -> str:
    """What became of an image by the window's end."""
    if life.ended is not None and life.ended <= until:
        return "exited"
    if life.left is not None and life.left <= until:
        return "left"
    return (
        "replaced" if life.state in ("replaced", "copy") and life.begun + timedelta(seconds=1) <= until else "running"
    )


def _shown(life: Life, name: str, since: datetime, until: datetime) -> Any:
    row = life.shown
    if name == "container":
        return row["container"] or "host"
    if name.endswith("exec_id"):
        return _identity(
            row, {"exec_id": "exec", "parent_exec_id": "parent", "creator_exec_id": "creator"}.get(name, "previous")
        )
    if name == "marks":
        whole = dict.fromkeys(flags.COLUMNS) | row
        return ",".join(flags.of(whole, ORDINARY)) or None
    if name == "state":
        return state(life, until)
    if name == "event":
        rows = [
            r
            for r in life.rows
            if since <= r["time"] <= until or (r["event"] not in ("exit", "left") and r["time"] <= until)
        ]
        return ",".join(sorted({r["event"] for r in rows}))
    if name == "ended":
        return life.begun if life.event == "folded" else life.ended
    if (
        row.get(name) is None
        and predicate.of_processes()[name].null != predicate.NONE
        and state(life, until) in ("exited", "left")
    ):
        return life.rows[-1].get(name)
    return row.get(name)


def _identity(row: dict[str, Any], whose: str) -> str | None:
    if whose == "previous":
        parts = (row["exec_tgid"], row["exec_start"], row.get("previous_number"))
    else:
        parts = tuple(row.get(f"{whose}_{part}") for part in ("tgid", "start", "number"))
    return None if None in parts else ":".join((row["boot"][:8], *map(str, parts)))


def judged(life: Life, test: Test, since: datetime, until: datetime) -> tuple[bool | None, int]:
    """The condition's truth for the image, and of how many of its processes it is said."""
    one, sign = test.predicate, test.sign
    if one.ends and state(life, until) != "exited":
        return None, life.many
    shown = _shown(life, one.name, since, until)
    if shown is None:
        nothing = _of_nothing(life, one, sign)
        if life.many > 1 and one.folded == predicate.ONE:
            return (True, 1) if nothing else (None, life.many)
        return nothing, life.many
    true = compare(life, one, sign, shown, test.value)
    marked = set((life.shown.get("flag_names") or "").split(",")) & set(one.lossy)
    if marked or (one.name in ("args", "args_bytes") and life.shown.get("redacted")):
        true_or_none = True if sign == "~" and true else None
        return true_or_none, life.many
    if life.many > 1 and one.folded != predicate.SAME:
        return _of_many(one, sign, bool(true), life.many)
    return true, life.many


def _of_nothing(life: Life, one: Predicate, sign: str) -> bool | None:
    """What an empty value proves: that there is none, where that is what it means."""
    row = life.shown
    fills = one.null == predicate.NONE
    if one.null == predicate.UNNAMED:
        fills = row["container"] is None or bool(row["pod"] or row["container_name"])
    elif one.null == predicate.INSIDE:
        fills = row["container"] is None
    return sign == "!=" if fills else None


def _of_many(one: Predicate, sign: str, true: bool, many: int) -> tuple[bool | None, int]:
    """Of several: the shown value is that of one; the longest; or the sum of all."""
    if one.folded == predicate.ONE:
        return (True, 1) if true else (None, many)
    less, more = sign in ("<", "<="), sign in (">", ">=")
    if less:
        return (True, many) if true else (None, many)
    if more and not true:
        return False, many
    if one.folded == predicate.MOST and true:
        return True, 1
    return None, many


_ORDERED = {"<": lambda a, b: a < b, ">": lambda a, b: a > b, "<=": lambda a, b: a <= b, ">=": lambda a, b: a >= b}


def compare(life: Life, one: Predicate, sign: str, shown: Any, wanted: Any) -> bool:
    """A value that is there against the wanted one."""
    if sign in _ORDERED:
        left, right = (shown.encode(), wanted.encode()) if isinstance(shown, str) else (shown, wanted)
        return bool(_ORDERED[sign](left, right))
    if sign == "~":
        return _holds(life, one, shown, wanted)
    if one.type == "words":
        equal = wanted in shown.split(",")
    elif one.type == "place":
        begins = shown.startswith(wanted) if re.fullmatch("[0-9a-f]{6,}", wanted) else shown == wanted
        equal = begins or (life.shown["container_name"] or "") == wanted
    elif one.type == "list":
        equal = " ".join(shown) == wanted or wanted in shown
    else:
        equal = shown == wanted
    return bool(equal) != (sign == "!=")


def _holds(life: Life, one: Predicate, shown: Any, wanted: Any) -> bool:
    if one.type == "capabilities":
        return bool(shown & wanted)
    if one.type == "words":
        return wanted in shown
    text = " ".join(shown) if one.type == "list" else shown
    also = (life.shown["container_name"] or "") if one.type == "place" else ""
    return wanted.lower() in text.lower() or (one.type == "place" and wanted.lower() in also.lower())
