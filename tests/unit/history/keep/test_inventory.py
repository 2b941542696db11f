"""history/keep/inventory.py: pieces are what the files say, read once."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from firsthand.errors import HistoryError
from firsthand.history import place
from firsthand.history.keep.budget import Piece
from firsthand.history.keep.inventory import Inventory
from firsthand.history.store import manifest, segment, share
from firsthand.history.store.hold import Hold
from tests import histories, samples

HOLD = Hold(1, "r", "me", 0, until=samples.START + 150 * samples.STEP, namespace="shop")


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Three hundred rows of four namespaces in one segment."""
    histories.write(tmp_path, samples.process_lives(100))
    histories.keep(tmp_path, last=False)
    return tmp_path


def test_pieces_are_the_segment(history: Path) -> None:
    """Law: rows of the pieces are those of the segment, bytes up to one each; held rows are counted one by one, part of a piece too."""
    (one,) = manifest.load(history).segments
    root = segment.generation(history, 1)
    pieces = Inventory().pieces(root, [one], [])
    assert sum(each.share.rows for each in pieces) == one.rows == 300
    assert one.bytes - len(pieces) <= sum(each.bytes for each in pieces) <= one.bytes
    held = {each.share.namespace: each.held for each in Inventory().pieces(root, [one], [HOLD]) if each.held}
    wanted = [i for i in range(100) for step in range(3) if i % 4 == 1 and (i * 3 + step) <= 150]
    assert held == {"shop": len(wanted)}
    (whole,) = (
        each for each in Inventory().pieces(root, [one], [Hold(1, "r", "me", 0, namespace="shop")]) if each.held
    )
    assert whole.held == whole.share.rows and whole.free == 0


def test_files_are_read_once(history: Path) -> None:
    """Law: what was read is remembered while the segment is there, and read again when holds change."""
    segments = manifest.load(history).segments
    root = segment.generation(history, 1)
    inventory = Inventory()
    known = inventory.pieces(root, segments, [HOLD])
    path = root / segments[0].path
    path.rename(history / "elsewhere")
    assert inventory.pieces(root, segments, [HOLD]) == known
    with pytest.raises(HistoryError, match="cannot be read"):
        inventory.pieces(root, segments, [Hold(2, "r", "me", 0, since=samples.START + 5, pod="x")])
    assert inventory.pieces(root, [], []) == []
    with pytest.raises(HistoryError, match="cannot be read"):
        inventory.pieces(root, segments, [])


def test_a_damaged_segment(history: Path) -> None:
    """Law: one that is no Parquet is an error with its path, and not empty."""
    segments = manifest.load(history).segments
    root = segment.generation(history, 1)
    (root / segments[0].path).write_bytes(b"PAR1" * 9)
    with pytest.raises(HistoryError, match=r"process/date=.*cannot be read"):
        Inventory().pieces(root, segments, [])


def test_the_manifest_says_it_without_the_files(history: Path) -> None:
    """Law: whose rows a segment holds is in the manifest as in its footer; what is damaged there, and a file of another size, is read."""
    segments = manifest.load(history).segments
    root = segment.generation(history, 1)
    read = _said(Inventory().pieces(root, segments, []))
    path = root / segments[0].path
    whole, written = path.read_bytes(), path.stat()
    path.write_bytes(b"\0" * len(whole))
    os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns))
    assert _said(Inventory(history).pieces(root, segments, [])) == read
    with sqlite3.connect(history / place.MANIFEST) as db:
        db.execute("UPDATE summaries SET data = ? WHERE name = ?", (b"x" * 40, share.PART))
    with pytest.raises(HistoryError, match="cannot be read"):
        Inventory(history).pieces(root, segments, [])
    path.write_bytes(whole)
    assert _said(Inventory(history).pieces(root, segments, [])) == read


def _said(pieces: list[Piece]) -> list[tuple[object, ...]]:
    return [(one.path, one.share, one.bytes, one.held) for one in pieces]
