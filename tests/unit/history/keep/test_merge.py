"""history/keep/merge.py: several segments as one, row for row, whatever they are like, in bounded memory."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from firsthand.history.keep import merge
from firsthand.history.log import arrow
from firsthand.history.log.chunk import Position
from firsthand.history.names.names import Names
from firsthand.history.store import segment
from firsthand.history.store.manifest import Segment

TABLE = "process"
START = datetime(2026, 3, 1)


def made(random: Random, number: int, first: int) -> pa.Table:
    """Rows with all that keys can be: nulls, equal ones, words beyond ASCII."""
    rows: list[dict[str, Any]] = [
        {
            "time": random.choice([None, START + timedelta(seconds=random.randrange(500))]),
            "namespace": random.choice([None, "", "shop", "älter", "z"]),
            "pod": random.choice([None, "web-1", "web-10", "web-2"]),
            "exec_tgid": first + place,
            "args": random.choice([None, [], ["x", ""], ["é"]]),
        }
        for place in range(number)
    ]
    columns = {field.name: pa.array([row.get(field.name) for row in rows], field.type) for field in arrow.schema(TABLE)}
    return pa.table(columns, schema=arrow.schema(TABLE))


def stored(root: Path, number: int, rows: pa.Table, *, ordered: bool = True) -> Segment:
    """A segment of these rows."""
    at = Position(number, 0)
    rows = segment.located(segment.ordered(rows) if ordered else rows, at)
    return segment.write_one(root, f"{TABLE}/date=2026-03-01/n-{number}.parquet", rows, "n", (at, at))


def merged(root: Path, parts: list[Segment], names: Names | None = None) -> pa.Table:
    """All rows of the parts, as they come."""
    (root / "scratch").mkdir(exist_ok=True)
    sources = list(merge.runs(root, parts, names or Names(), root / "scratch"))
    found = pa.concat_tables(list(merge.rows(sources)))
    for one in sources:
        one.close()
    assert not list((root / "scratch").iterdir()), "what was in the way stays"
    return found


def keys(rows: pa.Table) -> list[tuple[Any, ...]]:
    """The order of the rows as segment.ORDER has it."""
    columns = [rows[name].to_pylist() for name in segment.ORDER]
    return [
        (*((value is None, value or "") for value in key[:2]), (key[2] is None, key[2] or START))
        for key in zip(*columns, strict=True)
    ]


def whole(rows: pa.Table) -> list[str]:
    """Every row with all of its columns."""
    return sorted(map(str, rows.select(arrow.schema(TABLE).names).to_pylist()))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ordered", [True, False], ids=["sorted", "of a version before"])
def test_every_row_once_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, ordered: bool) -> None:
    """Law: what comes out is what went in, in order; row groups, batches and runs that cut keys in two change nothing."""
    monkeypatch.setattr(merge, "_OUT", 37)
    monkeypatch.setattr(merge, "_LEAST", 5)
    monkeypatch.setattr(merge, "_OPEN", 20)
    monkeypatch.setattr(merge, "RUN", 50)
    random = Random(seed)
    tables = [made(random, random.randrange(1, 120), first * 1000) for first in range(random.randrange(2, 9))]
    parts = [stored(tmp_path, number, rows, ordered=ordered or not number) for number, rows in enumerate(tables)]
    found = merged(tmp_path, parts)
    assert whole(found) == whole(pa.concat_tables(tables))
    assert keys(found) == sorted(keys(found))
    places = {segment.place_of(Position(number, 0)) for number in range(len(tables))}
    assert set(found[segment.LOG_POSITION.name].to_pylist()) == places


def test_files_of_before_a_column_was_added(tmp_path: Path) -> None:
    """Law: a column that some lack is null in their rows, one that this version does not know stays."""
    random = Random(1)
    rows = made(random, 20, 0)
    new = rows.append_column("of_tomorrow", pa.array(range(20), pa.int64()))
    parts = [stored(tmp_path, 0, rows.drop_columns(["args"])), stored(tmp_path, 1, new)]
    found = merged(tmp_path, parts)
    assert found.num_rows == 40
    assert sorted(found["of_tomorrow"].drop_null().to_pylist()) == list(range(20))
    assert found["args"].null_count >= 20


def test_names_that_came_later(tmp_path: Path) -> None:
    """Law: rows get the names that are known by now, and stand where these belong."""
    rows = [{"time": START, "container": "a" * 64, "event": "exec"} for _ in range(10)]
    unnamed = pa.table({f.name: pa.array([row.get(f.name) for row in rows], f.type) for f in arrow.schema(TABLE)})
    parts = [stored(tmp_path, 0, unnamed), stored(tmp_path, 1, made(Random(2), 50, 0))]
    assert parts[0].unnamed == 10
    names = Names()
    told = {"time": START, "event": "named", "container": "a" * 64, "pod": "web-1", "namespace": "shop"}
    names.learn("container", arrow.row("container", told))
    found = merged(tmp_path, parts, names)
    assert [row["pod"] for row in found.to_pylist() if row["container"]] == ["web-1"] * 10
    assert keys(found) == sorted(keys(found))


def test_a_writer_that_comes_to_no_end_leaves_nothing(tmp_path: Path) -> None:
    """Law: a segment is there as a whole under its name, or not at all."""
    root = tmp_path / "1"
    at = (Position(0, 0), Position(0, 1))
    with segment.Writer(tmp_path, "process/date=2026-03-01/x.parquet", arrow.schema(TABLE), "n", at) as writer:
        writer.add(made(Random(3), 10, 0))
    assert not list(tmp_path.rglob("*.parquet")) and not root.exists()
