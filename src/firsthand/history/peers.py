"""Who was the other end of a connection: the pod, container, service or node that held its address at that moment.

Rows of `pod`, `container` and `address` tell who held what. One rule, here for what the keeper freezes into segments, and in
`peers_sql.py` for the view:

* An address is somebody's from `addresses_since` (a container's: `started`) to the end that its runtime tells, or to the removal of
  its cgroup, which the kernel tells, whichever is first; without an end, for a day after the last row, since each day tells all that live.
* In one network (all pods of Kubernetes; else what one runtime tells) it has one holder: the later one takes it over.
* What a node holds is the node's, also where pods share the host's network.
* Only what was told on the same machine in the same boot counts. Where two may be meant, none is.

A row's moment is its own time; of a `close`, the time at which the connection began.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from firsthand.history.telling import BELIEVED as BELIEVED
from firsthand.history.telling import FOREVER as FOREVER
from firsthand.history.telling import HELD as HELD
from firsthand.history.telling import KUBERNETES as KUBERNETES
from firsthand.history.telling import MACHINE as MACHINE
from firsthand.history.telling import PEERS as COLUMNS
from firsthand.history.telling import TABLES as TABLES
from firsthand.history.telling import TELLING as TELLING
from firsthand.identity import address

#: Holders that are remembered, and ends of one container (it may be started again).
MOST, MOST_RUNS = 65_536, 16
_EPOCH = datetime(1970, 1, 1)

Key = tuple[str | None, str | None, str]
Words = tuple[str | None, ...]


@dataclass(frozen=True)
class AddressHolder:
    """Somebody who held an address from `begin` to before `end` (microseconds). Not `sure`: it may have been later; `open`: no end
    was told, so `end` is how long it is believed.

    `identity` is the same for all that tell of the same one; `words` are those of COLUMNS.
    """

    network: str
    identity: str
    words: Words
    begin: int
    end: int
    sure: bool = True
    open: bool = False

    @property
    def kind(self) -> str:
        """One of HELD."""
        return str(self.words[0])


@dataclass
class _Life:
    """What was told of one holder so far; the newest word counts."""

    told: int = -1
    since: int = FOREVER
    began: int | None = None
    until: int | None = None
    addresses: Sequence[str] = ()
    socket: str = ""
    host: bool = False
    identity: str = ""
    words: Words = ()


@dataclass
class Peers:
    """Holders by address, those of which was heard least recently the first to go."""

    most: int = MOST
    _lives: OrderedDict[tuple[Any, ...], _Life] = field(default_factory=OrderedDict)
    _removed: OrderedDict[tuple[Any, ...], list[int]] = field(default_factory=OrderedDict)
    _at: dict[Key, dict[tuple[Any, ...], None]] = field(default_factory=dict)
    _spans: dict[Key, tuple[list[int], list[Words | None]]] = field(default_factory=dict)

    def learn(self, table: str, rows: pa.Table) -> None:
        """Take in rows of TABLES; the rows of `container` may be the kernel's as well."""
        if table not in TABLES or not rows.num_rows:
            return
        self._spans.clear()
        if table == "container":
            self._learn_removed(rows)
        for row in _telling(table, rows):
            self._learn(*_LIVES[table](row), row)
        while len(self._lives) > self.most:
            self._forget(*self._lives.popitem(last=False))

    def _learn_removed(self, rows: pa.Table) -> None:
        found = rows.filter(pc.and_(pc.equal(rows["event"], "remove"), rows["container"].is_valid()))
        for row in found.select(["node", "boot", "container", "time", "cgroup_path"]).to_pylist():
            if row["container"] in (row["cgroup_path"] or "").rstrip("/").rpartition("/")[2]:
                key = (row["node"], row["boot"], row["container"])
                self._removed[key] = [*self._removed.get(key, ())[-MOST_RUNS:], _micro(row["time"]) or 0]
                self._removed.move_to_end(key)
        while len(self._removed) > self.most:
            self._removed.popitem(last=False)

    def _learn(self, key: tuple[Any, ...], life: _Life, row: dict[str, Any]) -> None:
        known = self._lives.get(key)
        if known is not None:
            life = _newer(known, life)
        self._lives[key] = life
        self._lives.move_to_end(key)
        for one in life.addresses:
            self._at.setdefault((row["node"], row["boot"], one), {})[key] = None

    def _forget(self, key: tuple[Any, ...], life: _Life) -> None:
        for one in life.addresses:
            at = (key[1], key[2], one)
            self._at.get(at, {}).pop(key, None)
            if not self._at.get(at, True):
                del self._at[at]

    def holders(self, key: Key) -> list[AddressHolder]:
        """Everybody who held an address on a node in a boot, as told: spans may overlap."""
        lives = [(known, self._lives[known]) for known in self._at.get(key, ())]
        return [self._holder(known, life) for known, life in lives if key[2] in life.addresses]

    def _holder(self, key: tuple[Any, ...], life: _Life) -> AddressHolder:
        begin = life.since if life.began is None else life.began
        ends = [moment for moment in self._removed.get(key[1:4], ()) if moment >= begin]
        ends += [] if life.until is None else [life.until]
        end = min([*ends, life.told + BELIEVED])
        return _named(
            AddressHolder(life.socket, life.identity, life.words, begin, end, life.began is not None, not ends),
            life,
            key[1],
        )

    def of(self, key: Key, moment: int) -> Words | None:
        """The words of the one who held an address at a moment (microseconds); None where that is not known."""
        begins, words = self._of(key)
        found = bisect_right(begins, moment) - 1
        return words[found] if found >= 0 else None

    def _of(self, key: Key) -> tuple[list[int], list[Words | None]]:
        if key not in self._spans:
            self._spans[key] = spans(self.holders(key))
        return self._spans[key]

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


def _named(one: AddressHolder, life: _Life, node: str) -> AddressHolder:
    """With its network, and a pod in the host's network as what it is there: the node."""
    if life.host:
        return replace(one, network=MACHINE, identity=f"node {node}", words=("node", None, None, None, node))
    if one.kind == "pod" and one.words[2] is not None:
        return replace(one, network=KUBERNETES)
    return replace(one, network=MACHINE) if one.kind == "node" else one


def spans(holders: Iterable[AddressHolder]) -> tuple[list[int], list[Words | None]]:
    """From when on (microseconds, rising) an address was whose; None where nobody's, or where two may be meant."""
    cut = taken_over(list(holders))
    edges = sorted({edge for one in cut for edge in (one.begin, one.end)})
    return edges, [_meant([one for one in cut if one.begin <= edge < one.end]) for edge in edges]


def taken_over(holders: Sequence[AddressHolder]) -> list[AddressHolder]:
    """Each one ends where the next one of its network surely begins."""
    found = []
    for one in holders:
        next_ones = [o.begin for o in holders if o.network == one.network and o.sure and o.begin > one.begin]
        end = min([one.end, *next_ones])
        found.append(replace(one, end=end, open=one.open and end == one.end))
    return found


def meant(holders: Iterable[AddressHolder], moment: int) -> list[AddressHolder]:
    """Those who may be meant at a moment: one, or several where it is not certain."""
    there = [one for one in taken_over(list(holders)) if one.begin <= moment < one.end]
    nodes = [one for one in there if one.kind == "node"]
    return list({one.identity: one for one in nodes or there}.values())


def _meant(there: list[AddressHolder]) -> Words | None:
    chosen = [one for one in there if one.kind == "node"] or there
    return chosen[0].words if len({one.identity for one in chosen}) == 1 else None


def _newer(known: _Life, life: _Life) -> _Life:
    """Both words on one holder: the newer one's, where it has one."""
    old, new = (known, life) if life.told >= known.told else (life, known)
    return replace(
        new,
        since=min(old.since, new.since),
        began=old.began if new.began is None else new.began,
        host=old.host or new.host,
        socket=new.socket or old.socket,
        addresses=new.addresses or old.addresses,
        words=tuple(b if a is None else a for a, b in zip(new.words, old.words, strict=True)),
    )


def _telling(table: str, rows: pa.Table) -> list[dict[str, Any]]:
    """The rows that tell of a holder, the oldest first."""
    found = rows if table == "address" else rows.filter(pc.is_in(rows["event"], pa.array(TELLING)))
    if table == "container":
        addressed = pc.greater(pc.coalesce(pc.list_value_length(found["addresses"]), 0), 0)
        found = found.filter(pc.and_(found["pod_uid"].is_null(), addressed))
    return list(found.select(_READ[table]).sort_by("time").to_pylist())


_COMMON = ["node", "boot", "time", "container", "namespace", "workload", "since", "until"]
_READ = {
    "pod": [*_COMMON, "pod", "pod_uid", "socket", "host_network", "addresses", "addresses_since"],
    "container": [*_COMMON, "container_name", "socket", "host_network", "addresses", "started", "finished"],
    "address": [*_COMMON, "kind", "address", "name", "source"],
}


def _of_pod(row: dict[str, Any]) -> tuple[tuple[Any, ...], _Life]:
    key = ("pod", row["node"], row["boot"], row["container"] or row["pod_uid"])
    words = ("pod", row["pod"], row["namespace"], row["workload"], None)
    life = _life(row, row["socket"], f"pod {row['pod_uid'] or row['pod']}", words)
    life.began, life.addresses = _micro(row["addresses_since"]), row["addresses"] or ()
    life.host = bool(row["host_network"])
    return key, life


def _of_container(row: dict[str, Any]) -> tuple[tuple[Any, ...], _Life]:
    key = ("container", row["node"], row["boot"], row["container"], row["started"])
    words = ("container", None, row["namespace"], row["workload"], row["container_name"])
    life = _life(row, row["socket"], f"container {row['container']}", words)
    life.began, life.addresses = _micro(row["started"]), () if row["host_network"] else row["addresses"]
    finished = _micro(row["finished"])
    if finished is not None and finished >= (life.began or 0):
        life.until = finished
    return key, life


def _of_address(row: dict[str, Any]) -> tuple[tuple[Any, ...], _Life]:
    key = (
        "address",
        row["node"],
        row["boot"],
        row["kind"],
        row["namespace"],
        row["name"],
        row["address"],
        row["since"],
    )
    service = f"{row['namespace']}/Service/{row['name']}" if row["kind"] == "service" else None
    words = (row["kind"], None, row["namespace"], service, None if service else row["name"])
    life = _life(row, row["source"], f"{row['kind']} {service or row['name']}", words)
    life.began, life.addresses = _micro(row["since"]), (row["address"],)
    return key, life


_LIVES = {"pod": _of_pod, "container": _of_container, "address": _of_address}


def _life(row: dict[str, Any], socket: str | None, identity: str, words: Words) -> _Life:
    time = _micro(row["time"]) or 0
    since = _micro(row["since"])
    start = time if since is None else since
    return _Life(time, start, until=_micro(row["until"]), socket=socket or "", identity=identity, words=words)


def _micro(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // timedelta(microseconds=1)


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
