"""ask/nameless.py: conversations of which no name is known keep "none" by a name from being proven, in whatever rows they stand (law 11)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from firsthand.ask.answering import Answer, Request, answer
from firsthand.history.store.connection import History
from tests.scenes import Process, Scene

DAY, BAD, PEER = 86_400.0, "bad.example", "203.0.113.9"
_FOLDING = json.dumps({"folding": {"most_ms": 1000, "every_seconds": 20, "connections": True}})


def _seen(scene: Scene, process: Process) -> None:
    ends = scene._ends(process, PEER, 443, None, 40_001, "tcp")
    scene.add("connection", 2, event="seen", flag_names="BEFORE", **process.row, **ends)


def _ended(scene: Scene, process: Process) -> None:
    """Older than the observer, whose rows of what was open already do not have it."""
    ends = scene._ends(process, PEER, 443, None, 40_001, "tcp")
    scene.add(
        "connection",
        7200,
        event="close",
        outcome="closed",
        duration=8 * 10**12,
        flag_names="BEFORE",
        **process.row,
        **ends,
    )


def _folded(scene: Scene, process: Process) -> None:
    """Forty in one row, which reaches into the window."""
    ends = scene._ends(process, PEER, 443, None, 40_001, "tcp")
    scene.add("connection", 3590, event="folded", folded_count=40, folded_until=scene.at(3605), **process.row, **ends)


_CASES: dict[str, tuple[Callable[[Scene, Process], object], int]] = {
    "a connection that was open when observing began": (_seen, 1),
    "one that ended, and nobody saw it begin": (_ended, 1),
    "short ones that folded": (_folded, 40),
    "one that began before the window and goes on": (lambda s, p: s.connect(p, PEER, 443, 10, lasts=None), 1),
    "one that ended in the window": (lambda s, p: s.connect(p, PEER, 443, 10, lasts=4000), 1),
    "a flow so short that it has but an end": (lambda s, p: s.flow(p, PEER, 443, 5000, lasts=0.5), 1),
    "a flow that goes on": (lambda s, p: s.flow(p, PEER, 443, 10, lasts=None), 1),
    "an attempt that has no answer by the window's end": (lambda s, p: s.connect(p, PEER, 443, 7198, answered=5), 1),
    "one that ended before the window": (lambda s, p: s.connect(p, PEER, 443, 10), 0),
    "a flow that ended before it": (lambda s, p: s.flow(p, PEER, 443, 10, lasts=5), 0),
    "one that the peer began": (lambda s, p: s.accept(p, PEER, 443, 5000), 0),
    "one with another name": (lambda s, p: s.connect(p, PEER, 443, 5000, names=["good.example"]), 0),
}


def _asked(scene: Scene, history: Path, *words: str) -> Answer:
    if not history.exists():
        scene.write(history, kept=True)
    window = (scene.at(3600), scene.at(7200))
    return answer(History(history), Request(words[0], words[1:], *window), scene.at(DAY))


@pytest.mark.parametrize("case", _CASES)
def test_none_by_a_name_counts_each_conversation_without_one(tmp_path: Path, case: str) -> None:
    """Law: whatever kind of row it has, in the window or from before it while it goes on; each counts once, and the reason has its peer."""
    make, number = _CASES[case]
    scene = Scene()
    scene.observed(-1, DAY, settings=_FOLDING if case == "short ones that folded" else "{}")
    make(scene, scene.process(None, "/bin/evil", [], 1))
    for words in (("connected", BAD), ("credentials", "s3")):
        found = _asked(scene, tmp_path / "h", *words)
        assert found.sentence.startswith("No: "), found.sentence
        reasons = [one for one in found.completeness.reasons if "out of the cluster" in one]
        assert found.completeness.complete == (not number), found.completeness.reasons
        assert len(reasons) == (number > 0)
        if number:
            assert reasons[0].startswith(f"{number} connection") and reasons[0].endswith(f"they went to {PEER}")


def test_the_reason_has_the_number_of_peers(tmp_path: Path) -> None:
    """Law: one of them by its address, and how many more there are."""
    scene = Scene()
    scene.observed(-1, DAY)
    process = scene.process(None, "/bin/evil", [], 1)
    for last in (9, 10, 11):
        scene.connect(process, f"203.0.113.{last}", 443, 4000 + last)
    (reason,) = _asked(scene, tmp_path / "h", "connected", BAD).completeness.reasons
    assert reason.startswith("3 connections out of the cluster have no name")
    assert reason.endswith("they went to 203.0.113.10 and 2 more addresses")


@pytest.mark.parametrize("kept", [True, False], ids=["segments", "log"])
@pytest.mark.parametrize(
    ("addresses", "marks", "doubted"), [([PEER], "TRUNCATED", True), ([], "TRUNCATED", False), ([PEER], None, False)]
)
def test_an_alias_may_be_behind_what_was_cut(
    tmp_path: Path, addresses: list[str], marks: str | None, doubted: bool, kept: bool
) -> None:
    """Law: a server can put so many records before an alias that it is not kept; then the connection has the name that was asked for alone.
    Also where it answered before the window. Answers without addresses gave no connection a name."""
    scene = Scene()
    scene.observed(-1, DAY)
    process = scene.process(None, "/bin/evil", [], 1)
    scene.ask(process, "good.example", addresses, 2, marks=marks)
    scene.connect(process, PEER, 443, 5000, names=["good.example"])
    history = scene.write(tmp_path / "h", kept=kept)
    for words in (("connected", BAD), ("credentials", "s3")):
        found = _asked(scene, history, *words).completeness
        assert found.complete != doubted and any("records that were cut" in one for one in found.reasons) == doubted
