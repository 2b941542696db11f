"""history/log/lost.py: what is known of a damaged chunk is true, or nothing is."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from firsthand.history import place
from firsthand.history.log import lost
from firsthand.history.log.chunk import Position
from firsthand.history.log.log import LogWriter, path_of
from tests import histories, samples

TRUE = {"observer": 8, "process": 15, "loss": 1}


@pytest.fixture
def written(tmp_path: Path) -> Position:
    """Two chunks; the second one's place."""
    with LogWriter(tmp_path, samples.NODE, samples.BOOT) as log:
        at = log.append([samples.process_lives(2)], [])
        log.append([samples.observed(), samples.process_lives(5), samples.loss()], [])
    return at


@pytest.mark.parametrize("seed", range(4))
def test_a_number_is_true_or_none(tmp_path: Path, written: Position, seed: int) -> None:
    """Law: whichever bits were flipped, and wherever the file was cut, the numbers are those that were written or not known."""
    path, chance, known = path_of(tmp_path, written.file), random.Random(seed), 0
    whole = path.read_bytes()
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 3))):
            data[chance.randrange(written.offset, len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data[: chance.choice((len(data), len(data), chance.randrange(written.offset, len(data))))])
        found = lost.rows(tmp_path, place.LOG, written)
        assert found in (None, TRUE)
        known += found is not None
    assert known > 30, "nearly all of a chunk are values"


def test_the_chunk_before(tmp_path: Path, written: Position) -> None:
    """Law: the moment is that of the chunk before, also where that is in the file before; not known where there is none."""
    assert lost.after(tmp_path, place.LOG, Position(written.file, 0)) == 0
    before = lost.after(tmp_path, place.LOG, written)
    assert before > 0
    histories.write(tmp_path, samples.process_lives(1))
    assert lost.after(tmp_path, place.LOG, Position(written.file + 1, 0)) >= before
    assert lost.after(tmp_path, place.LOG, Position(written.file + 7, 0)) == 0
