"""Label selectors as kubectl takes them, applied to the labels that runtimes told: what ever had such labels is chosen.

Source: kubernetes/apimachinery pkg/labels/selector.go: KEY, !KEY, KEY=VALUE, ==, !=, KEY in (A,B), KEY notin (A,B), by commas. As
there, != and notin take what does not have the key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
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
        "SELECT DISTINCT pod_uid, labels FROM pod WHERE pod_uid IS NOT NULL AND event IN ('named', 'gone')"
    ).fetchall()
    others = connection.execute(
        "SELECT DISTINCT container, labels FROM container WHERE event IN ('named', 'gone') AND container NOT IN "
        "(SELECT container FROM container WHERE event IN ('named', 'gone') AND pod_uid IS NOT NULL AND container IS NOT NULL)"
    ).fetchall()
    return Chosen(_chosen(wanted, pods), _chosen(wanted, others))


def _chosen(wanted: list[Requirement], rows: Iterable[tuple[str, list[str] | None]]) -> list[str]:
    """The keys of which some labels meet it; rows without labels count where no row has any."""
    told: dict[str, list[list[str] | None]] = {}
    for key, labels in rows:
        told.setdefault(key, []).append(labels)
    known = {key: [one for one in some if one is not None] or some for key, some in told.items()}
    return [key for key, some in known.items() if any(_all(wanted, labels) for labels in some)]


def cut(connection: Any, text: str) -> list[str]:
    """Why a choice by labels may be wrong: pods and containers of which what was cut at a bound decides."""
    wanted = parse(text)
    query = " UNION ALL ".join(
        f"SELECT DISTINCT {key}, labels FROM {table} WHERE contains(coalesce(cut, ''), 'labels')"  # noqa: S608
        for table, key in (("pod", "pod_uid"), ("container", "coalesce(pod_uid, container)"))
    )
    unsure = {key for key, labels in connection.execute(query).fetchall() if _undecided(wanted, labels or [])}
    if not unsure:
        return []
    whose = "pod's or container's labels were" if len(unsure) == 1 else "pods' or containers' labels were"
    return [f"{len(unsure):,} {whose} cut at a bound: what was cut decides whether they are chosen"]


def _undecided(wanted: list[Requirement], labels: list[str]) -> bool:
    """Whether no condition fails by what is kept, and one is about a label that was cut: by its length, or behind the most that are kept,
    which are the first by their keys."""
    from firsthand.identity.runtimes.facts import LONGEST_LABEL, MOST_LABELS

    found = dict(label.partition("=")[::2] for label in labels)
    long = {label.partition("=")[0] for label in labels if len(label) >= LONGEST_LABEL}
    last = max(found, default="") if len(labels) >= MOST_LABELS else None
    open_ = [one for one in wanted if one.key in long or (last is not None and one.key > last)]
    return bool(open_) and all(one.takes(found) for one in wanted if one not in open_)


def _all(wanted: list[Requirement], labels: list[str] | None) -> bool:
    found = dict(label.partition("=")[::2] for label in labels or ())
    return all(one.takes(found) for one in wanted)
