"""Many unlike lives at once, of the same lengths: scratch slots are used again and again on every processor, and none is taken for another."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests import require
from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel.observed import Observed
from tests.kernel.test_fold import _EVENTS, _KINDS, FOLDING, MAY_FOLD, FoldedLives

#: Workloads at once, and the forks of each.
WORKLOADS, FORKS = 3, 300


@pytest.mark.budget(40, "a thousand processes live and die")
def test_each_kind_is_told_apart(
    cgroup: TestCgroup, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By kind, lives of their own and lives in counts are the workloads' own number; what differs in one byte of its arguments never folds."""
    require.folding()
    configured(tmp_path, monkeypatch, f"ring_bytes = {64 << 20}\n" + FOLDING)
    with Observed(history, [cgroup.path]) as observed:
        places = [tmp_path / str(number) for number in range(WORKLOADS)]
        works = [FoldedLives(cgroup, place) for place in places if place.mkdir() is None]
        for work in works:
            work.past(FORKS)
        for work in works:
            work.end()
    truth: Counter[str] = Counter()
    for work in works:
        truth.update(work.kinds)
    kinds = {row["kind"]: (row["own"], row["folded"]) for row in observed.rows(_KINDS)}
    assert {kind: own + folded for kind, (own, folded) in kinds.items()} == truth
    assert {kind for kind, (_, folded) in kinds.items() if folded} <= MAY_FOLD
    assert kinds["equal"][1] > truth["equal"] / 2
    numbers = observed.rows(_EVENTS)[0]
    assert numbers["numbers"] == numbers["rows"] and observed.rows("SELECT * FROM loss") == []
