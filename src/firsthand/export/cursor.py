"""The durable cursor: what was exported, so that a restart neither skips nor repeats.

One small JSON file, replaced atomically. It holds, for each of the history's logs, the position before which every row is
out, and what the output needs to take back what was written after the last commit.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from firsthand.errors import ExportError
from firsthand.history import place
from firsthand.history.log.chunk import Position

_VERSION = 1


@dataclass
class State:
    """What a cursor says.

    `positions` by log, each the place of the first row that is not out yet; `sequence` the number of the last record;
    `written` the newest CLOCK_REALTIME (microseconds) of a chunk that is out; `output` belongs to the output alone.
    """

    history: str
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)
    positions: dict[str, Position] = field(default_factory=dict)
    sequence: int = 0
    written: int = 0
    output: dict[str, Any] = field(default_factory=dict)


class Cursor:
    """The file of a cursor, held alone by this process. Without a path nothing is kept.

    HistoryError where another exporter holds it; ExportError where it cannot be read or is of another history.
    """

    def __init__(self, path: Path | None, history: Path) -> None:
        self.path = path
        self._lock = -1
        self.state = State(str(history.absolute()))
        self.fresh = True
        if path is not None:
            self._take(path)

    def _take(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = place.lock(path.with_name(f"{path.name}.lock"), "exporter")
            if path.exists():
                self.state = _read(path, self.state.history)
                self.fresh = False
        except OSError as error:
            raise ExportError(f"{path}: the cursor cannot be used ({error}); name another with --cursor") from error

    def save(self) -> None:
        """Make the state durable: all of it or nothing. ExportError where that cannot be done."""
        if self.path is None:
            return
        text = json.dumps({"version": _VERSION, **asdict(self.state)}, indent=1)
        temporary = self.path.with_name(f"{self.path.name}.new")
        try:
            replace(temporary, self.path, text.encode())
        except OSError as error:
            raise ExportError(f"{self.path}: the cursor cannot be written ({error}); free space there") from error

    def close(self) -> None:
        """Let go of the file."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def replace(temporary: Path, path: Path, data: bytes) -> None:
    """A file's whole content, durable under its name, or the old one still. OSError where it cannot be written."""
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    place.sync(path.parent)


def _read(path: Path, history: str) -> State:
    try:
        raw = json.loads(path.read_text())
        if raw.pop("version") != _VERSION:
            raise ValueError("of another version")
        positions = {log: Position(*found) for log, found in raw.pop("positions").items()}
        state = State(positions=positions, **raw)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(
            f"{path}: this is no cursor of an export ({error!r}); remove it to begin anew, or name another with --cursor"
        ) from error
    if state.history != history:
        raise ExportError(
            f"{path}: this cursor is of the history {state.history}, not of {history}; name another with --cursor"
        )
    return state
