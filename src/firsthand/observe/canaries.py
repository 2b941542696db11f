"""Canaries (law 6): events that Firsthand causes itself and that must come back through the rings, by each hook.

The supervisor announces a round to the observer and causes it (probe/rounds.py); what it causes, and which hooks that proves, the
subjects declare. A hook that did not answer in time is a blind spot. A round's own rows are left out of the record, and only they:
of a cgroup that was announced, each event as often as a round causes it, and an exec only with the name among its arguments. Whatever
else happens there is recorded. Of a round that goes on while an observer takes over, what runs is the round's where it names it, or
is the supervisor's child.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from firsthand.probe.hierarchy import Hierarchy, path_in
from firsthand.probe.rounds import MOST_ROUNDS
from firsthand.subjects import registry
from firsthand.subjects.declare import CanaryEvent
from firsthand.wire.batch import Batch, Text
from firsthand.wire.decode import Decoder

#: Seconds within which every hook must have answered once a round was caused, within which it must have been, and between two rounds.
PATIENCE, CAUSED, EVERY = 5.0, 60.0, 60.0
Kind = tuple[str, bytes, bytes]
#: What a round causes, by table, event and transport.
_ANSWERS: dict[Kind, CanaryEvent] = {
    (one.table, one.event.encode(), one.transport.encode()): one for one in registry.answers()
}
HOOKS = tuple(hook for one in _ANSWERS.values() for hook in (*one.hooks, *one.unless))


@dataclass
class Round:
    """What came back of one round, and what of its own rows is still to come."""

    token: bytes
    answered: set[str] = field(default_factory=set)
    due: dict[Kind, int] = field(default_factory=lambda: {kind: one.times for kind, one in _ANSWERS.items()})


@dataclass
class Canaries:
    """The observer's side: which hooks answered to each round. `parent` empty: there are no rounds.

    `hear` reads what the supervisor sent meanwhile: it announces a round before it causes it. `complete`: it has caused one.
    `judged`: when, in monotonic seconds, the last round began of which it is known which hooks answered; None: of none yet.
    """

    hierarchy: Hierarchy
    parent: str
    hear: Callable[[], None]
    proven: set[str] = field(default_factory=set)
    dumb: set[str] = field(default_factory=set)
    dropped: int = 0
    complete: bool = False
    judged: float | None = None
    _rounds: OrderedDict[int, Round] = field(default_factory=OrderedDict)
    _announced: dict[bytes, float] = field(default_factory=dict)
    _began: dict[bytes, float] = field(default_factory=dict)
    _before: set[bytes] = field(default_factory=set)

    @cached_property
    def _prefix(self) -> bytes:
        return f"{path_in(self.hierarchy, Path(self.parent))}/".encode() if self.parent else b""

    @property
    def rounds(self) -> int:
        """Rounds whose answers are kept now."""
        return len(self._rounds)

    def announce(self, token: str, now: float) -> None:
        """A round with this name begins."""
        self._announced[token.encode()] = now + CAUSED
        self._began[token.encode()] = now

    def caused(self, token: str, now: float) -> None:
        """The supervisor has done all of a round, or what of it can be done here: on a busy machine long after it began."""
        self.complete = True
        if token.encode() in self._announced:
            self._announced[token.encode()] = now + PATIENCE

    def recall(self, tokens: Iterable[str]) -> None:
        """Rounds that were announced to an observer before this one: their rows are ours, and answers are not waited for."""
        self._before.update(token.encode() for token in tokens)

    def take(self, batch: Batch, decoder: Decoder) -> Batch:
        """Take the answers that a batch holds; the batch without them."""
        if not self._prefix:
            return batch
        columns = cast("dict[str, Any]", batch.columns)
        if "cgroup_id" not in columns:
            return batch
        ids = columns["cgroup_id"].values
        if "cgroup_path" in columns:  # else it is looked up later: this table's records name cgroups
            self._find(columns["cgroup_path"], ids)
        if not self._rounds:
            return batch
        mine = np.isin(ids, list(self._rounds))
        for row in np.flatnonzero(mine).tolist():
            mine[row] = self._answer(self._rounds[int(ids[row])], batch, row, decoder)
        self.dropped += int(mine.sum())
        return batch.kept(~mine) if mine.any() else batch

    def _answer(self, one: Round, batch: Batch, row: int, decoder: Decoder) -> bool:
        """Whether a row is a round's own."""
        columns = cast("dict[str, Any]", batch.columns)
        transport = columns["transport"].row(row) if "transport" in columns else b""
        kind = (batch.table, columns["event"].row(row), transport)
        answer = _ANSWERS.get(kind)
        if answer is None or not one.due[kind] or (answer.named and not _ours(columns, row, one.token)):
            return False
        one.due[kind] -= 1
        one.answered.update(answer.hooks)
        for hook, (enum, word) in answer.unless.items():
            if not int(columns["flags"].values[row]) & decoder.layout.enums[enum][word]:
                one.answered.add(hook)
        self.proven |= one.answered
        return True

    def _find(self, paths: Text, ids: NDArray[Any]) -> None:
        for row in range(len(paths)):
            path = paths.row(row)
            if path.startswith(self._prefix) and int(ids[row]) not in self._rounds:
                self._begin(int(ids[row]), path.removeprefix(self._prefix))

    def _begin(self, cgroup: int, token: bytes) -> None:
        if token not in self._announced:
            self.hear()
        if token not in self._before | set(self._announced) or any(one.token == token for one in self._rounds.values()):
            return  # nobody of ours
        self._rounds[cgroup] = Round(token)
        while len(self._rounds) > MOST_ROUNDS:
            self._rounds.popitem(last=False)

    def all_proven(self, attached: Iterable[str]) -> bool:
        """Whether every attached hook that can answer has answered since the start; True where there are no rounds."""
        return not self._prefix or set(HOOKS) & set(attached) <= self.proven

    def silent(self, now: float, attached: Iterable[str]) -> list[str]:
        """Hooks that are attached and did not answer in time; told once for each round.

        What they recorded is not proven since `judged`, as it was before this call.
        """
        found: set[str] = set()
        for token, until in list(self._announced.items()):
            answered = {hook for one in self._rounds.values() if one.token == token for hook in one.answered}
            self.dumb -= answered
            late = set(HOOKS) & set(attached) - answered
            if not late or now >= until:
                del self._announced[token]
                found |= late
                self.judged = max(self.judged or 0.0, self._began.pop(token, now))
        self.dumb |= found
        return sorted(found)

    def verdicts(self, attached: Iterable[str]) -> dict[str, str]:
        """What is to be said of attached hooks that no canary has proven."""
        found = dict.fromkeys(set(attached) & set(HOOKS) - self.proven, "attached: not proven yet")
        return found | dict.fromkeys(self.dumb, "missing: its canary does not answer")


def _ours(columns: dict[str, Any], row: int, token: bytes) -> bool:
    """Whether a program names the round, or is the supervisor before it does; where arguments are not read at all, whether it is the
    program of a round."""
    if columns["event"].row(row) == b"seen" and int(columns["parent_tgid"].values[row]) == os.getppid():
        return True
    if columns["args"].valid is not None and not columns["args"].valid[row]:
        return bool(columns["exe"].row(row).endswith(b"/true"))
    return token in columns["args"].row(row)
