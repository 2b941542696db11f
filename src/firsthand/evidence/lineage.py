"""Whose children the chosen processes are: the images before them and above them, to a bounded depth.

An image is named by (boot, tgid, start of its leader, self_exec_id), law 4. Its beginning is its row of exec, fork or `seen`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from firsthand.evidence.question import within
from firsthand.evidence.sources import RowSource

#: Steps from a chosen process: each is to a parent, or to the image before an exec.
DEPTH = 64
TABLE = "process"
_OWN = ("exec_tgid", "exec_start", "exec_number")
_PARENT = ("parent_tgid", "parent_start", "parent_number")
_BEFORE = ("exec_tgid", "exec_start", "previous_number")
#: The columns that say who a row's image is and what it came from.
COLUMNS = tuple(dict.fromkeys(("boot", *_OWN, *_PARENT, *_BEFORE)))
_KEY = ("boot", "tgid", "start", "number")
_INDEX = "index"
_BEGINNING = -(1 << 62)


#: Batches whose images are gathered before each is kept once.
_GATHERED = 64


@dataclass
class ImageColumns:
    """Names of images as four columns of numbers, each image once; boots are numbered as they come."""

    _parts: list[pa.Table] = field(default_factory=lambda: [_keys(*(pa.array([], pa.int64()) for _ in _KEY))])
    _boots: list[str] = field(default_factory=list)

    @property
    def keys(self) -> pa.Table:
        """All of them."""
        self._parts = [_once(self._parts)]
        return self._parts[0]

    def add(self, rows: pa.Table) -> None:
        """The images of rows with COLUMNS, their parents', and those that they replaced."""
        self._parts += self.named(rows)
        if len(self._parts) > _GATHERED:
            _ = self.keys

    def named(self, rows: pa.Table) -> list[pa.Table]:
        """The images that rows name."""
        boots = self.boots(rows)
        kinds = [names for names in (_OWN, _PARENT, _BEFORE) if set(names) <= set(rows.column_names)]
        return [_known(_keys(boots, *(rows[name] for name in names))) for names in kinds]

    def own(self, rows: pa.Table, first: int) -> pa.Table:
        """Each row's own image, with its number among the file's rows, which begin with `first`."""
        index = pa.array(np.arange(first, first + rows.num_rows))
        return _keys(self.boots(rows), *(rows[name] for name in _OWN)).append_column(_INDEX, index)

    def boots(self, rows: pa.Table) -> Any:
        """The number of each row's boot."""
        for boot in pc.unique(rows["boot"]).to_pylist():
            if boot is not None and boot not in self._boots:
                self._boots.append(boot)
        return pc.index_in(rows["boot"], pa.array(self._boots, pa.string())).cast(pa.int64())


def _keys(*columns: Any) -> pa.Table:
    return pa.table([column.cast(pa.int64()) for column in columns], names=list(_KEY))


def _known(keys: pa.Table) -> pa.Table:
    return keys.drop_null()


def _once(parts: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(parts).group_by(list(_KEY)).aggregate([]).select(list(_KEY))


def follow(sources: Sequence[RowSource], seeds: ImageColumns, until: int) -> dict[str, NDArray[np.int64]]:
    """By source, the numbers of the rows with which the seeds and what they came from began, none after `until`."""
    wanted = done = seeds.keys
    found: dict[str, list[NDArray[np.int64]]] = {}
    for _ in range(DEPTH + 1):
        if not wanted.num_rows:
            break
        named: list[pa.Table] = [wanted.slice(0, 0)]
        starts = np.unique(wanted["start"].to_numpy())
        for source in sources:
            if TABLE in source.tables and _may_hold(source, starts, until):
                named += _look(source, wanted, seeds, until, found)
        wanted = _once(named).join(done, list(_KEY), join_type="left anti")
        done = pa.concat_tables([done, wanted])
    return {name: np.unique(np.concatenate(parts)) for name, parts in found.items()}


def _may_hold(source: RowSource, starts: NDArray[np.int64], until: int) -> bool:
    """Whether one of these processes can be in there."""
    if source.span is not None and source.span[0] > until:
        return False
    bounds = source.bounds(TABLE, "exec_start")
    return bounds is None or bool(((starts >= bounds[0]) & (starts <= bounds[1])).any())


def _look(
    source: RowSource, wanted: pa.Table, images: ImageColumns, until: int, found: dict[str, list[NDArray[np.int64]]]
) -> list[pa.Table]:
    """Add the beginnings of wanted images to `found`; the images that they name."""
    named = []
    for first, rows in source.rows(TABLE, (*COLUMNS, "time", "event")):
        mask = pc.and_(pc.is_in(rows["exec_start"], wanted["start"].combine_chunks()), _begins(rows, until))
        own = images.own(rows, first).filter(mask).join(wanted, list(_KEY), join_type="left semi")
        if own.num_rows:
            index = np.sort(own[_INDEX].to_numpy())
            found.setdefault(source.name, []).append(index)
            named += images.named(rows.take(pa.array(index - first)))
    return named


def _begins(rows: pa.Table, until: int) -> Any:
    mask = pc.fill_null(pc.invert(pc.is_in(rows["event"], pa.array(["exit", "left"]))), False)
    return pc.and_(mask, within(rows["time"], _BEGINNING, until))
