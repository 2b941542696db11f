"""What no canary proved is not proven, whatever the rows say: an overdue round counts from the last one in time on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.unit.ask.test_completeness import _judge, _observer


def _row(event: str, seconds: float, proven: float, monotonic: float | None = None) -> dict[str, Any]:
    """A row of an observer whose last round began at `proven`, a round each 10 s wanted; the clock runs from 1,000."""
    now = 1000 + (seconds if monotonic is None else monotonic)
    told = {"monotonic": now, "proven_monotonic": 1000 + proven, "canary_seconds": 10}
    return _observer(event, seconds, measures=json.dumps(told))


def test_rounds_in_time_prove_what_lies_between(tmp_path: Path) -> None:
    """Each round within two of its intervals: nothing to be said."""
    rows = [
        _row("start", 0, 0),
        _row("ready", 1, 0),
        *(_row("alive", n, n - 3) for n in (11, 21, 31, 41)),
        _row("stop", 50, 41),
    ]
    assert _judge(tmp_path, rows, [], 2, 49).complete


def test_a_supervisor_that_was_stopped_leaves_the_time_unproven(tmp_path: Path) -> None:
    """No round from 8 to 88 s: answers about that time say so, answers about before and after are complete."""
    rows = [_row("start", 0, 0), _row("ready", 1, 0), _row("alive", 11, 8)]
    rows += [*(_row("alive", n, 8) for n in range(21, 91, 10)), _row("alive", 91, 88), _row("stop", 100, 98)]
    for number, (since, until, complete) in enumerate(((2, 7, True), (2, 40, False), (50, 60, False), (89, 99, True))):
        folder = tmp_path / str(number)
        folder.mkdir()
        judged = _judge(folder, rows, [], since, until)
        assert judged.complete is complete, (since, until, judged.reasons)
        assert complete or "no canary proved the hooks on n from 2026-05-01T12:00:08" in judged.reasons[0]


def test_a_round_that_is_overdue_at_the_end_counts(tmp_path: Path) -> None:
    """The observer went on to 90 s and stopped; the last round was at 8."""
    rows = [
        _row("start", 0, 0),
        _row("ready", 1, 0),
        *(_row("alive", n, 8) for n in range(11, 91, 10)),
        _row("stop", 95, 8),
    ]
    judged = _judge(tmp_path, rows, [], 60, 70)
    assert not judged.complete and "no canary proved the hooks" in judged.reasons[0]


def test_a_suspended_machine_is_not_late(tmp_path: Path) -> None:
    """An hour between two rows in which the monotonic clock stood still: the round before it was in time."""
    rows = [
        _row("start", 0, 0),
        _row("ready", 1, 0),
        _row("alive", 11, 8),
        _row("alive", 3611, 8, 12),
        _row("stop", 3620, 18, 21),
    ]
    assert not any("canary" in reason for reason in _judge(tmp_path, rows, [], 2, 3619).reasons)
