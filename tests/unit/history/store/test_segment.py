"""history/store/segment.py: what is written into a Parquet file, under which name, and that half of one is never there."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from firsthand.errors import HistoryError
from firsthand.history.log.chunk import Position
from firsthand.history.store import segment
from tests import histories

_SPAN = (Position(1, 0), Position(1, 900))
_MIDNIGHT = datetime(2026, 5, 2, tzinfo=UTC).replace(tzinfo=None)


def _rows(*values: dict[str, Any]) -> pa.Table:
    common = {"node": "n", "boot": "b", "event": "exec", "ktime": 1}
    return histories.table("process", [common | {"time": _MIDNIGHT} | one for one in values])


@pytest.mark.parametrize(
    ("node", "log", "name"),
    [
        ("worker-1.local", "log", "worker-1.local-0000000000000003-70.parquet"),
        ("worker-1", "names", "worker-1-names-0000000000000003-70.parquet"),
        ("../../etc", "log", ".._.._etc-0000000000000003-70.parquet"),
        ("a b/ü", "log", "a_b__-0000000000000003-70.parquet"),
        ("", "log", "_-0000000000000003-70.parquet"),
    ],
)
def test_a_name_is_the_same_for_the_same_place(node: str, log: str, name: str) -> None:
    """A redo replaces it; no node's name leads out of the folder."""
    assert segment.name_of(node, Position(3, 70), log) == name and "/" not in name


def test_places_are_ordered_as_positions_are() -> None:
    """As one number."""
    positions = [Position(1, 0), Position(1, 5), Position(1, (1 << 32) - 1), Position(2, 0)]
    assert sorted(map(segment.place_of, reversed(positions))) == [segment.place_of(one) for one in positions]
    located = segment.located(_rows({}, {}), Position(2, 7))
    assert located.column("log_position").to_pylist() == [(2 << 32) + 7] * 2


def test_rows_go_to_the_day_of_their_time() -> None:
    """UTC; the last microsecond of a day is that day's, and a row without a time has one of its own. Before 1970 too."""
    rows = _rows(
        {"time": _MIDNIGHT, "exec_tgid": 1},
        {"time": _MIDNIGHT - timedelta(microseconds=1), "exec_tgid": 2},
        {"time": None, "exec_tgid": 3},
    )
    found = {day: part.column("exec_tgid").to_pylist() for day, part in segment.days(rows)}
    assert found == {"1970-01-01": [3], "2026-05-01": [2], "2026-05-02": [1]}
    assert [day for day, _ in segment.days(_rows().slice(0, 0))] == []
    assert segment.date_of(-1) == "1969-12-31"


def test_neighbours_are_alike() -> None:
    """By namespace, pod and time; what has none stands last."""
    rows = _rows(
        {"namespace": "b", "pod": "x", "exec_tgid": 1}, {"namespace": "a", "pod": "y", "exec_tgid": 2}, {"exec_tgid": 3},
        {"namespace": "a", "pod": "x", "exec_tgid": 4, "time": _MIDNIGHT + timedelta(seconds=1)},
        {"namespace": "a", "pod": "x", "exec_tgid": 5},
    )  # fmt: skip
    found = segment.ordered(rows)
    assert found.column("exec_tgid").to_pylist() == [5, 4, 2, 1, 3] and found.schema == rows.schema
    other = pa.table({"n": [2, 1]})
    assert segment.ordered(other) is other, "a table without these columns stays as it is"


def test_what_is_written_is_what_is_told(tmp_path: Path) -> None:
    """Each day's file with its rows, size, digest, times and names that are missing; readable for the group alone."""
    root = tmp_path / "generations/1"
    rows = segment.located(
        _rows(
            {"exec_tgid": 1},
            {"time": _MIDNIGHT + timedelta(hours=5), "exec_tgid": 2},
            {"time": _MIDNIGHT - timedelta(1)},
        ),
        _SPAN[0],
    )
    older, newer = segment.write(root, "process", rows, "n", _SPAN)
    assert (older.date, newer.date, older.rows, newer.rows) == ("2026-05-01", "2026-05-02", 1, 2)
    path = root / newer.path
    assert newer.path == "process/date=2026-05-02/n-0000000000000001-0.parquet" and path.stat().st_mode & 0o777 == 0o640
    assert (newer.bytes, newer.sha256) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
    assert (
        newer.time_max is not None
        and newer.time_min is not None
        and newer.time_max - newer.time_min == 5 * 3_600_000_000
    )
    assert pq.read_table(path, partitioning=None).column("exec_tgid").to_pylist() == [1, 2]
    assert newer.summary and not list((tmp_path / "generations/.new").iterdir())


def test_piece_by_piece_is_the_same(tmp_path: Path) -> None:
    """As a merge writes it: with no rows in memory its summary is read from the file."""
    rows, path = (
        segment.located(_rows(*({"exec_tgid": number} for number in range(10))), _SPAN[0]),
        "process/date=2026-05-02/x.parquet",
    )
    whole = segment.write_one(tmp_path / "generations/1", path, rows, "n", _SPAN)
    with segment.Writer(tmp_path / "generations", path, rows.schema, "n", _SPAN) as writer:
        for at in (0, 4, 9):
            writer.add(rows.slice(at, {0: 4, 4: 5, 9: 1}[at]))
            writer.add(rows.slice(0, 0))
        pieces = writer.finish(tmp_path / "generations/2")
    assert (pieces.rows, pieces.time_min, pieces.time_max) == (whole.rows, whole.time_min, whole.time_max)
    assert pieces.summary.keys() == whole.summary.keys()
    read = [pq.read_table(tmp_path / f"generations/{number}" / path, partitioning=None) for number in (1, 2)]
    assert read[0].equals(read[1])


def test_what_comes_to_no_end_leaves_nothing(tmp_path: Path) -> None:
    """Neither half a file under its name nor a temporary one."""
    path, rows = "process/date=2026-05-02/x.parquet", _rows({})
    with pytest.raises(RuntimeError), segment.Writer(tmp_path / "generations", path, rows.schema, "n", _SPAN) as writer:
        writer.add(rows)
        raise RuntimeError("of a test")
    writer.abandon()
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == []


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    """The error names the segment and says what to do."""
    (tmp_path / "generations").write_text("a file in its place")
    with pytest.raises(HistoryError, match=r"process/date=2026-05-02/n-.*free space"):
        segment.write(tmp_path / "generations/1", "process", _rows({}), "n", _SPAN)
