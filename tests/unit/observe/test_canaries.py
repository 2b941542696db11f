"""When a hook that does not answer is late, and which rows are a round's own."""

from __future__ import annotations

import os

import pytest

from firsthand.observe.canaries import CAUSED, PATIENCE, Canaries
from firsthand.probe import hierarchy
from firsthand.wire.batch import Batch
from tests.recorded import Recorded


def _canaries() -> Canaries:
    found = Canaries(hierarchy.here()[0], "", lambda: None)
    found.announce("round", 100.0)
    return found


def test_patience_begins_when_a_round_was_caused() -> None:
    """On a saturated machine that is long after it was announced."""
    found = _canaries()
    assert found.silent(100 + 10 * PATIENCE, {"process_exec"}) == [] and not found.complete
    found.caused("round", 200.0)
    assert found.complete
    assert found.silent(200 + PATIENCE - 0.1, {"process_exec"}) == []
    assert found.silent(200 + PATIENCE + 0.1, {"process_exec"}) == ["process_exec"] and found.dumb == {"process_exec"}


def test_a_round_that_is_never_caused_is_late() -> None:
    """Whatever stopped, hooks are not proven any more."""
    assert _canaries().silent(100 + CAUSED + 0.1, {"process_exec"}) == ["process_exec"]


def _seen(**more: object) -> Batch:
    common = {"event": "seen", "cgroup_id": 7, "exe": "/usr/bin/python3", "parent_tgid": os.getppid(), "args": ["run"]}
    return Batch.from_rows("process", [common | more])


def test_a_round_that_goes_on_while_an_observer_takes_over_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it runs is there already: its two processes, and nothing else that is in its cgroup."""
    found = Canaries(hierarchy.here()[0], f"{hierarchy.here()[0].mount}/parent", lambda: None)
    found.recall(["round"])
    decoder = next(iter(Recorded(monkeypatch).decoders.values()))
    told = Batch.from_rows("container", [{"event": "seen", "cgroup_id": 7, "cgroup_path": "/parent/round"}])
    assert found.take(told, decoder).length == 0
    assert found.take(_seen(parent_tgid=os.getppid() + 1), decoder).length == 1  # somebody else
    assert found.take(_seen(), decoder).length == 0
    assert found.take(_seen(parent_tgid=1, args=["firsthand-canary", "round"]), decoder).length == 0
    assert found.take(_seen(), decoder).length == 1  # one more than a round has
