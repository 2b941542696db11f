"""Who held which address, by what `pod`, `container` and `address` tell: the spans of the rule of peers.py, from rows as Python has them."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from firsthand.history.names.telling import BELIEVED, FOREVER, KUBERNETES, MACHINE, TABLES, TELLING

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
class Addresses:
    """Holders by address, those of which was heard least recently the first to go."""

    most: int = MOST
    _lives: OrderedDict[tuple[Any, ...], _Life] = field(default_factory=OrderedDict)
    _removed: OrderedDict[tuple[Any, ...], list[int]] = field(default_factory=OrderedDict)
    _at: dict[Key, dict[tuple[Any, ...], None]] = field(default_factory=dict)
    _spans: dict[Key, tuple[list[int], list[Words | None]]] = field(default_factory=dict)

    def learn_rows(self, table: str, rows: Sequence[dict[str, Any]]) -> None:
        """Take in rows of TABLES that have its READ, the kernel's of `container` among them: in any order, all that are held."""
        if table not in TABLES or not rows:
            return
        removed = [row for row in rows if row["event"] == "remove" and row["container"]] if table == "container" else []
        telling = [row for row in rows if table == "address" or row["event"] in TELLING]
        if table == "container":
            telling = [row for row in telling if row["pod_uid"] is None and row["addresses"]]
        self._take(table, removed, sorted(telling, key=lambda row: row["time"] or _EPOCH))

    def _take(self, table: str, removed: Iterable[dict[str, Any]], telling: Iterable[dict[str, Any]]) -> None:
        """The kernel's words on containers that are gone, and the rows that tell of a holder, the oldest first."""
        self._spans.clear()
        for row in removed:
            self._remove(row)
        for row in telling:
            self._learn(*_LIVES[table](row), row)
        while len(self._removed) > self.most:
            self._removed.popitem(last=False)
        while len(self._lives) > self.most:
            self._forget(*self._lives.popitem(last=False))

    def _remove(self, row: dict[str, Any]) -> None:
        if row["container"] in (row["cgroup_path"] or "").rstrip("/").rpartition("/")[2]:
            key = (row["node"], row["boot"], row["container"])
            self._removed[key] = [*self._removed.get(key, ())[-MOST_RUNS:], _micro(row["time"]) or 0]
            self._removed.move_to_end(key)

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


_COMMON = ["node", "boot", "event", "time", "container", "namespace", "workload", "since", "until"]
#: The columns that rows of each table are read by.
READ = {
    "pod": [*_COMMON, "pod", "pod_uid", "socket", "host_network", "addresses", "addresses_since"],
    "container": [
        *_COMMON,
        "pod_uid",
        "cgroup_path",
        "container_name",
        "socket",
        "host_network",
        "addresses",
        "started",
        "finished",
    ],
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
