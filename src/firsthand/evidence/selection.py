"""Which rows belong to a question: the same from the history and from a bundle's own sources. Where that changes, documents.VERSION does.

window    rows of the question's time and pods
lineage   the beginnings of what these came from: images before an exec, parents and theirs (lineage.py)
names     what the runtimes told of the containers and pods of all these
record    what says whether the window was observed in whole: rows of `observer`, `loss` and `clock`
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from firsthand.evidence import lineage, sessions
from firsthand.evidence.question import FOLD, BundleQuestion, among, within
from firsthand.evidence.sources import RowSource
from firsthand.history.log import arrow
from firsthand.history.names import telling
from firsthand.history.names.names import Names
from firsthand.history.store.segment import LOG_POSITION
from firsthand.schema.tables import KEPT

WINDOW, LINEAGE, NAMES, RECORD = WHY = ("window", "lineage", "names", "record")
NAMED, _RECORDS = ("container", "pod"), ("observer", "loss", "clock")
SUBJECTS = tuple(table for table in KEPT if table not in (*NAMED, *_RECORDS))
_MINUTE = 60_000_000
_HOUR = 60 * _MINUTE
#: Names of what lived in the window were told within this time of it: each day's rows tell all that live.
BEFORE, AFTER = 25 * _HOUR, 24 * _HOUR
#: A sample of the clocks is taken each minute.
CLOCK = 2 * _MINUTE
_MOST_NAMES = 1 << 20
#: By which a name is put where its id does not say so.
_PLACE = {"container": ("cgroup_path", "users")}
#: Of the columns by which names are ordered: the first one, and a list, which has no order.
_UNSORTED = ("time", "users")
_WHOSE = ("time", "node", "pod_uid", *("container", *telling.NAMES))

Rows = NDArray[np.int64]
#: The columns that rows have behind their table's own in a bundle.
PLACE = (
    pa.field(LOG_POSITION.name, pa.int64()),
    pa.field("source", pa.string()),
    pa.field("source_row", pa.int64()),
    pa.field("why", pa.string()),
)


def schema(table: str) -> pa.Schema:
    """A table's rows as they stand in a bundle: its columns, and the place of each row (PLACE)."""
    return pa.schema([*arrow.schema(table), *PLACE])


@dataclass
class Selection:
    """The numbers of the rows that were chosen, rising, and why, by table and source; the names that rows get."""

    names: Names = field(default_factory=lambda: Names(_MOST_NAMES))
    _found: dict[tuple[str, str], dict[str, list[Rows]]] = field(default_factory=dict)

    def add(self, table: str, source: str, why: str, rows: Rows) -> None:
        """Take rows in."""
        if len(rows):
            self._found.setdefault((table, source), {}).setdefault(why, []).append(rows)

    def of(self, table: str, source: str) -> tuple[Rows, NDArray[np.int64]]:
        """The rows of a source, and for each the place in WHY: the first that applies."""
        chosen = self._found.get((table, source), {})
        rows, places = np.array([], np.int64), np.array([], np.int64)
        for place, why in enumerate(WHY):
            more = np.unique(np.concatenate([np.array([], np.int64), *chosen.get(why, [])]))
            more = more[~np.isin(more, rows)]
            rows, places = np.concatenate([rows, more]), np.concatenate([places, np.full(len(more), place)])
        order = np.argsort(rows)
        return rows[order], places[order]

    @property
    def sources(self) -> set[str]:
        """The sources of which any row was chosen."""
        return {source for _, source in self._found}

    @property
    def tables(self) -> list[str]:
        """The tables of which any row was chosen."""
        return sorted({table for table, _ in self._found})

    def rows(self, table: str, source: RowSource) -> pa.Table:
        """The chosen rows of a source as they stand in a bundle: whole, with the names that came later, and their place."""
        wanted, why = self.of(table, source.name)
        parts = [schema(table).empty_table()]
        for first, rows in source.rows(table):
            low, high = np.searchsorted(wanted, [first, first + rows.num_rows])
            if low < high:
                taken = self.names.freeze(rows.take(pa.array(wanted[low:high] - first)))
                parts.append(_placed(table, taken, source.name, wanted[low:high], why[low:high]))
        return pa.concat_tables(parts)


def _placed(table: str, rows: pa.Table, source: str, numbers: Rows, why: NDArray[np.int64]) -> pa.Table:
    place = [pa.repeat(pa.scalar(source), rows.num_rows), pa.array(numbers), pa.array(WHY).take(pa.array(why))]
    return pa.table([*rows.columns, *place], schema=schema(table))


@dataclass
class _Concerned:
    """Containers and pods of the chosen rows."""

    containers: set[str] = field(default_factory=set)
    pods: set[str] = field(default_factory=set)

    def add(self, rows: pa.Table) -> None:
        for name, known in (("container", self.containers), ("pod_uid", self.pods)):
            if name in rows.column_names:
                known.update(value for value in pc.unique(rows[name]).to_pylist() if value is not None)

    def takes(self, rows: pa.Table) -> Any:
        of_containers = among(rows, ("container",), sorted(self.containers))
        return pc.or_(of_containers, among(rows, ("pod_uid",), sorted(self.pods)))


def select(sources: Sequence[RowSource], question: BundleQuestion) -> Selection:
    """The rows of these sources that belong to a question. DamagedError where a source cannot be read."""
    found = Selection()
    _learn(sources, question, found.names)
    concerned, images = _Concerned(), lineage.ImageColumns()
    for table in SUBJECTS:
        _subject(sources, question, table, found, concerned, images)
    _came_from(sources, question, found, concerned, images)
    for table in NAMED:
        _told(sources, question, table, found, concerned)
    _pick(sources, "loss", ("time", "node", "since", "until"), found, lambda rows: _missing(rows, question))
    _pick(sources, "clock", ("time", "node"), found, lambda rows: _sampled(rows, question))
    for row in sessions.choose(sources, question):
        found.add(sessions.TABLE, row.source, RECORD, np.array([row.number]))
    return found


def _near(sources: Iterable[RowSource], table: str, since: int, until: int) -> Iterator[RowSource]:
    """The sources that may have rows of a table between two moments."""
    for source in sources:
        span = source.span or (since, until)
        if table in source.tables and span[1] >= since and span[0] <= until:
            yield source


def _learn(sources: Sequence[RowSource], question: BundleQuestion, known: Names) -> None:
    """The names that were told near the window, in one order whatever file they stand in."""
    since, until = question.since - BEFORE, question.until + AFTER
    for table in NAMED:
        columns = ("event", "container", "pod_uid", "since", "time", *telling.NAMES, *_PLACE.get(table, ()))
        parts = [arrow.narrow(table, arrow.schema(table).empty_table(), columns)]
        for source in _near(sources, table, since, until):
            parts += [rows.filter(_telling(rows, since, until)) for _, rows in source.rows(table, columns)]
        told = pa.concat_tables(parts)
        known.learn(
            table,
            told.sort_by([("time", "ascending"), *((n, "ascending") for n in told.column_names if n not in _UNSORTED)]),
            peers=False,
        )


def _telling(rows: pa.Table, since: int, until: int) -> Any:
    return pc.and_(within(rows["time"], since, until), among(rows, ("event",), telling.TELLING))


def _subject(
    sources: Sequence[RowSource],
    question: BundleQuestion,
    table: str,
    found: Selection,
    concerned: _Concerned,
    images: lineage.ImageColumns,
) -> None:
    """The rows of the window, whose they are, and which images they name."""
    folds = [name for name in ("folded_until",) if name in KEPT[table].names]
    for source in _near(sources, table, question.since - (FOLD if folds else 0), question.until):
        for first, rows in source.rows(table, (*_WHOSE, *lineage.COLUMNS, *folds)):
            rows = found.names.freeze(rows)
            mask = question.takes(rows)
            found.add(table, source.name, WINDOW, first + _where(mask))
            chosen = rows.filter(mask)
            concerned.add(chosen)
            images.add(chosen)


def _came_from(
    sources: Sequence[RowSource],
    question: BundleQuestion,
    found: Selection,
    concerned: _Concerned,
    images: lineage.ImageColumns,
) -> None:
    """The lineage, and whose that is."""
    before = lineage.follow(sources, images, question.until)
    for source in sources:
        if (wanted := before.get(source.name)) is None:
            continue
        found.add(lineage.TABLE, source.name, LINEAGE, wanted)
        for first, rows in source.rows(lineage.TABLE, ("container", "pod_uid")):
            low, high = np.searchsorted(wanted, [first, first + rows.num_rows])
            concerned.add(rows.take(pa.array(wanted[low:high] - first)))


def _told(
    sources: Sequence[RowSource], question: BundleQuestion, table: str, found: Selection, concerned: _Concerned
) -> None:
    """Rows of the window's containers and pods, and those that name what the chosen rows are of."""
    since, until = question.since - BEFORE, question.until + AFTER
    for source in _near(sources, table, since, until):
        for first, rows in source.rows(table, _WHOSE):
            rows = found.names.freeze(rows)
            found.add(table, source.name, WINDOW, first + _where(question.takes(rows)))
            near = pc.and_(within(rows["time"], since, until), concerned.takes(rows))
            found.add(table, source.name, NAMES, first + _where(near))


def _pick(
    sources: Sequence[RowSource], table: str, columns: Sequence[str], found: Selection, mask: Callable[[pa.Table], Any]
) -> None:
    for source in sources:
        for first, rows in source.rows(table, columns):
            found.add(table, source.name, RECORD, first + _where(mask(rows)))


def _where(mask: Any) -> Rows:
    numbers: Rows = pc.indices_nonzero(pc.fill_null(mask, False)).to_numpy().astype(np.int64)
    return numbers


def _of_node(rows: pa.Table, question: BundleQuestion) -> Any:
    mask: Any = pa.chunked_array([pa.repeat(True, rows.num_rows)])
    return mask if question.node is None else among(rows, ("node",), [question.node])


def _missing(rows: pa.Table, question: BundleQuestion) -> Any:
    """Losses whose time touches the window; an end that is not known lies anywhere."""
    since, until = (rows[name].cast(pa.int64()) for name in ("since", "until"))
    begun = pc.fill_null(pc.less_equal(since, question.until), True)
    ended = pc.fill_null(pc.greater_equal(until, question.since), True)
    told = within(rows["time"], question.since, question.until)
    return pc.and_(_of_node(rows, question), pc.or_(told, pc.and_(begun, ended)))


def _sampled(rows: pa.Table, question: BundleQuestion) -> Any:
    return pc.and_(_of_node(rows, question), within(rows["time"], question.since - CLOCK, question.until + CLOCK))
