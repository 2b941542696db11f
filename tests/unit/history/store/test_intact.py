"""Whether a file is what the manifest says: by its checksum for readers, by its hash for who looks for more than damage."""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from firsthand.history import place
from firsthand.history.store import intact, manifest
from firsthand.history.store.connection import History
from firsthand.history.store.manifest import Segment
from tests.scenes import Scene


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Some processes, in a segment of each table."""
    scene = Scene()
    scene.observed(-1, 60)
    for number in range(50):
        scene.process(None, "/bin/true", [str(number)], float(number))
    return scene.write(tmp_path / "history", kept=True)


def _segment(history: Path) -> tuple[Path, Segment]:
    held = manifest.load(history)
    (one,) = [one for one in held.segments if one.table == "process"]
    return place.generation(history, held.generation) / one.path, one


def _number(history: Path) -> int:
    with History(history).connection() as connection:
        return int(connection.execute("SELECT count(*) FROM process WHERE event = 'exec'").fetchall()[0][0])


def _set(history: Path, crc: int | None) -> None:
    with sqlite3.connect(history / place.MANIFEST) as database:
        database.execute("UPDATE segments SET crc = ?", (crc,))


def test_both_are_of_the_whole_file(history: Path, tmp_path: Path) -> None:
    """Of a segment as it is written, and of files around the size of a block."""
    path, one = _segment(history)
    assert (one.sha256, one.crc) == (hashlib.sha256(path.read_bytes()).hexdigest(), zlib.crc32(path.read_bytes()))
    for size in (0, 1, 255, 256, intact._BLOCK - 1, intact._BLOCK, intact._BLOCK + 17):
        data = bytes(number * 7 & 0xFF for number in range(size))
        (tmp_path / "file").write_bytes(data)
        assert intact.sums(tmp_path / "file") == (hashlib.sha256(data).hexdigest(), zlib.crc32(data))
        assert intact.crc(tmp_path / "file") == zlib.crc32(data)


def test_a_reader_goes_by_the_checksum(history: Path) -> None:
    """Any bit that was flipped is damage; what has the same checksum is for the hash to tell."""
    path, one = _segment(history)
    whole = path.read_bytes()
    for place_ in range(0, len(whole), len(whole) // 60):
        path.write_bytes(whole[:place_] + bytes([whole[place_] ^ 1 << place_ % 8]) + whole[place_ + 1 :])
        assert intact.damage(path, one, quick=True) is not None
    path.write_bytes(whole)
    assert intact.damage(path, one, quick=True) is None
    other = replace(one, sha256="0" * 64)
    assert intact.damage(path, other, quick=True) is None and intact.damage(path, other) is not None


@pytest.mark.parametrize("crc", [None, 0, 1 << 40])
def test_a_checksum_that_is_missing_or_wrong_costs_time_alone(history: Path, crc: int | None) -> None:
    """The hash decides then."""
    before = _number(history)
    _set(history, crc)
    found = History(history)
    with found.connection() as connection:
        assert connection.execute("SELECT count(*) FROM process WHERE event = 'exec'").fetchall() == [(before,)]
    assert found.damage == []
