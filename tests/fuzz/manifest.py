"""The manifest: an SQLite file of any bytes, and a chain whose entries hold anything.

Input: how it is used (1 byte), then content: the file itself; or the lines of the tables `chain` and `segments` of a good file, as JSON, with
every hash of the chain made to fit; or the lines of a file of heads.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from firsthand.errors import DamagedError, HistoryError, UsageError
from firsthand.history import place
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogWriter
from firsthand.history.store import chain, manifest, snapshot
from firsthand.history.store.manifest import Manifest
from firsthand.history.store.verify import replay, verify
from firsthand.wire.batch import Batch
from tests import samples

_FILE, _LINES, _HEADS = range(3)
#: What lines that are none raise in here, before anything of ours sees them.
_UNFIT = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, sqlite3.Error)
_FOLDER = Path(tempfile.mkdtemp(prefix="firsthand-fuzz-", dir="/dev/shm"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)


def _history(directory: Path) -> Path:
    """Two hand-overs and a merge."""
    with LogWriter(directory, "n", "b") as log:
        keeper = Keeper(directory, many=2)
        for number in range(2):
            log.append([Batch.from_rows("loss", [{"time": samples.START + number, "node": "n", "events": 1}])], [])
            keeper.pass_once(last=True)
        keeper.tidy()
        keeper.close()
    return directory


_GOOD = _history(_FOLDER / "good")


def seeds() -> dict[str, bytes]:
    """A real manifest, packed by SQLite to few pages; its lines; its head as it is published."""
    small = _FOLDER / "small.db"
    shutil.copyfile(_GOOD / place.MANIFEST, small)
    with contextlib.closing(sqlite3.connect(small, isolation_level=None)) as db:
        db.execute("PRAGMA page_size = 512")
        db.execute("VACUUM")
        lines = {name: [list(row) for row in db.execute(f"SELECT * FROM {name}")] for name in ("chain", "segments")}
    entries = manifest.chained(_GOOD)[0]
    head = json.dumps({"time": 1, "node": "n", "head": f"{entries[-1].sequence}:{entries[-1].hash}"})
    return {
        "file": bytes([_FILE]) + small.read_bytes(),
        "lines": bytes([_LINES]) + json.dumps(lines).encode(),
        "heads": bytes([_HEADS]) + f"{head}\nnothing\n".encode(),
    }


def one(data: bytes) -> None:
    """Everybody who reads a manifest, and the keeper, who opens it to write."""
    if not data:
        return
    use, content = data[0] % 3, data[1:]
    if use == _HEADS:
        text = content.decode("utf-8", "replace")
        chain.heads_in(text)
        with contextlib.suppress(UsageError):
            chain.Head.parse(text)
        return
    path = _GOOD / place.MANIFEST
    path.write_bytes(content if use == _FILE else _filled(content))
    path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
    _read()
    with contextlib.suppress(HistoryError):
        book = Manifest(_GOOD)
        try:
            book.snapshot()
            book.retire(9, [one.path for one in book.snapshot().segments], "x", 1)
        finally:
            book.close()


def _filled(content: bytes) -> bytes:
    """A good file with these lines; what SQLite does not take is left out."""
    path = _FOLDER / "filled.db"
    path.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(manifest.SCHEMA)
        db.execute("INSERT INTO state VALUES (1, NULL)")
        with contextlib.suppress(*_UNFIT):
            raw = json.loads(content)
            for entry in _fitted(raw["chain"]):
                db.execute("INSERT INTO chain VALUES (?, ?, ?, ?, ?, ?)", entry)
            for line in raw["segments"]:
                db.execute(f"INSERT INTO segments VALUES ({', '.join('?' * len(line))})", line)
    return path.read_bytes()


def _fitted(lines: list[list[Any]]) -> list[list[Any]]:
    previous = chain.NOTHING
    found = []
    for sequence, kind, moment, body, *_ in lines:
        hash_ = chain.digest(sequence, kind, moment, body, previous)
        found.append([sequence, kind, moment, body, previous, hash_])
        previous = hash_
    return found


def _read() -> None:
    with contextlib.suppress(HistoryError):
        entries, held = manifest.chained(_GOOD)
        damage: list[str] = []
        replay(entries, damage)
        replay(entries[1:], damage)
        assert manifest.load(_GOOD) in (held, manifest.EMPTY)
        assert manifest.chain_back(_GOOD, held.head, lambda entry: False) == [
            e for e in entries if held.head and e.sequence <= held.head.sequence
        ]
    verify(_GOOD)
    with contextlib.suppress(DamagedError):
        snapshot.take(_GOOD)
