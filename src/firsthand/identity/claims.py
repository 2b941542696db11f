"""Which cgroups are the containers that their paths name: a path is what whoever made the folder says, a runtime knows where its containers are.

A runtime names a place below its own root, which need not be the machine's: in kind it is the node's container. All containers of one
runtime have the same root: the machine's where one was met there, else the one below which most of them are. What lies elsewhere and
has the id of a container is contradicted. A runtime that tells no place confirms the first cgroup of an id, and accuses none.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from firsthand.identity.container import parse

#: Cgroups whose claims are kept, and containers of a runtime by which its root is known.
MOST = 65_536
#: Where a runtime itself puts more cgroups with a container's id: Kata's hypervisor (kata-containers virtcontainers/utils.go).
_BESIDE = ("kata_overhead",)


@dataclass(frozen=True)
class ClaimVerdict:
    """On one cgroup: `event` confirmed or contradicted, `reason` where its runtime has the container."""

    event: str
    container: str
    path: str
    reason: str | None = None


@dataclass
class _Claim:
    """One id: its cgroups in the order in which they were met, each with what was last said of it; and its place by a runtime's word."""

    paths: OrderedDict[str, str] = field(default_factory=OrderedDict)
    socket: str = ""
    place: str = ""


class Claims:
    """Cgroups that name a container by their path, least recently met first to go."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._claims: OrderedDict[str, _Claim] = OrderedDict()
        self._roots: dict[str, OrderedDict[str, set[str]]] = {}

    def met(self, container: str, path: str) -> None:
        """A cgroup that claims to be a container, or lies below one that does."""
        claim = self._claims.setdefault(container, _Claim())
        claim.paths.setdefault(own(path, container), "")
        self._claims.move_to_end(container)
        while len(self._claims) > self._most:
            self._claims.popitem(last=False)

    def removed(self, container: str, path: str) -> None:
        """A cgroup that is no more."""
        claim = self._claims.get(container)
        if claim is not None:
            claim.paths.pop(path, None)
            if not claim.paths:
                del self._claims[container]

    def stands(self, container: str, path: str) -> bool:
        """Whether a cgroup is the container's as far as anybody told: it was not contradicted."""
        claim = self._claims.get(container)
        return claim is None or claim.paths.get(own(path, container)) != "contradicted"

    def judge(self, socket: str, container: str, place: str | None) -> list[ClaimVerdict]:
        """What a runtime's word on a container makes of the claims that are known; only what is new by it."""
        claim = self._claims.get(container)
        if claim is None:
            return []
        if place is None:
            return self._first(container, claim)
        claim.socket, claim.place = socket, own(place, container)
        before = self._root(socket)
        self._learn(socket, container, claim)
        if self._root(socket) == before:
            return self._judged(container, claim)
        concerned = [(key, one) for key, one in self._claims.items() if one.socket == socket]
        return [verdict for key, one in concerned for verdict in self._judged(key, one)]

    def _judged(self, container: str, claim: _Claim) -> list[ClaimVerdict]:
        found, place = [], claim.place
        here = self._root(claim.socket) + place
        for path, said in claim.paths.items():
            if path == here:
                # Readers compare the place itself: that one needs a row only where it was said to be none.
                found += (
                    [] if path == place and not said else self._say(claim, ClaimVerdict("confirmed", container, path))
                )
            elif path.split("/")[-2] not in _BESIDE:
                found += self._say(claim, ClaimVerdict("contradicted", container, path, here))
        return found

    def everything(self) -> list[ClaimVerdict]:
        """What was said and stands, once more."""
        claims = [(container, claim, path) for container, claim in self._claims.items() for path in claim.paths]
        return [self._said(container, claim, path) for container, claim, path in claims if claim.paths[path]]

    def _said(self, container: str, claim: _Claim, path: str) -> ClaimVerdict:
        said = claim.paths[path]
        return ClaimVerdict(
            said, container, path, None if said == "confirmed" else self._root(claim.socket) + claim.place
        )

    def _first(self, container: str, claim: _Claim) -> list[ClaimVerdict]:
        if "confirmed" in claim.paths.values():
            return []
        return self._say(claim, ClaimVerdict("confirmed", container, next(iter(claim.paths))))

    def _say(self, claim: _Claim, verdict: ClaimVerdict) -> list[ClaimVerdict]:
        if claim.paths[verdict.path] == verdict.event:
            return []
        claim.paths[verdict.path] = verdict.event
        return [verdict]

    def _learn(self, socket: str, container: str, claim: _Claim) -> None:
        roots = self._roots.setdefault(socket, OrderedDict())
        for path in claim.paths:
            if path.endswith(claim.place):
                below = roots.setdefault(path[: len(path) - len(claim.place)], set())
                if len(below) < self._most:
                    below.add(container)

    def _root(self, socket: str) -> str:
        """The machine's, where a container of the runtime was met there: only who has all of the machine may make cgroups at its top, so
        that no number of forged ones elsewhere outweighs it. Else below which most containers were met; of two with as many the first."""
        roots: Mapping[str, set[str]] = self._roots.get(socket, {})
        return max(roots, key=lambda root: (root == "", len(roots[root])), default="")


def own(path: str, container: str) -> str:
    """The container's own cgroup of one that may lie below it: up to the last part that has its id."""
    parts = path.rstrip("/").split("/")
    for end in range(len(parts), 0, -1):
        if container in parts[end - 1]:
            return "/".join(parts[:end])
    return path.rstrip("/")


def within(path: str, place: str) -> bool:
    """Whether a cgroup is a place or lies below it."""
    return path == place or path.startswith(f"{place}/")


def pod_folder(place: str) -> str | None:
    """The pod's own cgroup, above the container's at a place; None where no pod is there."""
    above = place.rpartition("/")[0]
    return above if above and parse(above).pod_uid else None
