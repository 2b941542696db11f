"""What is known of containers and pods now, and the rows that tell it: one whole row at each change, with the time it spans."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from firsthand.identity import workload
from firsthand.identity.runtimes.facts import ContainerFacts, Happened, Inspected, PodFacts, pairs
from firsthand.identity.users import Rooted, Users
from firsthand.identity.workload import Workload

#: Images whose digest is remembered, for containers that are told before their runtime names it.
MOST_IMAGES = 4096
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
#: Columns of a container's row that are its facts' own.
_SAME = (
    *("attempt", "sandbox", "kind", "kind_source", "state", "started", "finished", "exit_code", "reason"),
    *("image", "image_digest", "image_id", "privileged", "cap_declared", "no_new_privileges", "seccomp"),
    *("host_pid", "host_network", "host_ipc", "mounts", "addresses", "cgroup_path", "users"),
)

Row = tuple[str, dict[str, object]]


@dataclass
class BookEntry:
    """One id: a container, and where it is a sandbox its pod. `whole`: its runtime has told all that it can."""

    socket: str
    runtime: str
    container: ContainerFacts
    pod: PodFacts | None = None
    whole: bool = True
    met: float = field(default_factory=time.monotonic)


class Book:
    """Everything that runtimes told and that still exists. Not for use by several threads."""

    def __init__(self, annotations: Iterable[str] = ()) -> None:
        self._wanted = tuple(annotations)
        self._entries: dict[str, BookEntry] = {}
        self._inside: dict[str, set[str]] = {}
        self._at: dict[str, str] = {}
        self._began: OrderedDict[str, int] = OrderedDict()
        self._digests: dict[str, tuple[str | None, str | None]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def knows(self, identity: str) -> bool:
        """Whether something was told of this id."""
        return identity in self._entries

    def at(self, path: str) -> str | None:
        """The container whose cgroup its runtime says is this one, or the nearest above it; None where it is no such."""
        while path and path not in self._at:
            path = path.rpartition("/")[0]
        return self._at.get(path)

    def place_of(self, identity: str) -> str | None:
        """The cgroup of a container, as its runtime told it."""
        entry = self._entries.get(identity)
        return entry.container.cgroup_path if entry else None

    def age(self, identity: str) -> float:
        """Seconds since something was first told of an id."""
        return time.monotonic() - self._entries[identity].met

    def socket_of(self, identity: str) -> str:
        """The socket of the runtime that told an id."""
        return self._entries[identity].socket

    def of(self, socket: str) -> dict[str, str | None]:
        """State by id of all that one socket told."""
        return {key: _state(entry) for key, entry in self._entries.items() if entry.socket == socket}

    def found(self, socket: str, runtime: str, told: Inspected) -> list[Row]:
        """Take in what a runtime said; the rows that are new by it."""
        if told.container is None:
            return []
        identity = told.container.id
        known = self._entries.get(identity)
        entry = BookEntry(socket, runtime, told.container, told.pod, told.whole)
        if known is not None:
            entry.container = _merged(known.container, told.container)
            entry.container.created = known.container.created or told.container.created  # `since` is one name's key
            entry.pod = _merged(known.pod, told.pod) if known.pod and told.pod else told.pod or known.pod
            entry.whole = told.whole or known.whole
            entry.socket, entry.runtime, entry.met = known.socket, known.runtime, known.met
            _stays_ended(known, entry)
        if entry.pod is not None and entry.pod.state == "not_ready" and entry.container.finished is None:
            entry.container.finished = time.time_ns() // 1000  # at the latest: CRI does not tell when a sandbox stopped
        self._digest(entry)
        if known is not None and (known.container, known.pod) == (entry.container, entry.pod):
            known.whole = entry.whole
            return []
        self._entries[identity] = entry
        if entry.container.cgroup_path:
            self._at[entry.container.cgroup_path] = identity
        if entry.container.sandbox:
            self._inside.setdefault(entry.container.sandbox, set()).add(identity)
        changed = {identity} | self._kinds(entry)
        if told.pod is not None and (known is None or known.pod != entry.pod):
            changed |= self._inside.get(identity, set())
        return [row for key in sorted(changed) for row in self._rows(self._entries[key])]

    def rooted(self, identity: str) -> Rooted | None:
        """Where the users of a container can be read, where they are not known yet."""
        entry = self._entries.get(identity)
        if entry is None or entry.container.root is None or entry.container.users is not None:
            return None
        return Rooted(identity, entry.socket, entry.container.root, entry.container.ranges)

    def named_users(self, told: Users) -> list[Row]:
        """What a container's own file says of its users; the row."""
        entry = self._entries.get(told.container)
        if entry is None or entry.container.users == told.names:
            return []
        entry.container.users = told.names
        return list(self._rows(entry))

    def happened(self, told: Happened) -> list[Row]:
        """An event of a container that is known: its state, and the row."""
        entry = self._entries[told.id]
        facts = entry.container
        if told.what == "exited" and facts.started is not None and told.time < facts.started:
            return []  # the end of the run before this one, told late
        if told.what == "started":
            facts.state, facts.started, facts.finished, facts.exit_code = "running", told.time, None, None
        elif told.what == "exited":
            facts.state, facts.finished = "exited", min(facts.finished or told.time, told.time)
            facts.exit_code = told.exit_code if facts.exit_code is None else facts.exit_code
        if entry.pod is not None and facts.kind == "sandbox":
            entry.pod.state = "ready" if told.what == "started" else "not_ready"
        return [row for key in sorted({told.id} | self._kinds(entry)) for row in self._rows(self._entries[key])]

    def began(self, identity: str, moment: int) -> list[Row]:
        """The kernel says that a container's cgroup was made (microseconds); of a sandbox that is told, a row."""
        self._began[identity] = moment
        while len(self._began) > MOST_IMAGES:
            self._began.popitem(last=False)
        entry = self._entries.get(identity)
        return list(self._rows(entry)) if entry is not None and entry.pod is not None else []

    def gone(self, identity: str, moment: int) -> list[Row]:
        """A container that its runtime does not have any more: its last rows, with the end of their span (microseconds)."""
        entry = self._entries.pop(identity, None)
        if entry is None:
            return []
        if self._at.get(entry.container.cgroup_path or "") == identity:
            del self._at[entry.container.cgroup_path or ""]
        sandbox = entry.container.sandbox
        rows = [
            (table, {**row, "event": "gone", "until": row.get("until") or moment}) for table, row in self._rows(entry)
        ]
        if sandbox in self._inside and sandbox is not None:
            self._inside[sandbox].discard(identity)
            if not self._inside[sandbox]:
                del self._inside[sandbox]
        return rows

    def everything(self) -> list[Row]:
        """The rows of all that is known."""
        return [row for entry in self._entries.values() for row in self._rows(entry)]

    def missing_sandbox(self, identity: str) -> str | None:
        """The id of a container's sandbox of which nothing was told yet."""
        entry = self._entries.get(identity)
        sandbox = entry.container.sandbox if entry else None
        return sandbox if sandbox and sandbox not in self._entries else None

    def _digest(self, entry: BookEntry) -> None:
        """An image's name and digest, learnt from a whole answer, for those that are not whole."""
        facts = entry.container
        if not facts.image_id:
            return
        if entry.whole:
            self._digests[facts.image_id] = facts.image, facts.image_digest
            while len(self._digests) > MOST_IMAGES:
                del self._digests[next(iter(self._digests))]
        elif facts.image_id in self._digests:
            image, digest = self._digests[facts.image_id]
            facts.image, facts.image_digest, entry.whole = image or facts.image, digest, True

    def _kinds(self, entry: BookEntry) -> set[str]:
        """Tell init containers: those that ended before another one of the pod was made, or that the pod's spec names so."""
        sandbox = entry.container.sandbox
        members = [self._entries[key].container for key in self._inside.get(sandbox or "", {entry.container.id})]
        named = _init_names(self._pod(entry))
        newest = _newest(members)
        changed: set[str] = set()
        for facts in members:
            if facts.kind_source == "runtime":
                continue
            kind, source = _kind(facts, newest, named)
            if (kind, source) != (facts.kind, facts.kind_source):
                facts.kind, facts.kind_source = kind, source
                changed.add(facts.id)
        return changed

    def _pod(self, entry: BookEntry) -> PodFacts | None:
        sandbox = self._entries.get(entry.container.sandbox or "")
        return entry.pod or (sandbox.pod if sandbox else None) or entry.container.pod

    def _rows(self, entry: BookEntry) -> Iterator[Row]:
        pod = self._pod(entry)
        owner = _workload(entry.container, pod)
        yield "container", self._container_row(entry, pod, owner)
        if entry.pod is not None and entry.container.kind == "sandbox":
            yield "pod", self._pod_row(entry, entry.pod, owner)

    def _container_row(self, entry: BookEntry, pod: PodFacts | None, owner: Workload | None) -> dict[str, object]:
        facts = entry.container
        row = _common(entry, pod, owner)
        row |= {name: getattr(facts, name) for name in _SAME}
        row |= {"container_name": facts.name, "declared_uid": facts.uid, "since": facts.created}
        row["until"] = facts.finished if facts.state == "exited" else None
        if not row["addresses"]:
            row["addresses"] = None
        return row | self._words(facts.labels, facts.annotations)

    def _pod_row(self, entry: BookEntry, pod: PodFacts, owner: Workload | None) -> dict[str, object]:
        row = _common(entry, pod, owner)
        row |= {name: getattr(pod, name) for name in ("state", "host_pid", "host_network", "host_ipc", "addresses")}
        # A sandbox that has stopped gives its addresses back, though its runtime remembers it for longer.
        until = entry.container.finished if pod.state == "not_ready" else None
        # A runtime makes a sandbox's cgroup when its network is there: the address was another pod's before, perhaps.
        row["addresses_since"] = self._began.get(pod.id) if pod.addresses else None
        return row | {"since": pod.created, "until": until} | self._words(pod.labels, pod.annotations)

    def _words(self, labels: Mapping[str, str], annotations: Mapping[str, str]) -> dict[str, object]:
        """Labels and the wanted annotations, within their bounds."""
        wanted = {key: value for key, value in annotations.items() if any(_matches(key, one) for one in self._wanted)}
        (shown, cut), (noted, cut_too) = pairs(labels), pairs(wanted)
        names = [name for name, was in (("labels", cut), ("annotations", cut_too)) if was]
        return {"labels": shown, "annotations": noted, "cut": ",".join(names) or None}


def _state(entry: BookEntry) -> str | None:
    return entry.pod.state if entry.pod is not None and entry.container.kind == "sandbox" else entry.container.state


def _merged(before: Any, now: Any) -> Any:
    """The newer facts; where they say nothing, the older."""
    values = {}
    for one in fields(now):
        newer, older = getattr(now, one.name), getattr(before, one.name)
        values[one.name] = older if newer in (None, [], {}) else newer
    return type(now)(**values)


def _stays_ended(known: BookEntry, entry: BookEntry) -> None:
    """What was asked for before an end and answered after it does not make it live again; only a later start does."""
    facts = entry.container
    if (
        _state(known) in ("exited", "not_ready")
        and facts.finished is not None
        and facts.finished >= (facts.started or 0)
    ):
        facts.state = "exited"
        if entry.pod is not None and facts.kind == "sandbox":
            entry.pod.state = "not_ready"


def _newest(members: list[ContainerFacts]) -> list[tuple[int, str | None]]:
    """The two names of which a container was made last, with when; sandboxes and ephemeral ones apart."""
    made: dict[str | None, int] = {}
    for one in members:
        if one.kind_source != "runtime" and one.created is not None:
            made[one.name] = max(made.get(one.name, 0), one.created)
    return sorted(((created, name) for name, created in made.items()), key=lambda pair: pair[0])[-2:]


def _kind(facts: ContainerFacts, newest: list[tuple[int, str | None]], named: frozenset[str]) -> tuple[str, str | None]:
    if facts.name in named:
        return "init", "spec"
    ended = facts.finished
    if ended is not None and any(name != facts.name and created >= ended for created, name in newest):
        return "init", "order"
    return ("init", "order") if facts.kind_source == "order" else ("container", None)


def _init_names(pod: PodFacts | None) -> frozenset[str]:
    """Init containers by the specification that was applied last, where the pod carries it (kubectl apply)."""
    raw = pod.annotations.get(_APPLIED) if pod else None
    try:
        listed = json.loads(raw)["spec"]["initContainers"] if raw else []
        return frozenset(str(one["name"]) for one in listed)
    except (ValueError, KeyError, TypeError):
        return frozenset()


def _workload(facts: ContainerFacts, pod: PodFacts | None) -> Workload | None:
    if pod is None:
        return workload.of_container(facts.labels)
    return workload.of_pod(pod.namespace, pod.name, pod.labels, pod.annotations, pod.created)


def _common(entry: BookEntry, pod: PodFacts | None, owner: Workload | None) -> dict[str, object]:
    return {
        "event": "named",
        "container": entry.container.id,
        "runtime": entry.runtime,
        "socket": entry.socket,
        "pod": pod.name if pod else None,
        "namespace": pod.namespace if pod else None,
        "pod_uid": pod.uid if pod else None,
        "workload": owner.name if owner else None,
        "workload_source": owner.source if owner else None,
    }


def _matches(key: str, wanted: str) -> bool:
    return key.startswith(wanted[:-1]) if wanted.endswith("*") else key == wanted
