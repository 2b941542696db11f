"""What a runtime says of a container and of a pod, in one form whatever the runtime. Unknown is None, never a guess."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

#: Bounds of what a user chose (law 8): labels and annotations by number and bytes, other texts by bytes, mounts by number.
MOST_LABELS, LONGEST_LABEL = 128, 1024
LONGEST_TEXT = 1024
MOST_MOUNTS = 128
#: CRI's container states and sandbox states, api.proto's ContainerState and PodSandboxState.
STATES = {0: "created", 1: "running", 2: "exited", 3: "unknown"}
POD_STATES = {0: "ready", 1: "not_ready"}


@dataclass(frozen=True)
class Happened:
    """One event of a runtime. `what` is created, started, exited or removed; time in microseconds since 1970."""

    id: str
    what: str
    time: int
    exit_code: int | None = None


@dataclass(frozen=True)
class Listed:
    """One line of a runtime's full list."""

    id: str
    pod: bool
    state: str


@dataclass
class PodFacts:
    """A pod's sandbox. Times in microseconds since 1970; `id` is the sandbox's, which is a container's id as well."""

    id: str
    name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    state: str | None = None
    created: int | None = None
    addresses: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    host_pid: bool | None = None
    host_network: bool | None = None
    host_ipc: bool | None = None


@dataclass
class ContainerFacts:
    """A container. `cap_declared` is its declared bounding set, `uid` the declared user, `mounts` as SOURCE:TARGET:ro|rw."""

    id: str
    sandbox: str | None = None
    name: str | None = None
    attempt: int | None = None
    kind: str | None = None
    kind_source: str | None = None
    image: str | None = None
    image_digest: str | None = None
    image_id: str | None = None
    state: str | None = None
    created: int | None = None
    started: int | None = None
    finished: int | None = None
    exit_code: int | None = None
    reason: str | None = None
    privileged: bool | None = None
    cap_declared: int | None = None
    uid: int | None = None
    no_new_privileges: bool | None = None
    seccomp: str | None = None
    host_pid: bool | None = None
    host_network: bool | None = None
    host_ipc: bool | None = None
    mounts: list[str] | None = None
    addresses: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    #: Its cgroup below the hierarchy's root, where the runtime tells an absolute one.
    cgroup_path: str | None = None
    #: Its root folder, absolute or below its bundle, and the ranges of its user namespace (identity/users.py); no root: they are not known.
    root: str | None = None
    ranges: tuple[tuple[int, int, int], ...] = ()
    #: UID=NAME of its users, by its own /etc/passwd.
    users: list[str] | None = None
    #: What the container's own labels say of its pod, until the sandbox is known.
    pod: PodFacts | None = None


@dataclass(frozen=True)
class Inspected:
    """What `inspect` found: a container, and its pod where it is a sandbox. Not `whole`: more can be had a moment later."""

    container: ContainerFacts | None = None
    pod: PodFacts | None = None
    whole: bool = True


class Runtime(Protocol):
    """One runtime behind one socket. Every method but `events` and `close` is called by one thread only.

    RuntimeGoneError where the socket does not answer; the caller connects again later.
    """

    socket: str
    name: str

    def connect(self) -> str:
        """Reach the runtime; its name and version."""

    def listed(self) -> list[Listed]:
        """Everything that it holds now."""

    def inspect(self, identity: str) -> Inspected | None:
        """All about one container or sandbox; None where it knows none of that id (yet, or any more)."""

    def events(self) -> Iterator[Happened]:
        """What happens from now on, until `close` or the socket's end. Empty where the runtime tells none."""

    def close(self) -> None:
        """Let go; a running `events` ends."""


def text(raw: object) -> str | None:
    """A word that a user may have chosen: bytes decoded, what is not UTF-8 escaped, cut at its bound; None where empty."""
    if isinstance(raw, bytes):
        found = raw[: LONGEST_TEXT * 4].decode("utf-8", "backslashreplace")
    elif isinstance(raw, str):
        found = raw[: LONGEST_TEXT * 4].encode("utf-8", "backslashreplace").decode()
    else:
        return None
    return found[:LONGEST_TEXT] or None


def mapping(raw: object) -> dict[str, str]:
    """Labels or annotations, as they are: bounds are set where they are written."""
    pairs = raw.items() if isinstance(raw, Mapping) else ((pair.key, pair.value) for pair in _iterable(raw))
    return {key: _whole(value) for raw_key, value in pairs if (key := _whole(raw_key))}


def _iterable(raw: object) -> Iterable[Any]:
    return raw if isinstance(raw, Iterable) else ()


def _whole(raw: object) -> str:
    if isinstance(raw, bytes):
        return raw.decode("utf-8", "backslashreplace")
    return str(raw).encode("utf-8", "backslashreplace").decode()


def pairs(found: Mapping[str, str]) -> tuple[list[str], bool]:
    """`key=value` by key, within the bounds, and whether something was cut."""
    chosen = sorted(found.items())[:MOST_LABELS]
    lines = [f"{key}={value}" for key, value in chosen]
    cut = [line[:LONGEST_LABEL] for line in lines]
    return cut, cut != lines or len(chosen) < len(found)


def mount(source: object, target: object, read_only: bool, propagation: str = "") -> str:
    """One mount as SOURCE:TARGET:ro|rw, with a bidirectional one marked; a colon within a path is written \\:."""
    paths = [(text(path) or "").replace("\\", "\\\\").replace(":", "\\:") for path in (source, target)]
    return ":".join([*paths, "ro" if read_only else "rw", *([propagation] if propagation else [])])


def microseconds(nanoseconds: int) -> int | None:
    """CRI's times, where 0 is none."""
    return nanoseconds // 1000 if nanoseconds > 0 else None
