"""history/store/shown.py: what other engines read is at every moment each row once, and a version before finds what it knows."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from firsthand.history import place
from firsthand.history.keep import compact
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogWriter
from firsthand.history.store import generations, manifest, shown, verify
from firsthand.history.store.connection import History
from tests import samples

PASSES, LIVES = 6, 5
ROWS = 3 * LIVES


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    """A keeper with six small segments."""
    with LogWriter(tmp_path, "n", "b") as writer:
        found = Keeper(tmp_path, linger=0, many=3)
        for number in range(PASSES):
            writer.append([samples.process_lives(LIVES, first=number * LIVES), samples.loss()], [])
            found.pass_once()
        yield found
        found.close()


def alone(directory: Path) -> tuple[Any, ...]:
    """Rows and different rows, as DuckDB finds them."""
    read = f"read_parquet('{directory}/current/process/**/*.parquet')"
    (found,) = duckdb.connect().execute(f"SELECT count(*), count(DISTINCT (exec_tgid, event)) FROM {read}").fetchall()
    return found


def test_each_row_once_at_every_moment(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: before, within and after each step of a merge another engine finds each row once."""
    looks = []
    for module, name in ((generations, "link"), (shown, "_exchange"), (place, "sync")):
        monkeypatch.setattr(
            module, name, _looking(getattr(module, name), lambda: looks.append(alone(keeper.directory)))
        )
    keeper.tidy()
    assert set(looks) == {(PASSES * ROWS, PASSES * ROWS)} and len(looks) > 6
    assert len(keeper.manifest.snapshot().segments) == 2


def _looking(call: Any, look: Any) -> Any:
    def looked(*arguments: Any) -> Any:
        look()
        found = call(*arguments)
        look()
        return found

    return looked


def test_a_merge_touches_its_own_folder(keeper: Keeper) -> None:
    """Law: what a merge does not merge is not linked anew: the folders of other tables and days stay as they are."""
    before = {path: path.stat().st_mtime_ns for path in keeper.shown.root.glob("*/date=*")}
    due = next(one for one in [keeper._compaction._next()] if one is not None)
    list(keeper._compaction._merged(due))
    after = {path: path.stat().st_mtime_ns for path in keeper.shown.root.glob("*/date=*")}
    changed = {path.parent.name for path in after if after[path] != before[path]}
    assert changed == {due.group[0]}


def test_a_file_system_that_cannot_exchange(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: there each merge makes a generation, as before; other engines find each row once."""
    monkeypatch.setattr(shown, "_exchange", _refused)
    keeper.shown = keeper._compaction.shown = shown.Shown(keeper.directory, keeper.manifest.snapshot())
    assert not keeper.shown.usable
    keeper.tidy()
    assert (keeper.directory / place.CURRENT).readlink() == Path(f"generations/{keeper.generation}")
    assert keeper.generation > 1 and alone(keeper.directory) == (PASSES * ROWS, PASSES * ROWS)
    with History(keeper.directory).connection() as db:
        assert db.execute("SELECT count(*) FROM process").fetchall() == [(PASSES * ROWS,)]


def _refused(one: Path, other: Path) -> None:
    raise OSError(errno.EINVAL, "as NFS says", str(other))


def test_a_version_before_finds_what_it_knows(keeper: Keeper) -> None:
    """Law: a keeper that ended leaves `current` on a generation in which just the listed segments are, and the manifest's columns."""
    keeper.tidy()
    directory = keeper.directory
    keeper._leave()
    now = manifest.load(directory)
    root = place.generation(directory, now.generation)
    assert (directory / place.CURRENT).resolve() == root
    assert {str(path.relative_to(root)) for path in root.rglob("*.parquet")} == {one.path for one in now.segments}
    assert not shown.shown(directory).exists()
    assert verify.verify(directory).whole
    with sqlite3.connect(directory / place.MANIFEST) as db:  # the statement of the version before
        rows = db.execute(
            "SELECT path, table_name, date, node, rows, bytes, log, unnamed, runs FROM segments"
        ).fetchall()
    db.close()
    assert len(rows) == len(now.segments)


def test_what_was_merged_goes_when_its_time_is_over(keeper: Keeper) -> None:
    """Law: files of merged segments stay for readers that have begun, and go after that, in no more than their own place."""
    keeper.tidy()
    root = place.generation(keeper.directory, keeper.generation)
    assert len(list(root.rglob("*.parquet"))) == 2 * PASSES + 2
    assert len(manifest.gone(keeper.directory)) == 2 * PASSES
    keeper._compaction.keep = -1
    keeper.tidy()
    assert len(list(root.rglob("*.parquet"))) == 2 and not manifest.gone(keeper.directory)
    assert verify.verify(keeper.directory).whole


def test_what_a_dead_merge_left_is_removed(keeper: Keeper) -> None:
    """Law: a segment that was written and not committed is nobody's: `verify` does not stumble over it, the next start removes it."""
    root = place.generation(keeper.directory, keeper.generation)
    left = root / f"process/date=2026-03-01/n-0-m{keeper.manifest.act()}.parquet"
    left.write_bytes(b"half")
    assert verify.verify(keeper.directory).whole
    compact.Compaction(keeper.directory, keeper.manifest, keeper.shown)
    assert not left.exists()
