"""The durable log: one append is one chunk and one fdatasync; what was returned survives anything but the disk."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firsthand.confine.roles import OWNERS
from firsthand.errors import DamagedError, HistoryError
from firsthand.history import fault, place
from firsthand.history.log import chunk as _chunk
from firsthand.history.log.alive import Sign
from firsthand.history.log.chunk import Chunk, ChunkFile, Header, Piece, Position, RingSpan

if TYPE_CHECKING:
    from firsthand.wire.batch import Batch

__all__ = ["Chunk", "CutChunk", "LogCursor", "LogReader", "LogWriter", "Position", "RingSpan", "files", "path_of"]

ROTATE_BYTES = 16 << 20
ROTATE_SECONDS = 60.0
#: The log may grow to this while nothing takes it over; then appends fail instead of filling the disk.
LIMIT = 8 << 30
#: Who writes each log.
_WRITERS = {log: OWNERS[log] for log in (place.LOG, place.NAMES)}
_NAME = re.compile(r"(\d{16})\.log")
#: Bytes gathered for one write.
STAGING = 1 << 20
#: Pieces that the kernel takes at once as they are.
_FEW = 16


@dataclass(frozen=True)
class CutChunk:
    """What opening removed from the end of the last file: a chunk whose write was cut short, and so never acknowledged.

    `damaged`: it was there in full, and fails its checksum: it may have been acknowledged. `since` is when the one before it was
    written (microseconds).
    """

    file: int
    offset: int
    bytes: int
    damaged: bool = False
    since: int | None = None

    def __str__(self) -> str:
        why = "fail their checksum" if self.damaged else "are of a write that was cut short, and never acknowledged"
        return (
            f"the last {self.bytes:,} bytes of log file {self.file:016d}.log {why}: they were cut off at {self.offset}"
        )


def files(directory: Path, folder: str = place.LOG) -> list[int]:
    """Numbers of a log's files in a history, rising; none where there is no log."""
    try:
        names = os.listdir(directory / folder)  # noqa: PTH208 - names only, without a Path for each
    except FileNotFoundError:
        return []
    return sorted(int(found[1]) for found in map(_NAME.fullmatch, names) if found)


def waits(written: int, before: int, now: int) -> bool:
    """Whether a chunk is too young: written after `before`. All in microseconds of the wall clock.

    One that was written after `now` is of the time before the clock was set back, and as old as it can be.
    """
    return before < written <= now


def path_of(directory: Path, number: int, folder: str = place.LOG) -> Path:
    """A log file's path."""
    return directory / folder / f"{number:016d}.log"


class LogWriter:
    """The one writer of a history's log, `folder` of place.py. HistoryError where another writes, or it cannot be written.

    Opening scans the last file: a torn tail is cut off at the last good chunk, told in `cut` and said on standard error; where it may
    have been acknowledged, a row of `loss` says so. `clock` gives seconds that only rise, for rotation.
    """

    def __init__(
        self,
        directory: Path,
        node: str,
        boot: str,
        *,
        folder: str = place.LOG,
        limit: int = LIMIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.directory = directory
        self.folder = folder
        self.node = node
        self.boot = boot
        self.limit = limit
        self.cut: CutChunk | None = None
        self.state: Mapping[str, Any] = {}
        self._durable: dict[tuple[int, int], int] = {}
        self._clock = clock
        self._file = -1
        self._staging = _Staging()
        place.create(directory)
        try:
            self._lock = place.lock(place.folder(directory / folder) / "lock", _WRITERS[folder])
        except OSError as error:
            raise self._failed(error) from error
        self.sign = Sign(directory / folder / "lock", _WRITERS[folder])
        self.sign.give()
        try:
            self._open()
        except OSError as error:
            self.close()
            raise self._failed(error) from error
        except BaseException:
            self.close()
            raise
        if self.cut is not None:
            self._tell(self.cut)

    def _tell(self, cut: CutChunk) -> None:
        print(f"{_WRITERS[self.folder]}: {cut}", file=sys.stderr, flush=True)
        if cut.damaged:
            from firsthand.wire.batch import Batch

            now = time.time_ns() // 1000
            row = {"time": now, "node": self.node, "boot": self.boot, "cause": "log_damaged", "detail": str(cut)}
            row |= {"until": now} | ({"since": cut.since} if cut.since else {})
            self.append([Batch.from_rows("loss", [row])], [])

    def append(
        self, batches: Sequence[Batch], spans: Sequence[RingSpan], state: Mapping[str, Any] | None = None
    ) -> Position:
        """Make rows and the ring positions they came from durable, together, and return the position after them.

        `state` is kept in every chunk from now on: whoever opens the log next finds it in `state`. Plain JSON.
        HistoryError where that cannot be done: then nothing of it is in the log, and the append may be tried again.
        """
        from firsthand.history.log import ipc  # NumPy and nanoarrow, which readers of the log do without

        pieces: list[Piece] = []
        tables: list[tuple[str, int, int]] = []
        for batch in batches:
            if batch.length:
                tables.append((batch.table, batch.length, _add(pieces, ipc.encode(batch))))
        durable = _chunk.latest(spans, self._durable)
        header = Header(
            self.node, self.boot, time.time_ns() // 1000, tuple(spans), durable, tuple(tables), state or self.state
        )
        self._write(header, pieces)
        self._durable, self.state = durable, header.state
        return Position(self._number, self._end)

    def last_spans(self) -> Mapping[tuple[int, int], int]:
        """The last durable ring position per (ring, incarnation), of the 64 that moved last."""
        return dict(self._durable)

    def close(self) -> None:
        """Let go of the log; everything appended is durable already."""
        if self._lock >= 0:
            self.sign.end()
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock = -1

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        numbers = files(self.directory, self.folder)
        for number in reversed(numbers):
            last = self._recover(number, cut=number == numbers[-1])
            if last is not None:
                self._durable, self.state = dict(last.header.durable), last.header.state
                break
        self._begin(numbers[-1] + 1 if numbers else 1)

    def _recover(self, number: int, *, cut: bool) -> Chunk | None:
        """The last good chunk of a file; with `cut`, what stands behind it and is no chunk is removed.

        Damage with a good chunk behind it stays: it was acknowledged once, and a reader reports it.
        """
        last: Chunk | None = None
        descriptor = os.open(path_of(self.directory, number, self.folder), os.O_RDWR | os.O_CLOEXEC)
        try:
            file = ChunkFile(descriptor, number)
            for found in file.walk():
                if isinstance(found, Chunk):
                    last = found
                elif found.resume is None and cut:
                    since = last.header.written if last else None
                    self.cut = CutChunk(number, found.at, file.size - found.at, file.was_whole(found.at), since)
                    os.ftruncate(descriptor, found.at)
                    os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return last

    def _begin(self, number: int) -> None:
        """A new file, its name durable before the first chunk. One of that number can only be a failed attempt."""
        path = path_of(self.directory, number, self.folder)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
            place.give(path)
            place.sync(path.parent)
        except OSError as error:
            raise self._failed(error) from error
        if self._file >= 0:
            os.close(self._file)
        self._file, self._number, self._end = descriptor, number, 0
        self._salt = int.from_bytes(os.urandom(8))
        self._begun = self._clock()

    def _rotate(self, size: int) -> None:
        old = self._clock() - self._begun >= ROTATE_SECONDS
        if self._end and (old or self._end + size > ROTATE_BYTES):
            self._check_limit()
            self._begin(self._number + 1)

    @property
    def held(self) -> int:
        """Bytes of all files of this log now."""
        return sum(size_of(path_of(self.directory, n, self.folder)) for n in files(self.directory, self.folder))

    def _check_limit(self) -> None:
        held = self.held
        if held > self.limit:
            raise HistoryError(
                f"{self.directory / self.folder} holds {held} bytes, over the limit of {self.limit}: nothing takes the "
                "log over; start the keeper (python -m firsthand.roles.keeper --history DIR)"
            )

    def _write(self, header: Header, payload: list[Piece]) -> None:
        size = sum(map(len, payload))
        if size > _chunk.LIMIT:
            raise HistoryError(
                f"one append of {size} bytes is over the limit of {_chunk.LIMIT}: append fewer rows at once"
            )
        self._rotate(size)
        if len(payload) >= _FEW and size <= STAGING:
            payload = [b"".join(payload)]  # some hundred pieces, each of which would be looked at twice more
        before, length = _chunk.pack(header, payload, self._salt, self._end)
        try:
            fault.reached("append.before_write")
            self._staging.write(self._file, [before, *payload])
            fault.reached("append.before_sync")
            os.fdatasync(self._file)
            fault.reached("append.after_sync")
        except OSError as error:
            self._take_back()
            raise self._failed(error) from error
        self._end += length

    def _take_back(self) -> None:
        """Cut the file back to its last good chunk; what a failed fdatasync left in doubt goes with it."""
        try:
            os.ftruncate(self._file, self._end)
            os.lseek(self._file, self._end, os.SEEK_SET)
            os.fdatasync(self._file)
        except OSError:
            return  # the torn tail fails its checksum, and the next opening cuts it

    def _failed(self, error: OSError) -> HistoryError:
        return place.unwritable(self.directory, error, "the log")


def _add(pieces: list[Piece], more: list[Piece]) -> int:
    pieces += more
    return sum(map(len, more))


class _Staging:
    """Pieces gathered in one buffer that is used again and again, and written when it is full.

    A writev of some hundred pieces of odd lengths costs the kernel ten times the copy that this is.
    """

    def __init__(self, size: int = STAGING) -> None:
        self._buffer = memoryview(bytearray(size))

    def write(self, descriptor: int, pieces: Sequence[Piece]) -> None:
        """Every byte of the pieces, in as few writes as the buffer's size allows; a few pieces as they are."""
        if len(pieces) <= _FEW:
            _written(descriptor, pieces)
            return
        used = 0
        for piece in pieces:
            rest = memoryview(piece)
            while rest.nbytes:
                part = rest[: len(self._buffer) - used]
                self._buffer[used : used + part.nbytes] = part
                used += part.nbytes
                rest = rest[part.nbytes :]
                if used == len(self._buffer):
                    used = _flush(descriptor, self._buffer)
        _flush(descriptor, self._buffer[:used])


def _written(descriptor: int, pieces: Sequence[Piece]) -> None:
    done = os.writev(descriptor, pieces)
    for piece in pieces:
        if done < len(piece):
            _flush(descriptor, memoryview(piece)[done:])
        done = max(done - len(piece), 0)


def _flush(descriptor: int, data: memoryview) -> int:
    while data.nbytes:
        data = data[os.write(descriptor, data) :]
    return 0


def size_of(path: Path) -> int:
    """Bytes of a file that may go at any time: then 0."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class LogCursor:
    """One place in the log that moves on chunk by chunk, over rotation and over the deletion of files it has open.

    It keeps its file open until that is read to its end. `position` is where it reads next. The last file may end in a
    chunk that is being written: `next` then returns None, and later more. `missed` counts files that were deleted before
    it came to them: the keeper has handed their rows over to segments.
    """

    def __init__(self, directory: Path, start: Position | None = None, folder: str = place.LOG) -> None:
        self.directory = directory
        self.folder = folder
        self.position = start or Position(0, 0)
        self.missed = 0
        self._file: ChunkFile | None = None

    def next(self) -> Chunk | None:
        """The next chunk, or None where there is none yet.

        DamagedError for a chunk that fails its checksum with good ones or files behind it; the next call goes on there.
        """
        while True:
            if self._file is None and not self._open():
                return None
            assert self._file is not None
            newer = self._newer()  # listed before the read: a file is complete once a newer one exists
            chunk = self._read(self._file, final=bool(newer))
            if chunk is not None:
                self.position = chunk.next
                return chunk
            if not newer:
                return None
            self.missed += newer[0] - self.position.file - 1  # files are numbered without gaps
            self._leave(Position(newer[0], 0))

    def _read(self, file: ChunkFile, *, final: bool) -> Chunk | None:
        offset = self.position.offset
        try:
            chunk = file.read(offset)
        except DamagedError:
            if self._skip(file, offset) or final:
                raise
            return None
        if chunk is None and final and offset < file.size:
            self._skip(file, offset)
            raise file.damaged(offset, "the file ends within a chunk, and another file follows")
        return chunk

    def _skip(self, file: ChunkFile, offset: int) -> bool:
        """Go behind damage, to the next good chunk or the file's end; False where no good chunk is left in the file."""
        resume = file.resume(offset)
        final = bool(self._newer())
        if resume is not None or final:
            self.position = Position(file.number, file.size if resume is None else resume)
        return resume is not None

    def _newer(self) -> list[int]:
        current = self.position.file
        return [number for number in files(self.directory, self.folder) if number > current]

    def _open(self) -> bool:
        for number in files(self.directory, self.folder):
            if number < self.position.file:
                continue
            try:
                descriptor = os.open(path_of(self.directory, number, self.folder), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            if number > self.position.file:
                self.position = Position(number, 0)
            self._file = ChunkFile(descriptor, number)
            return True
        return False

    def _leave(self, position: Position) -> None:
        self.close()
        self.position = position

    def back(self, position: Position) -> None:
        """Read again from a position that `next` has just passed."""
        if self._file is not None and self._file.number != position.file:
            self.close()
        self.position = position

    def to_end(self) -> None:
        """Move behind the last whole chunk that is there now."""
        numbers = files(self.directory, self.folder)
        self._leave(Position(numbers[-1] if numbers else 0, 0))
        while self._file is not None or self._open():
            assert self._file is not None
            try:
                end = self._file.skip(self.position.offset)
            except DamagedError:
                end = self._file.resume(self.position.offset)
            if end is None:
                return
            self.position = Position(self._file.number, end)

    def close(self) -> None:
        """Close the file that is open."""
        if self._file is not None:
            os.close(self._file.descriptor)
            self._file = None


class LogReader:
    """A history's log from any position on, for any number of readers at no cost to the writer."""

    def __init__(self, directory: Path, folder: str = place.LOG) -> None:
        self.directory = directory
        self.folder = folder

    def chunks(self, start: Position | None = None) -> Iterator[Chunk]:
        """Every whole chunk from a position (None: from the first) to what is there now.

        DamagedError ends the iteration; `walk` tells damage and goes on.
        """
        for found in self.walk(start):
            if isinstance(found, DamagedError):
                raise found
            yield found

    def walk(self, start: Position | None = None) -> Iterator[Chunk | DamagedError]:
        """As `chunks`, with damage as an item among the chunks."""
        cursor = LogCursor(self.directory, start, self.folder)
        try:
            while True:
                try:
                    chunk = cursor.next()
                except DamagedError as error:
                    yield error
                    continue
                if chunk is None:
                    return
                yield chunk
        finally:
            cursor.close()

    def __iter__(self) -> Iterator[Chunk]:
        return self.chunks()
