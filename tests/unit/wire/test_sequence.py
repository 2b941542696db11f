"""What is missing is told from numbers alone: late ones close gaps, open ones are counted once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from firsthand.wire.sequence import Sequences


def _take(sequences: Sequences, numbers: list[int], now: float = 0.0, cpu: int = 0) -> None:
    sequences.take(np.full(len(numbers), cpu), np.array(numbers, dtype=np.int64), now)


def test_an_unbroken_row_has_no_gap() -> None:
    """Consecutive numbers of two CPUs are no loss, whatever the batches."""
    sequences = Sequences()
    for cpu in (0, 1):
        _take(sequences, [0, 1, 2], cpu=cpu)
        _take(sequences, [3, 4], cpu=cpu)
    assert sequences.closed(100.0) == [] and sequences.recorded == 10


def test_a_gap_counts_only_after_the_window() -> None:
    """Before the window has passed a gap may still be filled; afterwards it is reported, once."""
    sequences = Sequences(window=1.0)
    _take(sequences, [0, 3], now=10.0)
    assert sequences.closed(10.5) == []
    (gap,) = sequences.closed(11.0)
    assert (gap.first, gap.last, gap.events, gap.since) == (1, 2, 2, 10.0)
    assert sequences.closed(20.0) == []


def test_a_late_record_closes_its_gap() -> None:
    """An overtaken record that comes in the next batch is no loss, and splits a longer gap."""
    sequences = Sequences()
    _take(sequences, [0, 5])
    _take(sequences, [2])
    assert sorted((gap.first, gap.last) for gap in sequences.closed(9.0)) == [(1, 1), (3, 4)]
    assert sequences.repeated == 0


def test_the_first_numbers_may_be_missing() -> None:
    """A CPU's numbers begin at 0: a first record 2 means that two are missing."""
    sequences = Sequences()
    _take(sequences, [2])
    assert sequences.closed(9.0)[0].events == 2


def test_an_open_tail_is_a_gap() -> None:
    """Numbers that the kernel has given and that never come are missing, also on a CPU that sent nothing."""
    sequences = Sequences()
    _take(sequences, [0, 1])
    sequences.produced([5, 2], now=0.0)
    assert {(gap.cpu, gap.events) for gap in sequences.closed(9.0)} == {(0, 3), (1, 2)}


def test_a_number_that_comes_twice_is_counted() -> None:
    """A repeat is no record of its own."""
    sequences = Sequences()
    _take(sequences, [0, 1])
    _take(sequences, [1])
    assert sequences.repeated == 1


@given(st.sets(st.integers(0, 200)), st.randoms(), st.integers(1, 7))
def test_lost_and_recorded_make_up_produced(kept: set[int], random: object, size: int) -> None:
    """In any order and in any batches: produced = recorded + counted lost."""
    numbers = sorted(kept)
    random.shuffle(numbers)  # type: ignore[attr-defined]
    sequences = Sequences()
    for start in range(0, len(numbers), size):
        _take(sequences, numbers[start : start + size])
    sequences.produced([201], now=0.0)
    assert sequences.recorded + sum(gap.events for gap in sequences.closed(9.0)) == 201
