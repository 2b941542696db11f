"""history/keep/group.py: how many chunks become one segment of each table, and what a lost chunk leaves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from firsthand.errors import DamagedError
from firsthand.history.keep import group
from firsthand.history.keep.group import WAITED, Group
from firsthand.history.log.chunk import Chunk, Position
from firsthand.history.log.log import LogReader, LogWriter
from tests import samples


@pytest.fixture
def chunks(tmp_path: Path) -> Iterator[list[Chunk]]:
    """Two chunks of nine rows of `process` and one of `loss` each."""
    with LogWriter(tmp_path, "n", "b") as writer:
        for first in (0, 3):
            writer.append([samples.process_lives(3, first=first), samples.loss()], [])
    yield list(LogReader(tmp_path))


def _group() -> Group:
    return Group(Position(1, 0), Position(1, 0))


def test_rows_are_added_up_with_their_places(chunks: list[Chunk]) -> None:
    """Each row knows the chunk that it came in, the end moves, and the digest is that of the chunks in their order."""
    one, other = _group(), _group()
    for chunk in chunks:
        one.add(chunk)
    for chunk in reversed(chunks):
        other.add(chunk)
    assert (one.rows, one.node, one.end) == (20, "n", chunks[1].next)
    assert {name: sum(part.num_rows for part in parts) for name, parts in one.tables.items()} == {
        "process": 18,
        "loss": 2,
    }
    assert one.written == chunks[1].header.written and one.bytes == sum(chunk.payload.nbytes for chunk in chunks)
    assert one.digest.hexdigest() != other.digest.hexdigest()


def test_when_a_group_is_full(chunks: list[Chunk], monkeypatch: pytest.MonkeyPatch) -> None:
    """By rows, bytes or another node; the first chunk is taken, however large."""
    found = _group()
    assert found.takes(chunks[0], max_rows=1)
    found.add(chunks[0])
    assert found.takes(chunks[1], max_rows=20) and not found.takes(chunks[1], max_rows=19)
    other = replace(chunks[1], header=replace(chunks[1].header, node="another"))
    assert not found.takes(other, max_rows=20)
    monkeypatch.setattr(group, "MAX_BYTES", found.bytes + chunks[1].payload.nbytes - 1)
    assert not found.takes(chunks[1], max_rows=20)


def test_a_chunk_that_is_unreadable_leaves_nothing(chunks: list[Chunk]) -> None:
    """Not even its number of rows."""
    found = _group()
    broken = replace(chunks[0], payload=memoryview(bytes(chunks[0].payload.nbytes)))
    with pytest.raises(DamagedError):
        found.add(broken)
    assert (found.rows, found.tables, found.node, found.written) == (0, {}, "", 0)


def test_a_lost_chunk_is_a_loss(chunks: list[Chunk]) -> None:
    """Of each table of which it held rows, with their number, since the chunk before was written; else of an unknown number and time."""
    found, error = _group(), DamagedError("it is gone")
    found.add_damage(Position(1, 0), error, until=900)
    found.add(chunks[0])
    found.add_damage(Position(1, 5), error, until=found.written + 1, held={"process": 9, "loss": 1})
    first, of_chunk, *later = (row for part in found.tables["loss"] for row in part.to_pylist())
    assert (first["cause"], first["events"], first["since"], first["table_name"]) == ("log_damaged", None, None, None)
    assert of_chunk["cause"] == "sequence_gap"
    assert [(row["table_name"], row["events"]) for row in later] == [("process", 9), (None, 1)]
    assert all((row["until"] - row["since"]).total_seconds() * 1e6 == WAITED + 1 for row in later)
    assert found.damage == [(Position(1, 0), "it is gone"), (Position(1, 5), "it is gone")] and found.rows == 10 + 3
