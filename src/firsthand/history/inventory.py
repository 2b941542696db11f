"""What a history holds, piece by piece: its segments' footers, and how much of each a hold has. Both are read once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from firsthand.errors import HistoryError
from firsthand.history import hold, share
from firsthand.history.budget import Piece
from firsthand.history.hold import Hold
from firsthand.history.manifest import Segment
from firsthand.history.share import Share

#: Columns that say whether a row is held.
_COLUMNS = ("time", "namespace", "container", "pod", "pod_uid", "flags")


class Inventory:
    """Pieces of segments, remembered by the segment's hash: as long as it is asked for, and no longer."""

    def __init__(self) -> None:
        self._shares: dict[str, tuple[Share, ...]] = {}
        self._held: dict[str, tuple[tuple[Hold, ...], dict[Share, int]]] = {}

    def pieces(self, root: Path, segments: Sequence[Segment], holds: Sequence[Hold]) -> list[Piece]:
        """All pieces of these segments below a generation's folder. HistoryError where one cannot be read."""
        alive = {one.sha256 for one in segments}
        self._shares = {key: value for key, value in self._shares.items() if key in alive}
        self._held = {key: value for key, value in self._held.items() if key in alive}
        return [piece for one in segments for piece in self._of(root, one, holds)]

    def _of(self, root: Path, one: Segment, holds: Sequence[Hold]) -> list[Piece]:
        try:
            if one.sha256 not in self._shares:
                self._shares[one.sha256] = share.of_file(root / one.path, one.table)
            shares = self._shares[one.sha256]
            held = self._holds(root, one, shares, holds)
        except (OSError, ValueError) as error:
            raise HistoryError(f"{root / one.path}: the segment cannot be read ({error})") from error
        rows = max(one.rows, 1)
        return [
            Piece(one.path, one.table, one.date, part, one.bytes * part.rows // rows, held.get(part, 0))
            for part in shares
        ]

    def _holds(self, root: Path, one: Segment, shares: Sequence[Share], holds: Sequence[Hold]) -> dict[Share, int]:
        met = tuple(each for each in holds if any(each.meets(part.namespace, part.first, part.last) for part in shares))
        if not met:
            return {}
        known = self._held.get(one.sha256)
        if known is None or known[0] != met:
            self._held[one.sha256] = known = (met, _count(root / one.path, one.table, shares, met))
        return known[1]


def _count(path: Path, table: str, shares: Sequence[Share], holds: Sequence[Hold]) -> dict[Share, int]:
    """Rows of each share that these have; the file is read only where a hold has a part of one."""
    found: dict[Share, int] = {}
    parts = []
    for part in shares:
        if any(each.covers(part.namespace, part.first, part.last) for each in holds):
            found[part] = part.rows
        elif any(each.meets(part.namespace, part.first, part.last) for each in holds):
            parts.append(part)
    if parts:
        with pq.ParquetFile(path) as file:
            rows = file.read([name for name in _COLUMNS if name in file.schema_arrow.names])
        held = rows.filter(hold.mask(rows, holds))
        for part in parts:
            found[part] = pc.sum(share.mask(table, held, [(part.namespace, part.kind)])).as_py() or 0
    return found
