"""What goes out together: the rows between two positions of one log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from firsthand.history.log.chunk import Position


@dataclass
class Unit:
    """Rows that go out together and move the cursor of `log` to `end`.

    `written`: CLOCK_REALTIME in microseconds when the last of them became durable, 0 where that is not known; `gaps`: what is
    known to be missing before `end`; `bytes`: their size in the log.
    """

    log: str
    end: Position
    written: int = 0
    tables: list[tuple[str, pa.Table]] = field(default_factory=list)
    gaps: list[dict[str, Any]] = field(default_factory=list)
    bytes: int = 0
