"""What happens, as lines: one for each exec, folded where there are too many to read.

Works on the log's Arrow columns: rows that are not shown never become Python objects.
"""

from __future__ import annotations

import json
import pwd
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from firsthand.ask import show
from firsthand.ask.answer import folded
from firsthand.history import place
from firsthand.history.log.follow import LogFollower
from firsthand.history.names.names import Names
from firsthand.history.store.connection import History
from firsthand.schema import capability, flags

#: Columns that a line is made of.
COLUMNS = (
    "time",
    "event",
    "container",
    "pod",
    "namespace",
    "workload",
    "workload_source",
    "image",
    "container_name",
    "pod_uid",
    "cgroup_path",
    "claimed",
    "parent_name",
    "exe",
    "script_raw",
    "args",
    "uid",
    "euid",
    "flag_names",
    "cap_permitted",
    "stdin",
    "redacted",
    "pid",
    "exec_tgid",
    "tty",
    "folded_count",
    "folded_until",
)
_EXECUTED = pa.array(["exec", "folded"])
_HOST = "host"


@dataclass(frozen=True)
class LineChoice:
    """What to show: lines with all the words, of one container (or `host`), with one of the flags."""

    words: tuple[str, ...] = ()
    container: str | None = None
    flags: frozenset[str] = frozenset()
    namespace: str | None = None
    pod: str | None = None

    def takes(self, row: dict[str, Any], line: str) -> bool:
        """Whether a row and its line are wanted."""
        names = ((row["container"] or _HOST)[: len(self.container)], row["container_name"]) if self.container else ()
        if self.container and self.container not in names:
            return False
        if self.flags and not self.flags & set(row["marks"]):
            return False
        if self.namespace and row["namespace"] != self.namespace:
            return False
        if self.pod and self.pod not in (row["pod"], row["pod_uid"]):
            return False
        return all(word in line for word in self.words)

    @property
    def everything(self) -> bool:
        """Nothing is left out."""
        return not (self.words or self.container or self.flags or self.namespace or self.pod)


class LiveNames:
    """The names that are known by now, from the follower's log and, with `past`, from the history before it."""

    def __init__(self, history: Path, *, past: bool = False) -> None:
        self.names = Names()
        self._follower = LogFollower(history, ("container", "pod"), folder=place.NAMES, from_now=False)
        if past:
            self._recall(history)

    def _recall(self, history: Path) -> None:
        found = History(history)
        if not found.exists:
            return
        with found.connection() as connection:
            for table in ("container", "pod"):
                query = f"""SELECT * FROM {table} WHERE event IN ('named', 'gone', 'confirmed', 'contradicted')
                    AND time > now()::TIMESTAMP - INTERVAL 2 DAY"""  # noqa: S608
                rows = connection.sql(query).to_arrow_table()
                self.names.learn(table, rows)

    def look(self) -> None:
        """Learn what was told since the last look."""
        for table, rows in self._follower.poll(0):
            self.names.learn(table, rows)

    def named(self, rows: pa.Table) -> pa.Table:
        """Rows with the names in them."""
        return self.names.freeze(rows)

    def close(self) -> None:
        """Let go of the log."""
        self._follower.close()


class LiveView:
    """The live view of `run`: follows the history's log, as `tail` does."""

    def __init__(
        self, history: Path, choice: LineChoice, form: str = "compact", fold: int = 20, ordinary: Iterable[str] = ()
    ) -> None:
        self.choice, self.form, self.fold = choice, form, fold
        self.ordinary = capability.bits(ordinary)
        self.follower = LogFollower(history, ("process",))
        self.known = LiveNames(history)
        self._second, self._shown = 0.0, 0
        self._folded: Counter[str] = Counter()
        self._times: list[Any] = []

    def show(self, wait: float) -> None:
        """Print what has become durable within `wait` seconds."""
        found = self.follower.poll(wait)
        self.known.look()
        for _, table in found:
            self._table(table)
        self._unfold(time.monotonic())
        sys.stdout.flush()

    def _table(self, table: pa.Table) -> None:
        execs = table.filter(pc.is_in(table["event"], _EXECUTED)).select(COLUMNS)
        for start in range(0, len(execs), self.fold):
            part = execs.slice(start, self.fold)
            if self._shown >= self.fold and self.choice.everything:
                self._fold_rest(execs.slice(start))
                return
            self._rows(part)

    def _rows(self, part: pa.Table) -> None:
        for row in self.known.named(part).to_pylist():
            if row["container"] and row["euid"] is not None:
                row["user_said"] = self.known.names.user(row["container"], row["euid"])
            line = describe(row, self.ordinary, self.form)
            if self.choice.takes(row, line):
                self._line(row, line)

    def _line(self, row: dict[str, Any], line: str) -> None:
        self._unfold(time.monotonic())
        if self._shown >= self.fold:
            self._folded[_base(row["exe"])] += 1
            self._span(row["time"], row["time"])
            return
        self._shown += 1
        print(line)

    def _fold_rest(self, rest: pa.Table) -> None:
        for entry in pc.value_counts(rest["exe"]).to_pylist():
            self._folded[_base(entry["values"])] += entry["counts"]
        if rest.num_rows:
            self._span(pc.min(rest["time"]).as_py(), pc.max(rest["time"]).as_py())

    def _span(self, first: Any, last: Any) -> None:
        """The time of what is folded: after a take-over that is more than the second in which it was read."""
        self._times = [min([first, *self._times]), max([last, *self._times])]

    def _unfold(self, now: float) -> None:
        """At the end of a second that had too many lines, one that says what they were."""
        if now - self._second < 1.0:
            return
        if self._folded and self.form == "compact":
            most = ", ".join(f"{count} {name}" for name, count in self._folded.most_common(5))
            print(f"             … {self._folded.total():,} more execs within {_within(self._times)}: {most}")
        self._folded.clear()
        self._times = []
        self._second, self._shown = now, 0

    def close(self) -> None:
        """Show the rest and let go."""
        found = self.follower.poll(0)
        self.known.look()
        for _, table in found:
            self._table(table)
        self.known.close()
        self._unfold(self._second + 1.0)
        sys.stdout.flush()
        self.follower.close()


def describe(row: dict[str, Any], ordinary: int, form: str = "compact") -> str:
    """One exec as a line: time, container, parent > binary, arguments, user, flags. Adds `marks` and `shown_flags` to the row."""
    row["marks"] = flags.of(row, ordinary)
    row["shown_flags"] = [flag for flag in flags.SHOWN if flag in row["marks"]]
    if form == "jsonl":
        return json.dumps(show.plain(row))
    where = show.place(row)
    words = [f"{show.printable(row['parent_name'] or '?')} > {show.program(row['exe'], row['args'])}"]
    words += [
        f"({_user(row)})",
        " ".join(row["shown_flags"]),
        folded(row) or "",
    ]
    return f"{row['time']:%H:%M:%S.%f}"[:12] + f" {where:<12} " + " ".join(word for word in words if word)


def _user(row: dict[str, Any]) -> str:
    """The user by the machine's name; a container's user by number, with the unproven name that the container gives it."""
    if not row["container"]:
        return user(row["euid"])
    said = row.get("user_said")
    return f"{row['euid']}/{show.printable(said)}?" if said else str(row["euid"])


@lru_cache(maxsize=1024)
def user(uid: int) -> str:
    """A user's name on this machine, or the number. A container's users have names of their own."""
    try:
        return show.printable(pwd.getpwuid(uid).pw_name)
    except (KeyError, OverflowError):
        return str(uid)


def _within(times: list[Any]) -> str:
    """How long a time the first and the last of some rows span, in words."""
    seconds = (times[1] - times[0]).total_seconds() if times else 0.0
    return "a second" if seconds <= 1 else f"{seconds:.0f} s"


def _base(path: str | None) -> str:
    return show.printable((path or "?").rpartition("/")[2])
