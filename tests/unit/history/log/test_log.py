"""history/log/log.py and chunk.py: what was acknowledged is read once; what is damaged is named, nothing else lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from firsthand.errors import DamagedError, HistoryError
from firsthand.history.log import arrow, log
from firsthand.history.log.log import Chunk, LogCursor, LogReader, LogWriter, Position, RingSpan, files, path_of
from firsthand.wire.batch import Batch
from tests import samples


def fill(directory: Path, chunks: int, first: int = 0) -> list[Position]:
    with LogWriter(directory, "n", "b") as writer:
        return [
            writer.append([samples.process_lives(2, first=i)], [RingSpan(0, 1, i * 10, i * 10 + 10)])
            for i in range(first, first + chunks)
        ]


def numbers(chunks: list[Chunk]) -> list[int]:
    return [chunk.header.spans[0].start // 10 for chunk in chunks]


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    """Law: a chunk holds the rows of all tables, the spans, the node and the boot of its append."""
    with LogWriter(tmp_path, "node", "boot") as writer:
        at = writer.append([samples.process_lives(3), samples.loss()], [RingSpan(0, 7, 0, 64), RingSpan(1, 7, 0, 8)])
    (chunk,) = LogReader(tmp_path)
    assert (chunk.header.node, chunk.header.boot) == ("node", "boot")
    assert chunk.header.spans == (RingSpan(0, 7, 0, 64), RingSpan(1, 7, 0, 8))
    assert chunk.position == Position(1, 0)
    assert chunk.next == at
    assert {name: arrow.read(data).num_rows for name, data in chunk.tables().items()} == {"process": 9, "loss": 1}


def test_batches_without_rows(tmp_path: Path) -> None:
    """Law: an append without rows makes its ring positions durable all the same."""
    with LogWriter(tmp_path, "n", "b") as writer:
        writer.append([Batch("process", 0)], [RingSpan(0, 1, 0, 16)])
    (chunk,) = LogReader(tmp_path)
    assert chunk.tables() == {}
    assert chunk.header.spans == (RingSpan(0, 1, 0, 16),)


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    """Law: a log has one writer; the second is told what to do."""
    with LogWriter(tmp_path, "n", "b"), pytest.raises(HistoryError, match="another observer"):
        LogWriter(tmp_path, "n", "b")
    LogWriter(tmp_path, "n", "b").close()


def test_reading_goes_on_from_a_position(tmp_path: Path) -> None:
    """Law: from the position after a chunk, exactly the later ones are read, over files too."""
    positions = fill(tmp_path, 3)
    fill(tmp_path, 2, first=3)
    assert files(tmp_path) == [1, 2]
    assert numbers(list(LogReader(tmp_path).chunks(positions[1]))) == [2, 3, 4]


def test_rotation_by_age_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a file is closed after 60 s or 16 MiB (here less), and the chunks read on without a gap."""
    now = 0.0
    monkeypatch.setattr(log, "ROTATE_BYTES", 40_000)
    with LogWriter(tmp_path, "n", "b", clock=lambda: now) as writer:
        for i in range(20):
            now += 20
            writer.append([samples.process_lives(2, first=i)], [RingSpan(0, 1, i * 10, i * 10 + 10)])
    assert len(files(tmp_path)) >= 6
    assert all(path_of(tmp_path, number).stat().st_size <= 60_000 for number in files(tmp_path))
    assert numbers(list(LogReader(tmp_path))) == list(range(20))


def test_the_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a log that nothing takes over stops growing at its limit, with an error that names the keeper."""
    monkeypatch.setattr(log, "ROTATE_BYTES", 10_000)
    with LogWriter(tmp_path, "n", "b", limit=100_000) as writer, pytest.raises(HistoryError, match="keeper"):
        for i in range(100):
            writer.append([samples.process_lives(10, first=i)], [])


def test_last_positions_outlive_the_writer(tmp_path: Path) -> None:
    """Law: a restart knows the last durable position of each ring, even if the last files hold none."""
    with LogWriter(tmp_path, "n", "b") as writer:
        writer.append([], [RingSpan(0, 1, 0, 100), RingSpan(1, 1, 0, 8)])
        writer.append([], [RingSpan(0, 1, 100, 250)])
    LogWriter(tmp_path, "n", "b").close()
    with LogWriter(tmp_path, "n", "b") as writer:
        assert writer.last_spans() == {(0, 1): 250, (1, 1): 8}


@pytest.mark.parametrize("lost", [1, 7, 40, 100, 5000])
def test_a_torn_tail_is_cut(tmp_path: Path, lost: int) -> None:
    """Law: a chunk that was not wholly written is invisible to readers, cut at the next opening, and reported."""
    positions = fill(tmp_path, 3)
    path = path_of(tmp_path, 1)
    with path.open("r+b") as file:
        file.truncate(positions[-1].offset - lost)
    assert numbers(list(LogReader(tmp_path))) == [0, 1]
    with LogWriter(tmp_path, "n", "b") as writer:
        cut = log.CutChunk(1, positions[1].offset, positions[2].offset - positions[1].offset - lost)
        assert writer.cut is not None and writer.cut.since and replace(writer.cut, since=None) == cut
        assert writer.last_spans() == {(0, 1): 20}
    assert path.stat().st_size == positions[1].offset
    fill(tmp_path, 1, first=2)
    assert numbers(list(LogReader(tmp_path))) == [0, 1, 2]


@pytest.mark.parametrize("into", [0, 9, 20, 30, 47, 60, 700])
def test_a_flipped_bit_costs_its_own_chunk_alone(tmp_path: Path, into: int) -> None:
    """Law: damage before the end is an error that names file and offset, and every other chunk is still read."""
    positions = fill(tmp_path, 4)
    flip(path_of(tmp_path, 1), positions[0].offset + into)
    with pytest.raises(DamagedError, match=rf"0000000000000001\.log .* offset {positions[0].offset}"):
        list(LogReader(tmp_path))
    found = list(LogReader(tmp_path).walk())
    assert numbers([chunk for chunk in found if isinstance(chunk, Chunk)]) == [0, 2, 3]
    with LogWriter(tmp_path, "n", "b") as writer:
        assert writer.cut is None
        assert writer.last_spans() == {(0, 1): 40}
    assert numbers([c for c in LogReader(tmp_path).walk() if isinstance(c, Chunk)]) == [0, 2, 3]


def test_damage_at_the_end_of_an_older_file(tmp_path: Path) -> None:
    """Law: a bad last chunk of a file that a newer one follows is an error; reading goes on with the newer file."""
    positions = fill(tmp_path, 2)
    fill(tmp_path, 1, first=2)
    flip(path_of(tmp_path, 1), positions[0].offset + 300)
    found = list(LogReader(tmp_path).walk())
    assert [isinstance(item, DamagedError) for item in found] == [False, True, False]
    assert numbers([chunk for chunk in found if isinstance(chunk, Chunk)]) == [0, 2]


def test_a_forged_chunk_in_a_row_is_never_a_chunk(tmp_path: Path) -> None:
    """Law: bytes of a chunk inside a row's text are not taken for a chunk, even behind damage."""
    fill(tmp_path / "other", 1)
    forged = path_of(tmp_path / "other", 1).read_bytes()
    with LogWriter(tmp_path, "n", "b") as writer:
        writer.append([], [RingSpan(0, 1, 0, 10)])
        bad = writer.append([Batch.from_rows("process", [{"args_bytes": forged}])], [RingSpan(0, 1, 10, 20)])
        writer.append([], [RingSpan(0, 1, 20, 30)])
    flip(path_of(tmp_path, 1), bad.offset - 8)
    assert numbers([chunk for chunk in LogReader(tmp_path).walk() if isinstance(chunk, Chunk)]) == [0, 2]


def test_a_cursor_reads_a_deleted_file_to_its_end(tmp_path: Path) -> None:
    """Law: a reader that has a file open loses none of its chunks by the file's deletion."""
    fill(tmp_path, 3)
    cursor = LogCursor(tmp_path)
    first = cursor.next()
    fill(tmp_path, 1, first=3)
    path_of(tmp_path, 1).unlink()
    rest = [cursor.next() for _ in range(3)]
    assert numbers([chunk for chunk in [first, *rest] if chunk]) == [0, 1, 2, 3]
    assert cursor.next() is None
    cursor.close()


def test_every_prefix_of_a_log_reads_silently(tmp_path: Path) -> None:
    """Law: wherever a write stands at the moment of a read, a reader gets the whole chunks before it, and no error."""
    positions = fill(tmp_path, 2)
    whole = path_of(tmp_path, 1).read_bytes()
    for size in range(0, len(whole), 97):
        path_of(tmp_path, 1).write_bytes(whole[:size])
        expected = sum(position.offset <= size for position in positions)
        assert len(list(LogReader(tmp_path))) == expected


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)
