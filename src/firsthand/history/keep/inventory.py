"""What a history holds, piece by piece: whose rows its segments hold, and how much of each a hold has. Both are read once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from firsthand.errors import HistoryError
from firsthand.history.keep.budget import Piece
from firsthand.history.store import hold, intact, manifest, share, summary
from firsthand.history.store.hold import Hold
from firsthand.history.store.manifest import Segment
from firsthand.history.store.share import Share

#: Columns that say whether a row is held.
_COLUMNS = ("time", "namespace", "container", "pod", "pod_uid", "flags")


class Inventory:
    """Pieces of segments, remembered by path and hash: as long as they are asked for, and no longer.

    With `skips`, a damaged segment has no pieces and stands in `damaged`, with what is wrong with it. With a `directory`, the manifest is
    asked first, and only a file that it does not know so, or that has another size, is opened.
    """

    def __init__(self, directory: Path | None = None, *, skips: bool = False) -> None:
        self._directory = directory
        self._parts: dict[str, dict[str, bytes]] = {}
        self.damaged: list[tuple[Segment, str]] = []
        self._skips = skips
        self._shares: dict[tuple[str, str], tuple[Share, ...]] = {}
        self._pieces: dict[tuple[str, str], tuple[tuple[Hold, ...], list[Piece]]] = {}

    def pieces(self, root: Path, segments: Sequence[Segment], holds: Sequence[Hold]) -> list[Piece]:
        """All pieces of these segments below a generation's folder. HistoryError where one cannot be read."""
        self.damaged, self._parts = [], {}
        alive = {(one.path, one.sha256) for one in segments}
        self._shares = {key: value for key, value in self._shares.items() if key in alive}
        self._pieces = {key: value for key, value in self._pieces.items() if key in alive}
        return [piece for one in segments for piece in self._of(root, one, holds)]

    def _of(self, root: Path, one: Segment, holds: Sequence[Hold]) -> list[Piece]:
        key = (one.path, one.sha256)
        try:
            if key not in self._shares:
                self._shares[key] = self._told(root, one) or share.of_file(root / one.path, one.table)
            shares = self._shares[key]
            met = tuple(hold for hold in holds if any(_meets(hold, part) for part in shares))
            if key not in self._pieces or self._pieces[key][0] != met:
                self._pieces[key] = (met, _pieces(root, one, shares, met))
        except (OSError, ValueError) as error:
            if self._skips and (what := intact.damage(root / one.path, one)):
                self.damaged.append((one, what))
                return []
            raise HistoryError(f"{root / one.path}: the segment cannot be read ({error})") from error
        return self._pieces[key][1]

    def _told(self, root: Path, one: Segment) -> tuple[Share, ...] | None:
        """What the manifest says of a segment whose file is there in its size."""
        if self._directory is None:
            return None
        if one.table not in self._parts:
            self._parts[one.table] = manifest.summaries(self._directory, one.table, [share.PART])[share.PART]
        found = share.of_part(summary.opened(self._parts[one.table].get(one.path), one.sha256, share.PART))
        return found if found and intact.damage(root / one.path, one, by_size=True) is None else None


def _meets(hold: Hold, part: Share) -> bool:
    return hold.meets(part.namespace, part.first, part.last)


def _pieces(root: Path, one: Segment, shares: Sequence[Share], holds: Sequence[Hold]) -> list[Piece]:
    held = _count(root / one.path, one.table, shares, holds)
    rows = max(one.rows, 1)
    return [
        Piece(one.path, one.table, one.date, part, one.bytes * part.rows // rows, held.get(part, 0)) for part in shares
    ]


def _count(path: Path, table: str, shares: Sequence[Share], holds: Sequence[Hold]) -> dict[Share, int]:
    """Rows of each share that these have; the file is read only where a hold has a part of one."""
    found: dict[Share, int] = {}
    parts = []
    for part in shares:
        if any(each.covers(part.namespace, part.first, part.last) for each in holds):
            found[part] = part.rows
        elif any(_meets(each, part) for each in holds):
            parts.append(part)
    if parts:
        with pq.ParquetFile(path) as file:
            rows = file.read([name for name in _COLUMNS if name in file.schema_arrow.names])
        held = rows.filter(hold.mask(rows, holds))
        for part in parts:
            found[part] = pc.sum(share.mask(table, held, [(part.namespace, part.kind)])).as_py() or 0
    return found
