"""Which names a pod was given for an address, so that a connection's row says by what name it was made.

Learned from the answers that the dissector read; kept by (network namespace, pod or container, address): what one pod asked for is
nobody else's. A name holds from its answer on for its time to live, at least LEAST seconds, since many programs keep an address for
longer than that. Bounded by addresses; the longest unheard goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from firsthand.wire.batch import Batch, Fixed, Lists, distinct_texts, rows_of, text

ADDRESSES = 32768
#: Seconds for which a name holds at least: Java keeps what it resolved for 30.
LEAST = 30
#: Names in a row, and names kept for one address.
NAMES, KEPT = 8, 16
_NS = 1_000_000_000
#: Answers that nobody asked for, or that are broken, teach nothing.
_DOUBTFUL = (b"UNASKED", b"MALFORMED", b"LOOP")

Key = tuple[int, bytes, bytes]


class KnownName(NamedTuple):
    """A name and when it held: ktime, ns."""

    name: bytes
    since: int
    until: int


class Resolved:
    """`learn` from batches of `name`, `fill` those of `connection`. `forgotten` counts addresses that had to go."""

    def __init__(self, most: int = ADDRESSES) -> None:
        self._known: OrderedDict[Key, list[KnownName]] = OrderedDict()
        self._most = most
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._known)

    def learn(self, batch: Batch) -> None:
        """Take in the answers that pods were given."""
        columns = cast("dict[str, Any]", batch.columns)
        lists: Lists = columns["addresses"]
        given = np.diff(lists.offsets) > 0
        for row in np.flatnonzero(given).tolist():
            if columns["direction"].row(row) == b"in" and columns["event"].row(row) == b"answer":
                self._learn(columns, row)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
            self.forgotten += 1

    def _learn(self, columns: dict[str, Any], row: int) -> None:
        marks, name = columns["marks"].row(row), columns["name"].row(row)
        if not name or any(word in marks for word in _DOUBTFUL):
            return
        since, ttl = int(columns["ktime"].values[row]), int(columns["ttl"].values[row])
        known = KnownName(name, since, since + max(ttl, LEAST) * _NS)
        whose = (int(columns["ns_net"].values[row]), _whose(columns, row))
        for address in columns["addresses"].row(row):
            key = (*whose, address)
            self._known[key] = _with(self._known.get(key, []), known)[:KEPT]
            self._known.move_to_end(key)

    def fill(self, batch: Batch) -> None:
        """`names` and `names_cut` of connections: the names that held when each began, the newest first."""
        codes, keys = self._keys(batch)
        order = np.argsort(codes, kind="stable")
        bounds = np.searchsorted(codes[order], np.arange(len(keys) + 1))
        began = _began(batch)
        sets: dict[tuple[bytes, ...], int] = {(): 0}
        found = np.zeros(batch.length, dtype=np.int64)
        for code, key in enumerate(keys):
            if (known := self._known.get(key)) is not None:
                rows = order[bounds[code] : bounds[code + 1]]
                found[rows] = _chosen(known, began[rows], sets)
        self._put(batch, found, list(sets))

    def _keys(self, batch: Batch) -> tuple[NDArray[Any], list[Key]]:
        """Codes of the rows into their distinct keys."""
        columns = cast("dict[str, Any]", batch.columns)
        spaces = columns["ns_net"].values.astype(np.int64)
        addresses, words = distinct_texts(columns["peer_address"])
        pods, uids = distinct_texts(columns["pod_uid"])
        containers, ids = distinct_texts(columns["container"])
        whole = np.stack([spaces, pods, np.where(_empty(uids)[pods], containers, -1), addresses], axis=1)
        different, codes = np.unique(whole, axis=0, return_inverse=True)
        keys = [(space, uids[p] or (ids[c] if c >= 0 else b""), words[a]) for space, p, c, a in different.tolist()]
        return codes.reshape(-1), keys

    @staticmethod
    def _put(batch: Batch, found: NDArray[np.int64], sets: list[tuple[bytes, ...]]) -> None:
        shown = [names[:NAMES] for names in sets]
        offsets = np.zeros(len(shown) + 1, dtype=np.int32)
        np.cumsum([len(names) for names in shown], out=offsets[1:])
        words = Lists(offsets, text([name for names in shown for name in names]))
        column = rows_of(words, found.astype(np.intp))
        valid = found > 0
        column.valid = None if valid.all() else valid
        cut = np.array([len(names) > NAMES for names in sets], dtype=np.uint8)
        batch.columns["names"] = column
        batch.columns["names_cut"] = Fixed(cut[found], None if valid.all() else valid)


def _whose(columns: dict[str, Any], row: int) -> bytes:
    """The pod, or the container where it is in none; empty on the host."""
    return bytes(columns["pod_uid"].row(row) or columns["container"].row(row))


def _with(before: list[KnownName], new: KnownName) -> list[KnownName]:
    """The newest first; where the name held already when it was given again that is one span, so that no connection loses it."""
    same = [one for one in before if one.name == new.name and one.since <= new.since <= one.until]
    others = [one for one in before if one not in same]
    since, until = min(one.since for one in (new, *same)), max(one.until for one in (new, *same))
    return [KnownName(new.name, since, until), *others]


def _began(batch: Batch) -> NDArray[np.int64]:
    """When each row's connection began (ktime): rows of its end tell how long it was; one of many has the first one's begin."""
    ktime = cast("Fixed", batch.columns["ktime"]).values.astype(np.int64)
    duration = batch.columns.get("duration")
    if not isinstance(duration, Fixed):
        return ktime
    known = np.ones(len(ktime), dtype=bool) if duration.valid is None else duration.valid
    counts = batch.columns.get("folded_count")
    if isinstance(counts, Fixed):
        known = known & ~(np.ones(len(ktime), dtype=bool) if counts.valid is None else counts.valid)
    return ktime - np.where(known, duration.values, 0)


def _chosen(known: list[KnownName], began: NDArray[np.int64], sets: dict[tuple[bytes, ...], int]) -> NDArray[np.int64]:
    """The set of names of each row, as its place in `sets`, which grows by the new ones."""
    held = np.stack([(began >= one.since) & (began < one.until) for one in known])
    ways, codes = np.unique(held, axis=1, return_inverse=True)
    places = []
    for way in ways.T.tolist():
        names = tuple(one.name for one, there in zip(known, way, strict=True) if there)
        places.append(sets.setdefault(names, len(sets)))
    return np.array(places, dtype=np.int64)[codes.reshape(-1)]


def _empty(words: list[bytes]) -> NDArray[np.bool_]:
    return np.array([not word for word in words], dtype=bool)
