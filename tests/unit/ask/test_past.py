"""ask/past.py: how much is held from before a window, with which it is compared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from firsthand.ask import past
from firsthand.ask.answer import Asked, Window
from firsthand.history.store.connection import History
from firsthand.wire.batch import Batch
from tests import histories, samples

_BEGAN = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(0), "0 minutes"),
        (timedelta(minutes=119), "119 minutes"),
        (timedelta(hours=2), "2 hours"),
        (timedelta(hours=47), "47 hours"),
        (timedelta(hours=48), "2 days"),
        (timedelta(days=30), "30 days"),
    ],
)
def test_a_length_in_words(length: timedelta, words: str) -> None:
    """Minutes, hours from two on, days from two on."""
    assert past.words(length) == words


@pytest.mark.parametrize(
    ("since", "length", "reason"),
    [
        (_BEGAN + timedelta(days=2), timedelta(days=2), ""),
        (_BEGAN + timedelta(days=1), timedelta(days=1), ""),
        (_BEGAN + timedelta(hours=5), timedelta(hours=5), "only 5 hours were recorded"),
        (_BEGAN, timedelta(0), "there is no past to compare with"),
        (_BEGAN - timedelta(days=1), timedelta(0), "there is no past to compare with"),
    ],
)
def test_a_short_past_is_said(tmp_path: Path, since: datetime, length: timedelta, reason: str) -> None:
    """Less than a day says little of what is usual; nothing at all is another sentence."""
    row = samples.observer("start", _BEGAN)
    histories.write(tmp_path, Batch.from_rows("observer", [row, row | {"event": "ready"}]))
    with History(tmp_path).connection() as connection:
        asked = Asked(connection, Window(since, since + timedelta(hours=1)), [])
        assert past.length(asked) == length
        assert [reason in found for found in past.reasons(asked)] == ([True] if reason else [])


def test_nothing_was_ever_observed(tmp_path: Path) -> None:
    """Of a history without an observer nothing is a past."""
    histories.write(tmp_path, Batch.from_rows("clock", [{"time": _BEGAN, "ktime": 1, "node": "n", "boot": "b"}]))
    with History(tmp_path).connection() as connection:
        asked = Asked(connection, Window(_BEGAN, _BEGAN + timedelta(hours=1)), [])
        assert past.length(asked) == timedelta(0)
