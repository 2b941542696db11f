"""Histories as the tests make and read them: by the real log, the real keeper and the real reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from firsthand.history.keep.keeper import Keeper
from firsthand.history.log import arrow
from firsthand.history.log.log import LogWriter
from firsthand.history.store.connection import History
from firsthand.wire.batch import Batch
from tests.samples import BOOT, NODE


def write(directory: Path, *batches: Batch, node: str = NODE, boot: str = BOOT) -> Path:
    """The history with these rows in one more chunk of its log."""
    with LogWriter(directory, node, boot) as log:
        log.append(batches, [])
    return directory


def keep(directory: Path, *, last: bool = True, **options: Any) -> Path:
    """The history after one pass of a keeper with these options; `last`: everything that waits is in segments."""
    keeper = Keeper(directory, **options)
    keeper.pass_once(last=last)
    keeper.close()
    return directory


def rows(directory: Path, query: str) -> list[tuple[Any, ...]]:
    """What a statement finds."""
    with History(directory).connection() as connection:
        return list(connection.execute(query).fetchall())


def table(name: str, values: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of a table as segments have them; columns that are not named are empty."""
    return arrow.together(name, [arrow.row(name, dict(row)) for row in values])
