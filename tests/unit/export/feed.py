"""A history that grows, and an exporter beside it, for the tests of this room."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from firsthand.export import jsonl
from firsthand.export.choice import Choice
from firsthand.export.cursor import Cursor
from firsthand.export.exporter import Exporter, ExportPlan
from firsthand.export.file import Appended
from firsthand.export.rotation import Rotation
from firsthand.history.keep import compact
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogWriter
from firsthand.wire.batch import Batch
from tests import samples

LIVES = 20


class Feed:
    """A writer of lives, numbered from 0 on, each chunk of LIVES with a loss row; and a keeper that passes when told."""

    def __init__(self, history: Path) -> None:
        self.history = history
        self.lives = 0
        self.writer = LogWriter(history, samples.NODE, samples.BOOT)

    def write(self, chunks: int = 1) -> None:
        """Append chunks."""
        for _ in range(chunks):
            self.writer.append([samples.process_lives(LIVES, first=self.lives), self.lost()], [])
            self.lives += LIVES

    def lost(self) -> Batch:
        """One row of `loss`, its `events` telling which."""
        return samples.loss(self.lives + 1, at=samples.START + self.lives)

    def rotate(self) -> None:
        """Begin another log file, with a chunk: a file is deleted only once the keeper has come to a newer one."""
        self.writer.close()
        self.writer = LogWriter(self.history, samples.NODE, samples.BOOT)
        self.write()

    def keep(self, *, merge: bool = False) -> None:
        """One pass of the keeper without any linger; `merge`: and a compaction of all there is."""
        keeper = Keeper(self.history, linger=0)
        keeper.pass_once(last=True)
        if merge:
            compact.run(self.history, keeper.manifest, keeper.generation, many=2, keep=0)
        keeper.close()

    def expected(self) -> list[tuple[Any, ...]]:
        """A key of every row that was written, in order."""
        rows = [(1000 + life, event) for life in range(self.lives) for event in ("fork", "exec", "exit")]
        return sorted([*rows, *((first + 1, "loss") for first in range(0, self.lives, LIVES))])


def key(record: dict[str, Any]) -> tuple[Any, ...]:
    """The key of a record as Feed.expected has it; gaps and heartbeats by their table."""
    if record["table"] == "process":
        return record["exec_tgid"], record["event"]
    return (record.get("events"), "loss") if record["table"] == "loss" else (record["table"],)


def keys(path: Path) -> list[tuple[Any, ...]]:
    """The keys of every line of a file, in the file's order; every line must be whole."""
    return [key(json.loads(line)) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def export(
    history: Path, to: Path, choice: Choice | None = None, *, rotation: Rotation | None = None, begin: str = "first"
) -> Cursor:
    """One run to the end of what is there; the cursor, closed."""
    cursor = Cursor(Path(f"{to}.cursor"), history)
    output = Appended(to, rotation or Rotation())
    exporter = Exporter(history, cursor, output, jsonl, choice or Choice(), ExportPlan(begin=begin))
    exporter.run(lambda _: False)
    exporter.close()
    return cursor
