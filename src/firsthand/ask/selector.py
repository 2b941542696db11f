"""Label selectors as kubectl takes them, applied to the labels that runtimes told.

Source: kubernetes/apimachinery pkg/labels/selector.go: KEY, !KEY, KEY=VALUE, ==, !=, KEY in (A,B), KEY notin (A,B), by commas. As
there, != and notin take what does not have the key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from firsthand.ask.answer import Chosen
from firsthand.errors import UsageError

_KEY = r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?"
_SET = re.compile(rf"^({_KEY})\s+(in|notin)\s*\(([^()]*)\)$")
_EQUAL = re.compile(rf"^({_KEY})\s*(==|=|!=)\s*([A-Za-z0-9._-]*)$")
_EXISTS = re.compile(rf"^(!?)\s*({_KEY})$")
_COMMA = re.compile(r",(?![^()]*\))")


@dataclass(frozen=True)
class Requirement:
    """One condition: the key's value among `values` (None: the key is there), or not so."""

    key: str
    values: frozenset[str] | None
    negated: bool

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it."""
        met = self.key in labels and (self.values is None or labels[self.key] in self.values)
        return met != self.negated


def parse(text: str) -> list[Requirement]:
    """The conditions of a selector. UsageError where it is none."""
    return [_requirement(part.strip(), text) for part in _COMMA.split(text)]


def _requirement(part: str, whole: str) -> Requirement:
    if found := _SET.match(part):
        values = frozenset(value.strip() for value in found[4].split(","))
        return Requirement(found[1], values, found[3] == "notin")
    if found := _EQUAL.match(part):
        return Requirement(found[1], frozenset([found[4]]), found[3] == "!=")
    if found := _EXISTS.match(part):
        return Requirement(found[2], None, bool(found[1]))
    raise UsageError(
        f"--selector {whole!r}: expected KEY=VALUE, KEY!=VALUE, KEY, !KEY or KEY in (A,B), by commas; found {part!r}"
    )


def choose(connection: Any, text: str) -> Chosen:
    """The pods and containers with these labels. A pod's containers are chosen by the pod's labels alone."""
    wanted = parse(text)
    pods = connection.execute(
        "SELECT pod_uid, arg_max(labels, time) FROM pod WHERE pod_uid IS NOT NULL GROUP BY pod_uid"
    ).fetchall()
    others = connection.execute(
        "SELECT container, arg_max(labels, time) FROM container WHERE event IN ('named', 'gone') GROUP BY container "
        "HAVING count(pod_uid) = 0"
    ).fetchall()
    return Chosen(*([key for key, labels in rows if _all(wanted, labels)] for rows in (pods, others)))


def _all(wanted: list[Requirement], labels: list[str] | None) -> bool:
    found = dict(label.partition("=")[::2] for label in labels or ())
    return all(one.takes(found) for one in wanted)
