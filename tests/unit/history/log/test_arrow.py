"""Chunks as tables."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from firsthand.history.log import arrow
from firsthand.history.log.log import LogReader, LogWriter
from firsthand.wire.batch import Batch
from tests import histories, samples


def test_parts_together_are_the_tables(tmp_path: Path) -> None:
    """Rows of chunks with different columns, put together, are the same as each chunk's own in the full schema."""
    with LogWriter(tmp_path, "node", "boot") as writer:
        writer.append([samples.process_lives(50)], [])
        writer.append([Batch.from_rows("process", [{"time": samples.START, "event": "fork"}])], [])
    each = [dict(arrow.tables(chunk)) for chunk in LogReader(tmp_path).chunks()]
    parts = [dict(arrow.parts(chunk)) for chunk in LogReader(tmp_path).chunks()]
    assert parts[1]["process"].column_names == ["time", "event"]
    for name in {name for tables in each for name in tables}:
        wanted = pa.concat_tables([tables[name] for tables in each if name in tables])
        found = arrow.together(name, [tables[name] for tables in parts if name in tables])
        assert found.equals(wanted) and found.schema.equals(arrow.schema(name))


def test_a_part_of_other_types_is_conformed_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only a cast makes the table's type is cast where its chunk can be named, not among all others."""
    histories.write(tmp_path, Batch.from_rows("process", [{"time": samples.START, "pid": 7}]))
    (chunk,) = LogReader(tmp_path).chunks()
    rows = arrow.read(dict(chunk.streams())["process"])
    other = rows.set_column(1, "pid", rows["pid"].cast(pa.int64()))
    monkeypatch.setattr(arrow, "read", lambda _: other)
    ((_, found),) = arrow.parts(chunk)
    assert found.schema.equals(arrow.schema("process")) and found["pid"].to_pylist() == [7]
