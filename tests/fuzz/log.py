"""Files of the log: every reader of them, and the keeper, on bytes that may be anything.

Input: how it is used (1 byte: the low two bits), where it is cut in two (2 bytes), then content. It is one file, two files, or a chunk of either
log whose checksums are made to fit: what stands in its header and its Arrow streams is the input's. KEEPER and WRITER: these come to it as well.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import shutil
import struct
import tempfile
import zlib
from pathlib import Path

from firsthand.errors import DamagedError
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log import arrow, ipc
from firsthand.history.log.chunk import FIXED, MAGIC, Position, RingSpan, unpack
from firsthand.history.log.log import LogCursor, LogReader, LogWriter, files, path_of
from firsthand.history.place import LOG, NAMES
from firsthand.history.store import snapshot
from firsthand.wire.batch import Batch
from tests import samples
from tests.unit.evidence import scene

_HEAD = struct.Struct("<BH")
_ONE, _TWO, _FITTED, _NAMED = range(4)
KEEPER, WRITER = 4, 8
_SALT = 7
_FOLDER = Path(tempfile.mkdtemp(prefix="firsthand-fuzz-", dir="/dev/shm"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)


def seeds() -> dict[str, bytes]:
    """A small real log of several chunks, whole and as its chunks' headers and payloads."""
    directory = _FOLDER / "seeds"
    life = {
        "time": samples.START,
        "node": "n",
        "event": "exec",
        "container": scene.WEB,
        "args": ["a", ""],
        "args_bytes": b"\xff",
    }
    with LogWriter(directory, "n", "b") as log:
        log.append([Batch.from_rows("process", [life, {"time": None}])], [RingSpan(0, 1, 0, 64)])
        log.append([Batch.from_rows("loss", [{"time": samples.START, "events": 1}])], [], {"x": 1})
    with LogWriter(directory, "n", "b", folder=NAMES) as log:
        log.append([Batch.from_rows("container", [scene.named(scene.WEB, 1)])], [])
    found = {}
    for name, uses in ((LOG, (_ONE, _TWO, _FITTED)), (NAMES, (_NAMED,))):
        whole = path_of(directory, 1, name).read_bytes()
        found |= {f"{name}-{use}": _HEAD.pack(use | WRITER, len(whole) // 2) + whole for use in uses}
        for number, chunk in enumerate(LogReader(directory, name)):
            text = chunk.before[FIXED.size :]
            for more in (0, KEEPER):
                found[f"{name}-{number}-{more}"] = _HEAD.pack(uses[-1] | more, len(text)) + text + chunk.payload
    shutil.rmtree(directory)
    return found


def one(data: bytes) -> None:
    """Write the files, and let each of their readers take what it can."""
    if len(data) < _HEAD.size:
        return
    use, cut = _HEAD.unpack_from(data)
    content, kind = data[_HEAD.size :], use & 3
    parts = [content[:cut], content[cut:]] if kind == _TWO else [content]
    if kind in (_FITTED, _NAMED):
        parts = [_fitted(content[:cut], content[cut:])]
        with contextlib.suppress(DamagedError):  # all the others meet it as well
            _unpacked(parts[0])
    directory, folder = _FOLDER / "history", NAMES if kind == _NAMED else LOG
    shutil.rmtree(directory, ignore_errors=True)
    (directory / folder).mkdir(parents=True)
    for number, part in enumerate(parts, 1):
        path_of(directory, number, folder).write_bytes(part)
    _read(directory, folder)
    if use & KEEPER:
        _kept(directory)
    if use & WRITER:
        _opened(directory, folder)


def _fitted(text: bytes, payload: bytes) -> bytes:
    """A chunk of this header and payload, whose checksums hold."""
    checksum = zlib.crc32(payload, zlib.crc32(text))
    fixed = FIXED.pack(MAGIC, _SALT, 0, len(payload), len(text), 0, checksum, 0)[:-4]
    return fixed + struct.pack("<I", zlib.crc32(fixed)) + text + payload


def _unpacked(raw: bytes) -> None:
    """A chunk by itself, its streams by both libraries that read them."""
    chunk = unpack(raw, Position(1, 0))
    json.dumps(chunk.header.state)
    for _, stream in chunk.streams():
        with contextlib.suppress(DamagedError):
            ipc.columns_of(stream, ("container", "event", "cgroup_path", "time", "nothing"))
    for _, rows in arrow.tables(chunk):
        rows.validate(full=True)


def _read(directory: Path, folder: str) -> None:
    found = list(LogReader(directory, folder).walk())
    at = [one.position for one in found if not isinstance(one, DamagedError)]
    assert at == sorted(set(at))
    cursor = LogCursor(directory, None, folder)
    cursor.to_end()
    cursor.close()
    view = snapshot.take(directory)
    for table in view.tables:
        view.rows(table).validate(full=True)


def _kept(directory: Path) -> None:
    """The keeper must come to the log's end, whatever stands in it: else it would never hand anything over again."""
    keeper = Keeper(directory)
    try:
        keeper.pass_once(last=True)
        assert keeper.pass_once(last=True) == 0
    finally:
        keeper.close()
    snapshot.take(directory)


def _opened(directory: Path, folder: str) -> None:
    """Whoever writes next opens it, and what is appended then is read."""
    with LogWriter(directory, "n", "b", folder=folder) as log:
        log.append([samples.loss()], [])
    assert list(LogReader(directory, folder).walk())
    assert files(directory, folder)
