"""export/catchup.py: rows whose log files went come from segments, each once, whatever became of these."""

from __future__ import annotations

import itertools
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from firsthand.export import catchup
from firsthand.history import place
from firsthand.history.log import arrow
from firsthand.history.log.chunk import Position
from firsthand.history.store import manifest, segment
from firsthand.history.store.manifest import Manifest
from tests import samples
from tests.unit.export import feed
from tests.unit.export.feed import Feed


@pytest.fixture
def grown(tmp_path: Path) -> Feed:
    """A history of three chunks in its first log file."""
    found = Feed(tmp_path / "history")
    found.write(3)
    return found


def test_log_files_that_went(grown: Feed, tmp_path: Path) -> None:
    """Law: an exporter that was down while log files were handed over and deleted goes on with each row once."""
    to = tmp_path / "out"
    feed.export(grown.history, to)
    grown.write(2)
    grown.rotate()
    grown.write(2)
    grown.rotate()
    grown.keep()
    assert [path.name for path in (grown.history / "log").glob("*.log")] == [f"{3:016d}.log"]
    grown.write(1)
    feed.export(grown.history, to)
    assert sorted(feed.keys(to)) == grown.expected()


def test_the_cursor_within_a_segment(grown: Feed, tmp_path: Path) -> None:
    """Law: where the cursor stands in the midst of a segment's span, only the rows behind it go out."""
    to = tmp_path / "out"
    feed.export(grown.history, to)
    grown.write(2)
    grown.rotate()
    grown.keep()
    spans = [(s.from_offset, s.to_offset) for s in manifest.load(grown.history).segments if s.table == "process"]
    assert len(spans) == 1  # all five chunks are in one
    feed.export(grown.history, to)
    assert sorted(feed.keys(to)) == grown.expected()


def test_a_cursor_at_the_end_of_a_file_that_went(grown: Feed, tmp_path: Path) -> None:
    """Law: where nothing was left in the file that went, the exporter goes on with the next one."""
    to = tmp_path / "out"
    feed.export(grown.history, to)
    grown.rotate()
    grown.keep()
    feed.export(grown.history, to)
    assert sorted(feed.keys(to)) == grown.expected()


@pytest.mark.parametrize("merges", [1, 3])
def test_compaction_while_the_exporter_is_down(grown: Feed, tmp_path: Path, merges: int) -> None:
    """Law: a merged segment, sorted anew, still tells which of its rows went out before."""
    to = tmp_path / "out"
    feed.export(grown.history, to)
    for _ in range(merges):
        for _ in range(3):
            grown.write(1)
            grown.rotate()
            grown.keep()
        grown.keep(merge=True)
    spans = [s for s in manifest.load(grown.history).segments if s.table == "process"]
    assert len(spans) == 1
    assert spans[0].from_offset == 0
    feed.export(grown.history, to)
    assert sorted(feed.keys(to)) == grown.expected()


def test_every_place_of_the_cursor(grown: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: from any chunk on, the rows before it and the rows from it are all rows, in units of any size."""
    grown.rotate()
    grown.write(4)
    places, every = [Position(1, 0), *_places(grown.history)], len(grown.expected())
    grown.rotate()
    grown.keep()
    grown.keep(merge=True)
    held = catchup.Held(grown.history, place.LOG)
    end = places[-1]
    for rows, at in itertools.product((7, 10_000), places):
        monkeypatch.setattr(catchup, "UNIT_ROWS", rows)
        monkeypatch.setattr(catchup, "STEP_ROWS", rows)
        parts = [_count(held, (places[0], at)), _count(held, (at, end))]
        assert sum(parts) == every, (rows, at, parts)
        assert parts[0] == places.index(at) * (3 * feed.LIVES + 1), at


def _places(history: Path) -> list[Position]:
    from firsthand.history.log.log import LogReader

    return [chunk.next for chunk in LogReader(history)]


def _count(held: catchup.Held, span: tuple[Position, Position]) -> int:
    found = list(catchup.units(held, span, None))
    assert [unit.end for unit in found] == sorted(unit.end for unit in found)
    return sum(rows.num_rows for unit in found for _, rows in unit.tables)


def test_units_end_between_chunks_and_rise(grown: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: units are of about the stated size, and the last one ends where the span does."""
    grown.write(7)
    grown.rotate()
    grown.keep(merge=True)
    monkeypatch.setattr(catchup, "UNIT_ROWS", 100)
    found = list(catchup.units(catchup.Held(grown.history, place.LOG), (Position(1, 0), Position(2, 0)), None))
    sizes = [sum(rows.num_rows for _, rows in unit.tables) for unit in found]
    assert max(sizes) <= 100 + 3 * feed.LIVES + 1
    assert len(found) > 4
    assert found[-1].end == Position(2, 0)


def test_what_retention_removed_is_told(grown: Feed, tmp_path: Path) -> None:
    """Law: rows that no segment holds any more are a gap in the stream, with the positions; never silence."""
    to = tmp_path / "out"
    feed.export(grown.history, to)
    grown.write(1)
    grown.keep()
    grown.rotate()
    grown.rotate()
    grown.keep()
    _retire(grown.history, lambda one: one.to_file == 1)
    feed.export(grown.history, to)
    rows = 3 * feed.LIVES + 1
    new = feed.keys(to)[3 * rows :]
    assert new[0] == ("gap",)
    assert len(new) == 1 + 2 * rows
    gap = next(line for line in to.read_text().splitlines() if '"gap"' in line)
    assert '"cause":"not_held"' in gap
    assert '"from":[1,' in gap


def test_what_retention_tells_itself(grown: Feed, tmp_path: Path) -> None:
    """Law: where retention left a row of `loss` on time that was not out yet, the stream has it as a gap, once."""
    to = tmp_path / "out"
    cursor = feed.export(grown.history, to)
    grown.write(1)
    grown.rotate()
    grown.keep()
    later = cursor.state.written + 1_000_000
    _told(grown.history, "shop", cursor.state.written + 1, later)
    _told(grown.history, "jobs", 1, later)  # of time that is out already
    for _ in range(2):
        feed.export(grown.history, to)
    gaps = [line for line in to.read_text().splitlines() if '"table":"gap"' in line]
    assert len(gaps) == 1
    assert '"namespace":"shop"' in gaps[0]
    assert '"cause":"retention"' in gaps[0]
    assert sorted(key for key in feed.keys(to) if key != ("gap",)) == grown.expected()


def _told(history: Path, namespace: str, until: int, now: int) -> None:
    """A row as retention leaves it: in a segment of no extent in the log."""
    values = {"time": now, "node": samples.NODE, "namespace": namespace, "table_name": "process", "cause": "retention"}
    rows = arrow.row("loss", values | {"events": 7, "since": 0, "until": until})
    written = Manifest(history)
    now_held = written.snapshot()
    at = Position(900 + len(now_held.segments), 0)
    made = segment.write(segment.generation(history, now_held.generation), "loss", rows, samples.NODE, (at, at))
    written.merge(now_held.generation, (), made)
    written.close()


def _retire(history: Path, which: object) -> None:
    assert callable(which)
    written = Manifest(history)
    now = written.snapshot()
    written.merge(now.generation, [one.path for one in now.segments if which(one)], ())
    written.close()


def test_a_segment_of_an_older_version(grown: Feed, tmp_path: Path) -> None:
    """Law: a segment without places of its rows goes out whole where the cursor stands within it: once more, never not at all."""
    to = tmp_path / "out"
    feed.export(grown.history, to)
    grown.write(1)
    grown.rotate()
    grown.keep()
    for path in (grown.history / "current/process").glob("**/*.parquet"):
        rows = pq.read_table(path, partitioning=None)
        pq.write_table(rows.drop_columns([segment.LOG_POSITION.name]), path)
    feed.export(grown.history, to)
    found = feed.keys(to)
    assert set(found) == set(grown.expected())
    assert len(found) == len(grown.expected()) + 4 * 3 * feed.LIVES  # its three that were out, and one still in the log


def test_segments_before_since_are_not_read(grown: Feed, tmp_path: Path) -> None:
    """Law: a segment that ends before `since` is left closed, even a broken one."""
    from datetime import UTC, datetime

    from firsthand.export.choice import Choice

    grown.rotate()
    grown.keep()
    for path in (grown.history / "current").glob("**/*.parquet"):
        path.write_bytes(b"broken")
    grown.write(1)
    feed.export(grown.history, tmp_path / "out", Choice(since=datetime(2026, 4, 1, tzinfo=UTC)))
    assert feed.keys(tmp_path / "out") == []


def test_a_broken_segment(grown: Feed, tmp_path: Path) -> None:
    """Law: a segment that cannot be read is an error that names the history, and the cursor stays before it."""
    from firsthand.errors import HistoryError

    to = tmp_path / "out"
    grown.rotate()
    grown.keep()
    for path in (grown.history / "current/process").glob("**/*.parquet"):
        path.write_bytes(b"broken")
    with pytest.raises(HistoryError, match="a segment cannot be read"):
        feed.export(grown.history, to)
    assert feed.keys(to) == []
