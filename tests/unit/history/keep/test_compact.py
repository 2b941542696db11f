"""history/keep/compact.py: fewer files, the same rows, at every moment of it."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from firsthand.history.keep import compact
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogWriter
from firsthand.history.store import manifest, segment, shown
from firsthand.history.store.connection import History
from tests import histories, samples

PASSES = 8


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A history of eight small segments of `process`, and as many of `loss`, and one of `observer`."""
    with LogWriter(tmp_path, "n", "b") as writer:
        writer.append([samples.observed()], [])
        keeper = Keeper(tmp_path, linger=0)
        for i in range(PASSES):
            writer.append([samples.process_lives(50, first=i * 50), samples.loss(i + 1)], [])
            keeper.pass_once()
        keeper.close()
    return tmp_path


def tidy(directory: Path, keep: float = 600) -> None:
    keeper = Keeper(directory)
    compact.run(directory, keeper.manifest, keeper.generation, many=PASSES, keep=keep)
    keeper.close()


def alone(directory: Path) -> list[tuple[object, ...]]:
    read = f"read_parquet('{directory}/current/process/**/*.parquet')"
    sql = f"SELECT count(*), count(DISTINCT (exec_tgid, event)) FROM {read}"
    return duckdb.connect().sql(sql).fetchall()


def test_small_segments_become_one(many: Path) -> None:
    """Law: after a merge every row is there once, sorted by namespace, pod and time, in one file of the same schema."""
    before = pq.read_schema(next((many / "current/process").glob("**/*.parquet")))
    tidy(many)
    (path,) = (many / "current/process").glob("**/*.parquet")
    assert pq.read_schema(path) == before
    merged = pq.read_table(path, partitioning=None)
    keys = list(zip(*(merged.column(name).to_pylist() for name in segment.ORDER), strict=True))
    assert keys == sorted(keys, key=lambda key: tuple((value is None, value) for value in key))
    assert alone(many) == [(1200, 1200)]
    counts = "SELECT (SELECT count(*) FROM process), (SELECT sum(events) FROM loss), (SELECT count(*) FROM observer)"
    assert History(many).connection().execute(counts).fetchall() == [(1200, 36, 8)]


def test_a_reader_that_has_begun_goes_on(many: Path) -> None:
    """Law: a connection opened before a merge still reads its own files; they go when their time is over."""
    connection = History(many).connection()
    tidy(many)
    assert connection.execute("SELECT count(*) FROM process").fetchall() == [(1200,)]
    tidy(many, keep=0)
    assert sorted(path.name for path in (many / "generations").iterdir() if path.name.isdigit()) == ["2"]
    assert len(list((many / "generations/2/process").glob("**/*.parquet"))) == 1
    assert alone(many) == [(1200, 1200)]


@pytest.mark.parametrize(("where", "name"), [(manifest.Manifest, "merge"), (shown.Shown, "change")])
def test_a_merge_that_died(many: Path, monkeypatch: pytest.MonkeyPatch, where: object, name: str) -> None:
    """Law: a merge that dies before its commit, or before the swap, leaves every reader each row once."""

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    keeper = Keeper(many)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(where, name, fail)
        compact.run(many, keeper.manifest, keeper.generation, many=PASSES)
    keeper.close()
    for _ in range(2):
        assert alone(many) == [(1200, 1200)]
        assert History(many).connection().execute("SELECT count(*) FROM process").fetchall() == [(1200,)]
        tidy(many)
    assert len(list((many / "current/process").glob("**/*.parquet"))) == 1


def test_rows_after_a_merge(many: Path) -> None:
    """Law: the keeper goes on in the new generation."""
    tidy(many)
    histories.write(many, samples.process_lives(50, first=PASSES * 50))
    keeper = Keeper(many)
    assert keeper.pass_once() == 150
    keeper.tidy()
    keeper.close()
    assert alone(many) == [(1350, 1350)]
