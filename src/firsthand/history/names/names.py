"""Names of containers and pods, put into rows: frozen when the log becomes a segment, and again at compaction.

A container's id is never used again by a runtime; where one is after all (a tool that lets the user choose), the row's own time
decides between the two. What is not known stays null, and is counted.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from firsthand.history.names.peers import Peers
from firsthand.history.names.telling import CONFIRMED, CONTRADICTED
from firsthand.history.names.telling import NAMES as COLUMNS
from firsthand.history.names.telling import TABLES as TABLES
from firsthand.history.names.telling import TELLING as TELLING
from firsthand.identity import claims, container

MOST = 65_536
_EPOCH = datetime(1970, 1, 1)

Words = tuple[str | None, ...]


@dataclass(frozen=True)
class Name:
    """One name of one id: from `since` on (microseconds), as told at `told`."""

    since: int
    told: int
    words: Words


class Names:
    """Names by container id and by pod uid, the least recently told first to go; and the peers of connections."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self.peers = Peers(most)
        self._containers: OrderedDict[str, tuple[Name, ...]] = OrderedDict()
        self._pods: OrderedDict[str, Words] = OrderedDict()
        self._places: OrderedDict[str, str] = OrderedDict()
        self._where: OrderedDict[str, set[str]] = OrderedDict()
        self._pod_folders: OrderedDict[str, set[str]] = OrderedDict()
        self._against: OrderedDict[str, str] = OrderedDict()
        self._users: OrderedDict[str, dict[str, str]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._containers)

    def learn(self, table: str, rows: pa.Table, *, peers: bool = True) -> set[str]:
        """Take in rows of TABLES; the container ids that were told. Those of `container` may be the kernel's as well.

        Without `peers` not who held an address: that needs all columns, and rows of long before.
        """
        if peers:
            self.peers.learn(table, rows)
        if table not in ("container", "pod"):
            return set()
        told = rows.filter(pc.is_in(rows["event"], pa.array(TELLING)))
        if table == "pod":
            return self._learn_pods(told)
        found: set[str] = set()
        for row in told.select(["container", "since", "time", "cgroup_path", "users", *COLUMNS]).to_pylist():
            if row["container"]:
                self._add(row["container"], _name(row))
                self._placed(row["container"], row["cgroup_path"])
                self._confirmed(row["container"], row["cgroup_path"])
                if row["users"]:
                    self._users[row["container"]] = dict(one.split("=", 1) for one in row["users"])
                    self._users.move_to_end(row["container"])
                found.add(row["container"])
        found |= self._learn_verdicts(rows)
        for one in (self._containers, self._places, self._where, self._pod_folders, self._against, self._users):
            self._bound(one)
        return found

    def _learn_verdicts(self, rows: pa.Table) -> set[str]:
        """Which cgroups are the containers that their paths name, and which are not; the newest word stands."""
        found = set()
        verdicts = rows.filter(pc.is_in(rows["event"], pa.array([CONFIRMED, CONTRADICTED])))
        for row in verdicts.select(["container", "event", "cgroup_path"]).to_pylist():
            if row["event"] == CONFIRMED:
                self._confirmed(row["container"], row["cgroup_path"])
                self._against.pop(row["cgroup_path"], None)
            else:
                self._against[row["cgroup_path"]] = row["container"]
            found.add(row["container"])
        return found

    def _confirmed(self, identity: str, path: str | None) -> None:
        """Where a runtime has a container, and with it the folder of its pod."""
        if not path:
            return
        self._where.setdefault(identity, set()).add(path.rstrip("/"))
        self._where.move_to_end(identity)
        folder, uid = claims.pod_folder(path.rstrip("/")), container.parse(path).pod_uid
        if folder and uid:
            self._pod_folders.setdefault(uid, set()).add(folder)
            self._pod_folders.move_to_end(uid)

    def _placed(self, identity: str, path: str | None) -> None:
        """Where a container is whose id its cgroup's path does not have."""
        if path and container.parse(path).container is None:
            self._places[path] = identity
            self._places.move_to_end(path)

    def _learn_pods(self, rows: pa.Table) -> set[str]:
        for row in rows.select(["pod_uid", *COLUMNS[:4]]).to_pylist():
            if row["pod_uid"]:
                words = tuple(row[name] for name in COLUMNS[:4])
                self._pods[row["pod_uid"]] = (*words, None, None)
                self._pods.move_to_end(row["pod_uid"])
        self._bound(self._pods)
        return set()

    def _bound(self, table: OrderedDict[str, Any]) -> None:
        while len(table) > self._most:
            table.popitem(last=False)

    def _add(self, identity: str, name: Name) -> None:
        others = tuple(one for one in self._containers.get(identity, ()) if one.since != name.since)
        same = [one for one in self._containers.get(identity, ()) if one.since == name.since]
        if same and same[0].told > name.told:
            return
        if same:  # a word that a later row lacks is not taken back
            name = Name(
                name.since,
                name.told,
                tuple(a if a is not None else b for a, b in zip(name.words, same[0].words, strict=True)),
            )
        self._containers[identity] = tuple(sorted((*others, name), key=lambda one: one.since))
        self._containers.move_to_end(identity)

    def of(self, identity: str, time: int | None = None) -> Words | None:
        """The words of a container at a moment (None: the newest); None where nothing is known."""
        names = self._containers.get(identity)
        if not names:
            return None
        if time is None:
            return names[-1].words
        return next((name.words for name in reversed(names) if name.since <= time), names[0].words)

    def user(self, identity: str, number: int) -> str | None:
        """What a container says of a user, by its number on the machine."""
        return self._users.get(identity, {}).get(str(number))

    def of_pod(self, uid: str) -> Words | None:
        """The words of a pod by its uid."""
        return self._pods.get(uid)

    def freeze(self, rows: pa.Table) -> pa.Table:
        """The rows with what is known now put where nothing stands. A table without `container` stays as it is."""
        if not {"container", "pod", "time"} <= set(rows.column_names) or not rows.num_rows:
            return rows
        return self.peers.freeze(self._judged(self._named(self._located(rows))))

    def _judged(self, rows: pa.Table) -> pa.Table:
        """The rows with `claimed` false where a runtime has their container, or one of their pod, in their cgroup."""
        if "claimed" not in rows.column_names or "cgroup_path" not in rows.column_names:
            return rows
        paths = rows["cgroup_path"].combine_chunks().dictionary_encode()
        here = pa.array([self.confirms(path) for path in paths.dictionary.to_pylist()], pa.bool_())
        if not pc.any(here).as_py():
            return rows
        confirmed = pc.fill_null(pa.chunked_array([here.take(paths.indices)]), False)
        told = pc.if_else(confirmed, False, rows["claimed"])
        return rows.set_column(rows.schema.get_field_index("claimed"), "claimed", told)

    def confirms(self, path: str | None) -> bool:
        """Whether a runtime has the container or pod that a cgroup's path names in this cgroup, or in one above it."""
        path = (path or "").rstrip("/")
        if not path or self.contradicts(path):
            return False
        named = container.parse(path)
        if named.container is not None:
            return any(claims.within(path, place) for place in self._where.get(named.container, ()))
        if named.pod_uid is not None:
            return any(claims.within(path, folder) for folder in self._pod_folders.get(named.pod_uid, ()))
        return self.at(path) is not None

    def contradicts(self, path: str | None) -> bool:
        """Whether a runtime has the container that a cgroup's path names elsewhere."""
        if not self._against:
            return False
        path = (path or "").rstrip("/")
        while path and path not in self._against:
            path = path.rpartition("/")[0]
        return bool(path)

    def _located(self, rows: pa.Table) -> pa.Table:
        """The rows with the container of which a runtime told that it is in their cgroup, or in one above it."""
        if not self._places or "cgroup_path" not in rows.column_names:
            return rows
        paths = rows["cgroup_path"].combine_chunks().dictionary_encode()
        found = pa.array([self.at(path) for path in paths.dictionary.to_pylist()], pa.string())
        if found.null_count == len(found):
            return rows
        told = pc.coalesce(rows["container"], pa.chunked_array([found.take(paths.indices)]))
        return rows.set_column(rows.schema.get_field_index("container"), "container", told)

    def at(self, path: str | None) -> str | None:
        """The container whose runtime told that it is in this cgroup, or in one above it."""
        path = (path or "").rstrip("/")
        while path and path not in self._places:
            path = path.rpartition("/")[0]
        return self._places.get(path) if path else None

    def _named(self, rows: pa.Table) -> pa.Table:
        words = self._words(rows)
        if words is None:
            return rows
        for place, column in enumerate(COLUMNS):
            index = rows.schema.get_field_index(column)
            if index >= 0:
                told = pa.chunked_array(
                    [pa.array([word[place] if word else None for word in words[0]], pa.string()).take(words[1])]
                )
                rows = rows.set_column(index, column, pc.coalesce(rows.column(index), told))
        return rows

    def _words(self, rows: pa.Table) -> tuple[list[Words | None], Any] | None:
        """The different words of these rows, and for each row which; None where no row can be named."""
        ids = rows["container"].combine_chunks().dictionary_encode()
        words = [self.of(key) for key in ids.dictionary.to_pylist()]
        odd = self._odd(rows, ids)
        if not odd:
            return (words, ids.indices) if any(words) else None
        indices = ids.indices.to_pylist()
        seen: dict[Words | None, int] = {}
        for row, found in odd:
            if found not in seen:
                seen[found] = len(words)
                words.append(found)
            indices[row] = seen[found]
        return words, pa.array(indices, pa.int32())

    def _odd(self, rows: pa.Table, ids: Any) -> list[tuple[int, Words | None]]:
        """The few rows where the container's id alone does not decide: by time, by the pod's uid (a pod's own cgroup), or where its
        runtime has that container elsewhere: then none."""
        found: list[tuple[int, Words | None]] = []
        twice = [key for key in ids.dictionary.to_pylist() if len(self._containers.get(key, ())) > 1]
        for row in _where(pc.is_in(rows["container"], pa.array(twice, pa.string()))) if twice else ():
            words = self.of(rows["container"][row].as_py(), rows["time"].cast(pa.int64())[row].as_py())
            found += [(row, words)] if words else []
        if self._pods and "pod_uid" in rows.column_names:
            for row in _where(pc.and_(rows["container"].is_null(), rows["pod_uid"].is_valid())):
                words = self.of_pod(rows["pod_uid"][row].as_py())
                found += [(row, words)] if words else []
        return found + [(row, None) for row in self._contradicted(rows)]

    def _contradicted(self, rows: pa.Table) -> list[int]:
        if not self._against or "cgroup_path" not in rows.column_names:
            return []
        paths = rows["cgroup_path"].combine_chunks().dictionary_encode()
        against = pa.array([self.contradicts(path) for path in paths.dictionary.to_pylist()], pa.bool_())
        return _where(pc.fill_null(against.take(paths.indices), False))


def _where(mask: Any) -> list[int]:
    return list(pc.indices_nonzero(mask).to_pylist())


def _name(row: dict[str, Any]) -> Name:
    since = row["since"] or row["time"]
    return Name(_micro(since), _micro(row["time"]), tuple(row[name] for name in COLUMNS))


def _micro(moment: datetime | None) -> int:
    return 0 if moment is None else (moment - _EPOCH) // timedelta(microseconds=1)


def unknown(rows: pa.Table) -> Any:
    """For each row whether it is a container's whose name is not in it; None for a table that has no such rows.

    A container of a pod is named by its pod; one that is in none, by its runtime's name for it.
    """
    names = rows.column_names
    if not {"container", "container_name", "pod"} <= set(names):
        return None
    return pc.and_(rows["container"].is_valid(), pc.and_(rows["pod"].is_null(), rows["container_name"].is_null()))


def unnamed(rows: pa.Table) -> int:
    """How many rows are of containers whose name is not in them, or that no runtime confirmed: later words may change these."""
    found = unknown(rows)
    if found is None:
        return 0
    if "claimed" in rows.column_names:
        found = pc.or_(found, pc.fill_null(rows["claimed"], False))
    return int(pc.sum(found).as_py() or 0)
