"""What fuzzing found: a chunk whose checksum holds and whose content is none, and a manifest of odd pages. Each reader says so and goes on."""

from __future__ import annotations

import json
import sqlite3
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firsthand.errors import DamagedError
from firsthand.export.reader import LogReading
from firsthand.history import place
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log import arrow, ipc
from firsthand.history.log.chunk import FIXED, MAGIC, Position, unpack
from firsthand.history.log.follow import LogFollower
from firsthand.history.log.log import LogWriter, path_of
from firsthand.history.store import manifest, snapshot
from firsthand.history.store.connection import History
from firsthand.history.store.verify import verify
from firsthand.wire.batch import Batch
from tests import histories, samples

_ROWS = ipc.to_bytes(samples.loss())
_GOOD: dict[str, Any] = {
    "node": "n", "boot": "b", "written": 1, "spans": [[0, 1, 0, 8]], "durable": [[0, 1, 8]], "tables": [["loss", 1, len(_ROWS)]]
}  # fmt: skip


def _chunk(header: dict[str, Any], payload: bytes = _ROWS) -> bytes:
    """A chunk whose checksums hold, at the beginning of a file."""
    text = json.dumps(header).encode()
    fixed = FIXED.pack(MAGIC, 7, 0, len(payload), len(text), 0, zlib.crc32(payload, zlib.crc32(text)), 0)[:-4]
    return fixed + struct.pack("<I", zlib.crc32(fixed)) + text + payload


def _beyond() -> bytes:
    return ipc.to_bytes(Batch.from_rows("loss", [{"time": 1 << 62, "events": 1}]))


_HEADERS: dict[str, dict[str, Any]] = {
    "a table that is a path": {"tables": [["../../x", 1, len(_ROWS)]]},
    "a table that is a number": {"tables": [[7, 1, len(_ROWS)]]},
    "fewer bytes than there are": {"tables": [["loss", 1, 8]]},
    "bytes below none": {"tables": [["loss", 1, -8], ["loss", 1, len(_ROWS) + 8]]},
    "a node that is a list": {"node": ["n"]},
    "a time in words": {"written": "now"},
    "positions of more than 64 bits": {"durable": [[0, 1, 1 << 64]]},
    "spans that are none": {"spans": [[0, 1]]},
    "a state that is none": {"state": [1]},
}


@pytest.mark.parametrize("what", _HEADERS)
def test_a_header_that_is_none(what: str) -> None:
    """Law: it is damage, whatever it says, though its checksum holds."""
    assert unpack(_chunk(_GOOD), Position(1, 0)).rows == 1
    with pytest.raises(DamagedError, match="its header is unreadable"):
        unpack(_chunk(_GOOD | _HEADERS[what]), Position(1, 0))


def test_a_header_nested_without_end() -> None:
    """Law: it is damage as well."""
    text = b"[" * 100_000
    fixed = FIXED.pack(MAGIC, 7, 0, 0, len(text), 0, zlib.crc32(text), 0)[:-4]
    with pytest.raises(DamagedError, match="its header is unreadable"):
        unpack(fixed + struct.pack("<I", zlib.crc32(fixed)) + text, Position(1, 0))


_PAYLOADS: dict[str, Callable[[], bytes]] = {
    "no stream": lambda: bytes(64),
    "a stream that was cut": lambda: _ROWS[:-40],
    "another number of rows": lambda: ipc.to_bytes(Batch.from_rows("loss", [{"events": 1}, {"events": 2}])),
    "a time beyond all calendars": _beyond,
    "a column of another type": lambda: _ROWS.replace(b"cause", b"ktime"),
}


@pytest.mark.parametrize("what", _PAYLOADS)
def test_rows_that_are_none(tmp_path: Path, what: str) -> None:
    """Law: readers, the follower of the log and an export say it and read on; the keeper takes the rest over, leaves a row of `loss`, keeps
    the file, and comes to the end."""
    payload = _PAYLOADS[what]()
    raw = _chunk(_GOOD | {"tables": [["loss", 1, len(payload)]]}, payload)
    with pytest.raises(DamagedError, match=r"0000000000000001\.log is damaged at offset 0"):
        arrow.tables(unpack(raw, Position(1, 0)))
    (tmp_path / place.LOG).mkdir()
    path_of(tmp_path, 1).write_bytes(raw)
    histories.write(tmp_path, samples.process_lives(2))
    view = snapshot.take(tmp_path)
    assert {name: view.rows(name).num_rows for name in view.tables} == {"loss": 0, "process": 6}
    assert len(view.damage) == 1
    follower = LogFollower(tmp_path, from_now=False)
    assert sum(rows.num_rows for _, rows in follower.poll(0)) == 6 and len(follower.damage) == 1
    unit = LogReading(tmp_path, place.LOG, Position(1, 0), resumed=True).next()
    assert unit is not None and len(unit.gaps) == 1
    keeper = Keeper(tmp_path)
    keeper.pass_once(last=True)
    assert keeper.pass_once(last=True) == 0
    keeper.close()
    with History(tmp_path).connection() as connection:
        assert connection.execute("SELECT cause, count(*) FROM loss GROUP BY ALL").fetchall() == [("log_damaged", 1)]
        assert connection.execute("SELECT count(*) FROM process").fetchone() == (6,)
    assert (tmp_path / place.DAMAGED / "0000000000000001.log").exists()


@pytest.mark.parametrize("stream", [b"", bytes(64), _ROWS[:-40], _ROWS.replace(b"events", b"detail")])
def test_streams_without_pyarrow(stream: bytes) -> None:
    """Law: what the follower reads is a stream or damage."""
    try:
        assert ipc.columns_of(stream, ("nothing",)) in ({"nothing": [None]}, {"nothing": []})
    except DamagedError as error:
        assert "no Arrow stream" in str(error)


def _sql(directory: Path, *statements: str) -> None:
    with sqlite3.connect(directory / place.MANIFEST) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


_MANIFESTS = {
    "a column renamed": ["ALTER TABLE segments RENAME COLUMN table_name TO name"],
    "a path that leads out": ["UPDATE segments SET path = 'loss/date=2026-01-01/../../../x.parquet'"],
    "an absolute path": ["UPDATE segments SET path = '/etc/passwd'"],
    "a time in words": ["UPDATE segments SET time_min = 'soon'"],
    "a generation in words": ["UPDATE state SET generation = 'x'"],
    "a position in words": ["UPDATE handed_over SET position = 'x'"],
    "a text that is none": ["UPDATE segments SET node = CAST(x'ff' AS TEXT)"],
    "a name that is no text": [
        "PRAGMA writable_schema = 1",
        "UPDATE sqlite_master SET sql = CAST(x'ff28' AS TEXT) WHERE name = 'state'",
    ],
}


@pytest.mark.parametrize("what", _MANIFESTS)
def test_a_manifest_of_odd_pages(tmp_path: Path, what: str) -> None:
    """Law: it is damaged, for readers, for the keeper and for `verify`, and none of them falls over it."""
    with LogWriter(tmp_path, "n", "b") as log:
        log.append([samples.loss()], [])
        histories.keep(tmp_path)
    _sql(tmp_path, *_MANIFESTS[what])
    with pytest.raises(DamagedError, match=r"manifest\.db is damaged"):
        manifest.load(tmp_path)
    assert not verify(tmp_path).whole
    with pytest.raises(DamagedError, match=r"manifest\.db is damaged"):
        Keeper(tmp_path)


def test_an_entry_that_is_none(tmp_path: Path) -> None:
    """Law: readers need no chain; `verify` says that it is damaged."""
    with LogWriter(tmp_path, "n", "b") as log:
        log.append([samples.loss()], [])
        histories.keep(tmp_path)
    _sql(tmp_path, "UPDATE chain SET body = x'ff00' WHERE sequence = 2")
    assert manifest.load(tmp_path).segments
    assert any("cannot be read" in damage for damage in verify(tmp_path).damage)
    _sql(tmp_path, f"UPDATE chain SET body = '{'[' * 100_000}' WHERE sequence = 2")
    assert any("its body is unreadable" in damage for damage in verify(tmp_path).damage)


def test_a_last_entry_that_is_none(tmp_path: Path) -> None:
    """Law: nothing is chained to an entry whose hash is none; the keeper says that the manifest is damaged."""
    with LogWriter(tmp_path, "n", "b") as log:
        log.append([samples.loss()], [])
        histories.keep(tmp_path)
    _sql(tmp_path, "UPDATE chain SET hash = x'ff' WHERE sequence = (SELECT max(sequence) FROM chain)")
    with pytest.raises(DamagedError, match=r"manifest\.db is damaged"):
        book = manifest.Manifest(tmp_path)
        try:
            book.retire(9, [one.path for one in book.snapshot().segments], "x", 1)
        finally:
            book.close()
