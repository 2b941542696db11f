"""Chunks of a log on their way into segments, as many as make one of each table and day."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from firsthand.errors import DamagedError
from firsthand.history.log import arrow
from firsthand.history.log.chunk import Chunk, Position
from firsthand.history.store import segment

#: One group of segments holds about this much at most; it bounds the keeper's memory.
MAX_ROWS = 200_000
MAX_BYTES = 64 << 20
#: Microseconds for which rows of a chunk may have waited in the rings while the one before was written.
WAITED = 10_000_000


@dataclass
class Group:
    """Chunks of one node that become one segment per table and day. `written`: when the last one was, microseconds; 0: not known."""

    start: Position
    end: Position
    node: str = ""
    rows: int = 0
    bytes: int = 0
    written: int = 0
    tables: dict[str, list[pa.Table]] = field(default_factory=dict)
    damage: list[tuple[Position, str]] = field(default_factory=list)
    digest: Any = field(default_factory=hashlib.sha256)

    def takes(self, chunk: Chunk, max_rows: int) -> bool:
        """Whether the chunk still belongs in here."""
        if not self.rows:
            return True
        return (
            chunk.header.node == self.node
            and self.rows + chunk.rows <= max_rows
            and self.bytes + chunk.payload.nbytes <= MAX_BYTES
        )

    def add(self, chunk: Chunk) -> None:
        """Take a chunk's rows in. DamagedError where they are unreadable: then nothing of it is."""
        tables = arrow.parts(chunk)
        self.node = chunk.header.node
        self.rows += chunk.rows
        self.bytes += chunk.payload.nbytes
        self.digest.update(f"{chunk.position.file}:{chunk.position.offset}:{chunk.checksum}\n".encode())
        self.written = chunk.header.written
        self.end = chunk.next
        for name, rows in tables:
            self.tables.setdefault(name, []).append(segment.located(rows, chunk.position))

    def add_damage(self, at: Position, error: DamagedError, until: int, held: Mapping[str, int] | None = None) -> None:
        """Take note of a chunk that is lost, found at `until` (microseconds): a row of `loss` for each table of which it `held` rows, or
        one without a number.

        Its rows happened after the chunk before it was written, but for what they waited in the rings; where no chunk is known
        before it, at any time.
        """
        self.damage.append((at, str(error)))
        since = self.written - WAITED if self.written else None
        values = {"time": until, "node": self.node, "cause": "log_damaged", "since": since, "until": until}
        values |= {"detail": str(error)}
        for table, number in held.items() if held else [(None, None)]:
            row = arrow.row("loss", values | {"table_name": table if table != "loss" else None, "events": number})
            self.tables.setdefault("loss", []).append(segment.located(row, at))
            self.rows += 1
