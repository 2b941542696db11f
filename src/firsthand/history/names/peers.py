"""Who was the other end of a connection: the pod, container, service or node that held its address at that moment.

Rows of `pod`, `container` and `address` tell who held what. One rule, here for what the keeper freezes into segments, and in
`peers_sql.py` for the view:

* An address is somebody's from `addresses_since` (a container's: `started`) to the end that its runtime tells, or to the removal of
  its cgroup, which the kernel tells, whichever is first; without an end, for a day after the last row, since each day tells all that live.
* In one network (all pods of Kubernetes; else what one runtime tells) it has one holder: the later one takes it over.
* What a node holds is the node's, also where pods share the host's network.
* Only reports of the same machine and the same boot count. If an address can have two holders at a moment, no holder is named.

A row's moment is its own time; of a `close`, the time at which the connection began.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from firsthand.history.names.addresses import MOST as MOST
from firsthand.history.names.addresses import READ, Addresses, Key, Words
from firsthand.history.names.addresses import AddressHolder as AddressHolder
from firsthand.history.names.addresses import meant as meant
from firsthand.history.names.addresses import spans as spans
from firsthand.history.names.addresses import taken_over as taken_over
from firsthand.history.names.telling import BELIEVED as BELIEVED
from firsthand.history.names.telling import FOREVER as FOREVER
from firsthand.history.names.telling import HELD as HELD
from firsthand.history.names.telling import KUBERNETES as KUBERNETES
from firsthand.history.names.telling import MACHINE as MACHINE
from firsthand.history.names.telling import PEERS as COLUMNS
from firsthand.history.names.telling import TABLES as TABLES
from firsthand.history.names.telling import TELLING as TELLING
from firsthand.identity import address


class Peers(Addresses):
    """The same from rows of PyArrow, and what it says of the peers of connections."""

    def learn(self, table: str, rows: pa.Table) -> None:
        """Take in rows of TABLES; the rows of `container` may be the kernel's as well."""
        if table in TABLES and rows.num_rows:
            self._take(table, _removing(rows) if table == "container" else (), _telling(table, rows))

    def freeze(self, rows: pa.Table) -> pa.Table:
        """Rows of `connection` with what is known of their peers; others stay as they are."""
        if "peer_kind" not in rows.column_names or not rows.num_rows:
            return rows
        rows = _complete(rows)
        addresses = pc.coalesce(rows["nat_address"], rows["peer_address"])
        words, index = self._words(rows, addresses)
        taken = pc.is_in(rows["peer_kind"], pa.array(HELD))
        told = pa.array(index >= 0)
        for place, name in enumerate(COLUMNS):
            found = pa.chunked_array([pa.array([word[place] for word in words], pa.string()).take(_places(index))])
            other = pc.coalesce(rows[name], _classes(addresses)) if place == 0 else rows[name]
            column = pc.if_else(taken.combine_chunks(), rows[name], pc.if_else(told, found, other))
            rows = rows.set_column(rows.schema.get_field_index(name), name, column)
        return rows

    def _words(self, rows: pa.Table, addresses: Any) -> tuple[list[Words], NDArray[np.int64]]:
        """The different words of these rows, and for each row which; -1 where nobody is known."""
        keys = [rows["node"], rows["boot"], addresses]
        text = pc.binary_join_element_wise(*(column.cast(pa.string()) for column in keys), "\0")
        codes = text.combine_chunks().dictionary_encode()
        index = np.full(rows.num_rows, -1, dtype=np.int64)
        words: dict[Words, int] = {}
        places = [i for i, key in enumerate(codes.dictionary.to_pylist()) if self._known(key)]
        if places:
            numbers = codes.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            moments = _moments(rows)
            for place in places:
                self._fill(
                    _key(codes.dictionary[place].as_py()), np.flatnonzero(numbers == place), moments, words, index
                )
        return list(words), index

    def _known(self, key: str) -> bool:
        return _key(key) in self._at

    def _fill(
        self, key: Key, rows: NDArray[Any], moments: NDArray[Any], words: dict[Words, int], index: NDArray[np.int64]
    ) -> None:
        begins, holders = self._of(key)
        found = np.searchsorted(np.array(begins, dtype=np.int64), moments[rows], side="right") - 1
        numbers = [-1 if one is None else words.setdefault(one, len(words)) for one in holders]
        index[rows] = np.array([*numbers, -1], dtype=np.int64)[
            found
        ]  # -1, before the first, is the one behind the last


def _removing(rows: pa.Table) -> list[dict[str, Any]]:
    """The kernel's words on containers that are gone."""
    found = rows.filter(pc.and_(pc.equal(rows["event"], "remove"), rows["container"].is_valid()))
    return list(found.select(["node", "boot", "container", "time", "cgroup_path"]).to_pylist())


def _telling(table: str, rows: pa.Table) -> list[dict[str, Any]]:
    """The rows that tell of a holder, the oldest first."""
    found = rows if table == "address" else rows.filter(pc.is_in(rows["event"], pa.array(TELLING)))
    if table == "container":
        addressed = pc.greater(pc.coalesce(pc.list_value_length(found["addresses"]), 0), 0)
        found = found.filter(pc.and_(found["pod_uid"].is_null(), addressed))
    return list(found.select(READ[table]).sort_by("time").to_pylist())


def _key(text: str) -> Key:
    node, boot, one = text.split("\0")
    return node, boot, one


def _complete(rows: pa.Table) -> pa.Table:
    """Rows of an older segment may lack a column that is filled."""
    for name in COLUMNS:
        if name not in rows.column_names:
            rows = rows.append_column(name, pa.nulls(rows.num_rows, pa.string()))
    return rows


def _moments(rows: pa.Table) -> NDArray[Any]:
    """At which moment (microseconds) it is asked for each row's peer."""
    times = rows["time"].cast(pa.int64()).fill_null(0).to_numpy()
    before = rows["duration"].fill_null(0).to_numpy() // 1000
    closes = pc.fill_null(pc.equal(rows["event"], "close"), False).to_numpy()
    moments: NDArray[Any] = times - np.where(closes, before, 0)
    return moments


def _classes(addresses: Any) -> Any:
    """What each address is by itself."""
    codes = addresses.combine_chunks().dictionary_encode()
    return pa.chunked_array(
        [pa.array([address.kind(one) for one in codes.dictionary.to_pylist()], pa.string()).take(codes.indices)]
    )


def _places(index: NDArray[np.int64]) -> Any:
    return pa.array(index, pa.int64(), mask=index < 0)
