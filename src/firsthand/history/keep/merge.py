"""Several segments as one, in bounded memory: their keys at once, their rows a few thousand at a time.

Each segment is read once and becomes runs of RUN rows: with the names that are known now, sorted, cut into small batches, in a temporary file.
Of all only the keys stay in memory, as numbers, and are put in order: then it is known which rows of which runs come next. (Readers of
Parquet would do without the file, and cost some 130 KB for each column of each segment, which is what zstd needs to decompress.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from firsthand.history.log import arrow
from firsthand.history.names.names import Names
from firsthand.history.store import segment
from firsthand.history.store.manifest import Segment

#: Rows of one run at most.
RUN = 16_384
#: Rows that are in memory of all runs together, and of one at least; and rows that come out at a time.
_OPEN, _LEAST, _OUT = 16_384, 64, 8_192
_TEXTS = ("namespace", "pod")
#: Where no time is: behind all others, as nulls are.
_LAST = np.iinfo(np.int64).max


class SortedRun:
    """Sorted rows in a temporary file, which are read once, from their begin to their end."""

    def __init__(self, path: Path, rows: pa.Table, batch: int) -> None:
        self.path = path
        self.keys = keys_of(rows)
        if not self.keys.sorted:
            rows = segment.ordered(rows)
            self.keys = keys_of(rows)
        self.schema = rows.schema.remove_metadata()
        options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
        with pa.ipc.new_file(path, self.schema, options=options) as file:
            file.write_table(rows.combine_chunks(), max_chunksize=batch)
        self._file: Any = None
        self._next = 0
        self._rest = self.schema.empty_table()

    def take(self, number: int) -> list[pa.Table]:
        """The next rows."""
        found: list[pa.Table] = []
        if self._file is None:
            self._file = pa.ipc.open_file(self.path)
        while number:
            if not self._rest.num_rows:
                self._rest = pa.Table.from_batches([self._file.get_batch(self._next)])
                self._next += 1
            part = self._rest.slice(0, number)
            self._rest = self._rest.slice(part.num_rows)
            number -= part.num_rows
            found.append(part)
        return found

    def close(self) -> None:
        """The file goes."""
        self._file = None
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Keys:
    """The order of an input's rows: the number of each one's (namespace, pod), by `words`, and its time."""

    words: list[tuple[str | None, ...]]
    codes: NDArray[np.int32]
    times: NDArray[np.int64]

    @property
    def sorted(self) -> bool:
        """Whether the rows are in order: `words` are."""
        rising, same = np.diff(self.codes), np.diff(self.codes) == 0
        return bool(np.all(rising >= 0) and np.all(np.diff(self.times)[same] >= 0))


def keys_of(rows: pa.Table) -> Keys:
    """Of the columns of segment.ORDER that there are; each different pair of words once, in order, nulls last."""
    times = np.full(rows.num_rows, _LAST, np.int64)
    if "time" in rows.column_names:
        times = pc.fill_null(rows["time"].cast(pa.int64()), int(_LAST)).to_numpy()
    both = np.zeros(rows.num_rows, np.int64)
    words: list[tuple[str | None, ...]] = [()]
    for name in _TEXTS:
        if name in rows.column_names:
            both, words = _with(both, words, rows[name])
    order = sorted(range(len(words)), key=lambda place: _nulls_last(words[place]))
    ranks = np.empty(len(words), np.int32)
    ranks[order] = np.arange(len(words), dtype=np.int32)
    return Keys([words[place] for place in order], ranks[both], times)


def _nulls_last(words: tuple[str | None, ...]) -> list[tuple[bool, str]]:
    return [(word is None, word or "") for word in words]


def _with(both: NDArray[Any], words: list[Any], column: Any) -> tuple[NDArray[Any], list[Any]]:
    """Numbers of tuples, with one more column in the tuples."""
    coded = column.combine_chunks()
    coded = coded if pa.types.is_dictionary(coded.type) else coded.dictionary_encode()
    told = [*coded.dictionary.to_pylist(), None]
    indices = coded.indices.fill_null(len(told) - 1).to_numpy(zero_copy_only=False).astype(np.int64)
    found, numbers = np.unique(both * len(told) + indices, return_inverse=True)
    return numbers, [(*words[pair // len(told)], told[pair % len(told)]) for pair in found.tolist()]


def runs(root: Path, parts: Sequence[Segment], names: Names, scratch: Path) -> Iterator[SortedRun]:
    """Every row of the segments, in runs whose files are in `scratch` until they are closed."""
    batch = max(_OPEN // sum(-(-one.rows // RUN) for one in parts), _LEAST)
    for one in parts:
        with pq.ParquetFile(root / one.path) as file:
            for number, rows in enumerate(file.iter_batches(RUN, use_threads=False)):
                known = names.freeze(arrow.conform(one.table, pa.Table.from_batches([rows])))
                yield SortedRun(scratch / f"{one.sha256[:16]}-{number}.run", known, batch)


def schema_of(sources: Sequence[SortedRun]) -> pa.Schema:
    """The columns of them all."""
    return pa.unify_schemas([one.schema for one in sources])


def rows(sources: Sequence[SortedRun]) -> Iterator[pa.Table]:
    """All rows of the runs in order, some at a time."""
    schema = schema_of(sources)
    order, starts = _order([one.keys for one in sources])
    consumed = np.zeros(len(sources), np.int64)
    for first in range(0, len(order), _OUT):
        group = order[first : first + _OUT]
        source = np.searchsorted(starts, group, side="right") - 1
        counts = np.bincount(source, minlength=len(sources))
        pieces = [part for one, number in zip(sources, counts, strict=True) if number for part in one.take(int(number))]
        place = (np.cumsum(counts) - counts)[source] + group - starts[source] - consumed[source]
        consumed += counts
        yield pa.concat_tables([_of(schema, piece) for piece in pieces]).combine_chunks().take(pa.array(place))


def _of(schema: pa.Schema, rows: pa.Table) -> pa.Table:
    """Rows in a schema that has all of their columns."""
    if rows.schema.equals(schema):
        return rows
    found = rows.schema.names
    columns = [
        rows.column(field.name) if field.name in found else pa.nulls(rows.num_rows, field.type) for field in schema
    ]
    return pa.table(columns, schema=schema)


def _order(keys: Sequence[Keys]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The order of all rows of the inputs, which are numbered on from one to the next, and the number of each one's first."""
    words = sorted({word for one in keys for word in one.words}, key=_nulls_last)
    ranks = {word: number for number, word in enumerate(words)}
    codes = [np.array([ranks[word] for word in one.words], np.int32)[one.codes] for one in keys]
    lengths = np.array([len(one.codes) for one in keys], np.int64)
    order = np.lexsort((np.concatenate([one.times for one in keys]), np.concatenate(codes)))
    return order, np.cumsum(lengths) - lengths
