"""A cgroup's path to runtime, container id and pod uid, in every spelling in use. What the path does not tell is None.

Sources: kubelet pkg/kubelet/cm/cgroup_manager_linux.go (kubepods, pod<uid>, `-` to `_` in systemd slices), containerd
pkg/cri/server/helpers.go (`cri-containerd-<id>.scope`, `slice:cri-containerd:<id>`), CRI-O internal/config/cgmgr
(`crio-<id>.scope`, `crio-conmon-<id>.scope`), Docker daemon/oci_linux.go (`docker-<id>.scope`, `/docker/<id>`), Podman
libpod/container_internal_linux.go (`libpod-<id>.scope`, `libpod-conmon-<id>.scope`, `/container` below it; `libpod-payload-<id>` in the
unit's own cgroup with --cgroups=split, as Quadlet has it), nerdctl. Runtimes whose ids are words are in no path: they tell theirs (book.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

LONGEST = 4096
_ID = r"[0-9a-f]{64}"
#: A path's component that is a container, by the prefix that its runtime gives it.
_NAMED = re.compile(rf"(?:^|:)(cri-containerd|crio|docker|libpod|libpod-payload|nerdctl)[-:]({_ID})(?:\.scope)?$")
_BARE = re.compile(rf"^{_ID}$")
_POD = re.compile(
    r"(?:^|-)pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})"
    r"(?:\.slice)?(?::|$)"
)
_RUNTIMES = {
    "cri-containerd": "containerd",
    "crio": "cri-o",
    "docker": "docker",
    "libpod": "podman",
    "libpod-payload": "podman",
    "nerdctl": "containerd",
}
#: Parents that tell the runtime of a bare id below them.
_PARENTS = {
    "docker": "docker",
    "libpod_parent": "podman",
    "default": "containerd",
    "moby": "docker",
    "k8s.io": "containerd",
}
_CLASSES = {"burstable": "burstable", "besteffort": "besteffort"}


@dataclass(frozen=True)
class ContainerPath:
    """`runtime` is containerd, cri-o, docker, podman or None; `container` 64 hexadecimal digits; `pod_uid` with dashes where it
    has them; `qos` guaranteed, burstable or besteffort. All None on the host."""

    runtime: str | None = None
    container: str | None = None
    pod_uid: str | None = None
    qos: str | None = None


def named_by_path(identity: str) -> bool:
    """Whether an id is of the form by which a cgroup's path names its container; a word that a user chose is not."""
    return _BARE.match(identity) is not None


@lru_cache(maxsize=4096)
def parse(path: bytes | str) -> ContainerPath:
    """What a cgroup's path says. Of containers within containers the innermost is meant, with the innermost pod.

    Any bytes are taken; a path over 4096 bytes is the host's, as no runtime makes such.
    """
    text = path.decode("ascii", "replace") if isinstance(path, bytes) else path
    if len(text) > LONGEST:
        return ContainerPath()
    parts = [part for part in text.split("/") if part]
    found = _container(parts)
    if found is None:
        return _pod_only(parts)
    place, runtime, container = found
    pod_uid, qos = _pod(parts[: place + 1])
    return ContainerPath(runtime, container, pod_uid, qos)


def _container(parts: list[str]) -> tuple[int, str | None, str] | None:
    """Place, runtime and id of the innermost component that is a container."""
    for place in range(len(parts) - 1, -1, -1):
        named = _NAMED.search(parts[place])
        if named:
            return place, _RUNTIMES[named[1]], named[2]
        if _BARE.match(parts[place]):
            return place, _runtime_of(parts[:place]), parts[place]
    return None


def _runtime_of(parents: list[str]) -> str | None:
    """The runtime of a bare id: its parent folder's, and None below kubepods, where several runtimes write it so."""
    return _PARENTS.get(parents[-1]) if parents else None


def _pod(parts: list[str]) -> tuple[str | None, str | None]:
    """The innermost pod uid and its class, only below a kubepods folder or slice."""
    for place in range(len(parts) - 1, -1, -1):
        found = _POD.search(parts[place])
        above = parts[: place + 1]
        if found and any(
            part.startswith("kubepods") or "-kubepods" in part or "kubelet-kube" in part for part in above
        ):
            return found[1].replace("_", "-"), _qos(parts[: place + 1])
    return None, None


def _qos(parts: list[str]) -> str:
    words = re.split(r"[/.:\-]", "/".join(parts))
    return next((_CLASSES[word] for word in reversed(words) if word in _CLASSES), "guaranteed")


def _pod_only(parts: list[str]) -> ContainerPath:
    """A pod's own cgroup, above its containers."""
    pod_uid, qos = _pod(parts)
    return ContainerPath(None, None, pod_uid, qos)
