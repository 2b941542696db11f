"""history/manifest.py: what a reader sees while the keeper commits, and after it was killed there."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from firsthand.history import manifest, place
from firsthand.history.chunk import Position


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
