"""history/store/manifest.py: what a reader sees while the keeper commits, and after it was killed there."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from firsthand.history import place
from firsthand.history.log.chunk import Position
from firsthand.history.store import manifest


def test_a_reader_reads_on_where_the_keeper_died_in_a_commit(tmp_path: Path) -> None:
    """Law: a hot journal, which a reader may not roll back, hides nothing and changes nothing."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    keeper = manifest.Manifest(whole)
    keeper.hand_over([], Position(3, 77))
    keeper.close()
    before = manifest.load(whole)
    writer = sqlite3.connect(whole / place.MANIFEST, isolation_level=None)
    writer.executescript("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN IMMEDIATE")
    writer.execute("UPDATE handed_over SET file = 9")
    writer.executemany("INSERT INTO damage VALUES (?, 0, ?)", [(i, "x" * 500) for i in range(2000)])
    shutil.copytree(whole, broken)  # as the disk holds it at a kill: pages changed, the journal not yet deleted
    writer.close()
    held = {path.name: path.read_bytes() for path in broken.iterdir()}
    assert f"{place.MANIFEST}-journal" in held
    assert manifest.load(broken) == before and before.handed_over == Position(3, 77)
    assert {path.name: path.read_bytes() for path in broken.iterdir()} == held


def test_changes_together_are_one(tmp_path: Path) -> None:
    """Law: of a retirement and what is written in its place a reader sees both or neither; what fails leaves neither."""
    db = manifest.Manifest(tmp_path)
    old = manifest.Segment(
        "process/date=2026-03-01/a.parquet", "process", "2026-03-01", "n", 1, 1, 0, 0, 1, 0, 1, 9, "x"
    )
    new = replace(old, path="process/date=2026-03-01/b.parquet")
    db.hand_over([old], Position(1, 9))
    with pytest.raises(KeyboardInterrupt), db.together():
        db.retire(2, [old.path], "retention", 5)
        assert manifest.load(tmp_path).segments == (old,)
        raise KeyboardInterrupt
    assert (manifest.load(tmp_path).segments, manifest.load(tmp_path).generation) == ((old,), 1)
    with db.together():
        db.retire(2, [old.path], "retention", 5)
        db.merge(2, (), [new])
    assert manifest.load(tmp_path).segments == (new,)
    assert manifest.load(tmp_path).generation == db.generation() == 2
    db.close()
