"""A log as the keeper takes it in: from where it was handed over on, file by file."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from firsthand.errors import DamagedError
from firsthand.history import fault, place
from firsthand.history.keep.group import Group
from firsthand.history.log import lost
from firsthand.history.log.chunk import Position
from firsthand.history.log.log import LogCursor, files, path_of, size_of, waits


class KeptLog:
    """One log on its way into segments: the observer's, or the follower's with the names."""

    def __init__(self, directory: Path, log: str, handed_over: Position | None) -> None:
        self.log = log
        self.handed_over = handed_over
        self.written = 0
        self.cursor = LogCursor(directory, handed_over, log)

    @property
    def waiting(self) -> int:
        """Bytes behind what was handed over."""
        first = self.handed_over or Position(0, 0)
        numbers = [number for number in files(self.cursor.directory, self.log) if number >= first.file]
        held = sum(size_of(path_of(self.cursor.directory, number, self.log)) for number in numbers)
        return held - first.offset if numbers and numbers[0] == first.file else held

    def gather(self, group: Group, before: int | None, max_rows: int, now: Callable[[], float]) -> Group:
        """Fill a group with chunks that were written `before` (microseconds; None: all), up to so many rows."""
        cursor = self.cursor
        while group.rows < max_rows:
            at = cursor.position
            try:
                chunk = cursor.next()
                if chunk is None:
                    break
                young = before is not None and waits(chunk.header.written, before, int(now() * 1_000_000))
                if young or not group.takes(chunk, max_rows):
                    cursor.back(chunk.position)
                    break
                group.add(chunk)
            except DamagedError as error:
                at = max(at, Position(cursor.position.file, 0))  # the look may have begun before the first file
                self._set_aside(at.file)
                group.written = group.written or lost.after(cursor.directory, self.log, at)
                held = lost.rows(cursor.directory, self.log, at)
                group.add_damage(at, error, int(now() * 1_000_000), held)
                group.end = cursor.position
        return group

    def _set_aside(self, number: int) -> None:
        """Keep a damaged log file under damaged/, by a hard link."""
        directory = self.cursor.directory
        folder = place.folder(directory / place.DAMAGED)
        name = f"{number:016d}.log" if self.log == place.LOG else f"{self.log}-{number:016d}.log"
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            try:
                (folder / name).hardlink_to(path_of(directory, number, self.log))
            except PermissionError:  # another user's file (fs.protected_hardlinks)
                shutil.copyfile(path_of(directory, number, self.log), folder / name)

    def delete(self, linger: float, now: float) -> None:
        """Delete log files that are wholly handed over, have a newer one behind them and have lingered."""
        if self.handed_over is None:
            return
        directory = self.cursor.directory
        numbers = files(directory, self.log)
        while numbers and not path_of(directory, numbers[-1], self.log).stat().st_size:
            numbers.pop()  # a writer has begun it and may die before its first chunk: what it goes on from stands before
        for number in numbers[:-1]:
            path = path_of(directory, number, self.log)
            # one of the future is of before a clock was set back
            lingers = 0 <= now - path.stat().st_mtime < linger
            if number < self.handed_over.file and not lingers:
                fault.reached("log.before_delete")
                path.unlink()
