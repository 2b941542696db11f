"""history/deadline.py: what a user asked is interrupted when its time is over, and nothing else is."""

from __future__ import annotations

import threading
import time

import duckdb
import pytest

from firsthand.history.deadline import Deadline

#: It would run for many minutes.
_LONG = "SELECT count(*) FROM range(10_000_000) a, range(10_000_000) b WHERE hash(a.range + b.range) = 7"


def test_a_long_statement_is_interrupted() -> None:
    """And the next one after it, as long as it has not ended."""
    connection = duckdb.connect()
    deadline = Deadline(connection, 0.05)
    for _ in range(2):
        with pytest.raises(duckdb.InterruptException):
            connection.execute(_LONG).fetchall()
    deadline.end()
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_who_is_done_in_time_is_not_disturbed() -> None:
    """`end` waits for its thread, and may come twice; nothing is interrupted afterwards."""
    connection = duckdb.connect()
    before = threading.active_count()
    deadline = Deadline(connection, 0.0005)
    deadline.end()
    deadline.end()
    assert threading.active_count() == before
    until = time.monotonic() + 0.02
    while time.monotonic() < until:
        assert connection.execute("SELECT sum(range) FROM range(1000)").fetchone() == (499_500,)
