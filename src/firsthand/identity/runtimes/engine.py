"""Docker Engine and Podman over their HTTP sockets: one API, which Podman serves too, with Podman's own words where it has more.

Sources: Docker Engine API 1.41 (docs.docker.com/engine/api), Podman 4.3 pkg/api (libpod endpoints), libpod/define/container_inspect.go.
The library's client is Python's own http.client: what HTTP clients add to it (pools, retries, TLS) a local socket does not need,
and they cost the follower a fifth of its memory (docs/decisions/runtimes.md).
"""

from __future__ import annotations

import http.client
import json
import re
import socket as _socket
import time
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from firsthand.errors import RuntimeGoneError
from firsthand.identity.runtimes import specification
from firsthand.identity.runtimes.cri import digest, labelled_pod
from firsthand.identity.runtimes.facts import (
    MOST_MOUNTS,
    ContainerFacts,
    Happened,
    Inspected,
    Listed,
    PodFacts,
    mapping,
    mount,
    text,
)
from firsthand.schema import capability

PATIENCE = 5.0
MAX_ANSWER = 16 << 20
#: An event is one line; a longer one is no event of ours.
MAX_LINE = 1 << 20
_FILTERS = quote(json.dumps({"type": ["container"]}))
_ACTIONS = {
    "create": "created",
    "start": "started",
    "die": "exited",
    "died": "exited",
    "destroy": "removed",
    "remove": "removed",
}
_STATES = {
    "created": "created",
    "configured": "created",
    "initialized": "created",
    "running": "running",
    "paused": "running",
}
#: What Docker gives a container (moby oci/caps/defaults.go); CapAdd and CapDrop start from it.
_DEFAULT = capability.bits(
    (
        *("chown", "dac_override", "fsetid", "fowner", "mknod", "net_raw", "setgid", "setuid", "setfcap", "setpcap"),
        *("net_bind_service", "sys_chroot", "kill", "audit_write"),
    )
)
_EVERY = (1 << len(capability.NAMES)) - 1
_IMAGES = 512
_RANGE = re.compile(r"(\d{1,10}):(\d{1,10}):(\d{1,10})")


class _Connection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Engine:
    """One Docker or Podman socket. See `Runtime`."""

    def __init__(self, socket: str) -> None:
        self.socket = socket
        self.name = "docker"
        self._connection: _Connection | None = None
        self._stream: _Connection | None = None
        self._digests: OrderedDict[str, str | None] = OrderedDict()
        self._remaps = False

    def connect(self) -> str:
        """Docker or Podman, with its version."""
        self.close()
        answer = self._get("/version")
        if not isinstance(answer, dict):
            raise RuntimeGoneError(f"{self.socket}: no answer to /version that Docker or Podman would give")
        parts = answer.get("Components") or []
        self.name = "podman" if any("podman" in str(part.get("Name", "")).lower() for part in parts) else "docker"
        self._remaps = self.name == "docker" and self._remapped()
        return f"{self.name} {answer.get('Version')}"

    def _remapped(self) -> bool:
        """Whether Docker maps users of all containers (userns-remap): it does not tell to which numbers."""
        info = self._get("/info")
        options = info.get("SecurityOptions") if isinstance(info, dict) else None
        return any("userns" in str(option) or "rootless" in str(option) for option in options or [])

    @property
    def _libpod(self) -> str:
        return "/v4.0.0/libpod" if self.name == "podman" else ""

    def listed(self) -> list[Listed]:
        """All containers, the ended ones too."""
        answer = self._get(f"{self._libpod}/containers/json?all=true")
        return [
            Listed(one["Id"], False, _state(one.get("State"))) for one in answer or [] if isinstance(one.get("Id"), str)
        ]

    def inspect(self, identity: str) -> Inspected | None:
        """A container, and with Podman the pod that it is in."""
        raw = self._get(f"{self._libpod}/containers/{quote(identity, safe='')}/json")
        if not isinstance(raw, dict):
            return None
        facts = _container(raw)
        if not self._remaps:
            _root(facts, raw)
        if facts.image_digest is None and facts.image_id:
            facts.image_digest = self._digest(facts.image_id)
        pod = self._pod(raw) if raw.get("Pod") else None
        if pod is not None:
            facts.sandbox = pod.id
        return Inspected(container=facts, pod=pod)

    def _digest(self, image: str) -> str | None:
        """The digest that an image was pulled by, asked for once for each image."""
        if image not in self._digests:
            answer = self._get(f"/images/{quote(image, safe='')}/json")
            listed = answer.get("RepoDigests") if isinstance(answer, dict) else None
            self._digests[image] = digest(str(listed[0])) if listed else digest(image)
            while len(self._digests) > _IMAGES:
                self._digests.popitem(last=False)
        return self._digests[image]

    def _pod(self, raw: dict[str, Any]) -> PodFacts | None:
        """Podman's pod of a container; its infra container is the sandbox."""
        found = self._get(f"{self._libpod}/pods/{quote(str(raw['Pod']), safe='')}/json")
        if not isinstance(found, dict):
            return None
        sandbox = text(found.get("InfraContainerID")) or text(found.get("Id")) or ""
        pod = PodFacts(
            sandbox, name=text(found.get("Name")), uid=text(found.get("Id")), created=_time(found.get("Created"))
        )
        pod.labels = mapping(found.get("Labels") or {})
        pod.state = "ready" if str(found.get("State")) in ("Running", "Degraded") else "not_ready"
        if raw.get("Id") == sandbox:
            pod.addresses = _addresses(raw)
            pod.host_pid, pod.host_network, pod.host_ipc = _hosts(raw)
        return pod

    def events(self) -> Iterator[Happened]:
        """The event stream, line by line."""
        self._stream = _Connection(self.socket, None)
        try:
            self._stream.request("GET", f"{self._libpod}/events?filters={_FILTERS}&stream=true")
            answer = self._stream.getresponse()
            while line := answer.readline(MAX_LINE):
                happened = _event(line)
                if happened is not None:
                    yield happened
            raise RuntimeGoneError(f"{self.socket}: it closed its stream of events")
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            raise RuntimeGoneError(f"{self.socket}: {error}") from error

    def close(self) -> None:
        """Close both connections; a running `events` ends."""
        for connection in (self._connection, self._stream):
            if connection is not None:
                _shut(connection)
        self._connection = self._stream = None

    def _get(self, path: str) -> Any:
        """An answer's JSON; None where the thing asked for is not there. RuntimeGoneError where none comes."""
        try:
            return self._ask(path)
        except (OSError, http.client.HTTPException, ValueError):
            if self._connection is not None:  # kept alive, and closed by the other end meanwhile
                _shut(self._connection)
                self._connection = None
        try:
            return self._ask(path)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise RuntimeGoneError(f"{self.socket}: {error}") from error

    def _ask(self, path: str) -> Any:
        if self._connection is None:
            self._connection = _Connection(self.socket, PATIENCE)
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        body = answer.read(MAX_ANSWER + 1)
        if len(body) > MAX_ANSWER:
            raise ValueError(f"{path}: an answer over {MAX_ANSWER} bytes")
        if answer.status == http.client.NOT_FOUND:
            return None
        if answer.status != http.client.OK:
            raise ValueError(f"{path}: {answer.status} {answer.reason}")
        return json.loads(body)


def _shut(connection: _Connection) -> None:
    try:
        if connection.sock is not None:
            connection.sock.shutdown(_socket.SHUT_RDWR)
    except OSError:
        pass  # it was closed already
    connection.close()


def _event(line: bytes) -> Happened | None:
    try:
        raw = json.loads(line)
    except ValueError:
        return None
    if not isinstance(raw, dict):
        return None
    actor = raw.get("Actor") or {}
    action = str(raw.get("Action") or raw.get("status") or raw.get("Status") or "")
    identity = actor.get("ID") or raw.get("ID") or raw.get("id")
    what = _ACTIONS.get(action)
    if what is None or not isinstance(identity, str):
        return None
    nanoseconds = raw.get("timeNano")
    moment = nanoseconds // 1000 if isinstance(nanoseconds, int) else time.time_ns() // 1000
    return Happened(identity, what, moment, _code(actor.get("Attributes") or {}) if what == "exited" else None)


def _code(attributes: dict[str, Any]) -> int | None:
    found = str(attributes.get("exitCode") or attributes.get("containerExitCode") or "")
    return int(found) if found.isdigit() else None


def _state(raw: object) -> str:
    return _STATES.get(str(raw).lower(), "exited")


def _time(raw: object) -> int | None:
    """Go's RFC 3339 with nanoseconds, in microseconds since 1970; None for its zero time."""
    found = str(raw or "")
    if not found or found.startswith("0001-"):
        return None
    try:
        moment = datetime.fromisoformat(found)
    except ValueError:
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def _container(raw: dict[str, Any]) -> ContainerFacts:
    config, host, state = (raw.get(name) or {} for name in ("Config", "HostConfig", "State"))
    labels = mapping(config.get("Labels") or {})
    finished = _time(state.get("FinishedAt"))
    running = _state(state.get("Status"))
    facts = ContainerFacts(
        raw["Id"],
        name=text(str(raw.get("Name") or "").removeprefix("/")),
        image=text(raw.get("ImageName") or config.get("Image")),
        image_digest=digest(text(raw.get("ImageDigest"))),
        image_id=_image_id(raw.get("Image")),
        state=running,
        created=_time(raw.get("Created")),
        started=_time(state.get("StartedAt")),
        finished=finished if running == "exited" else None,
        exit_code=state.get("ExitCode") if running == "exited" else None,
        privileged=bool(host.get("Privileged")),
        labels=labels,
        annotations=mapping(config.get("Annotations") or {}),
        mounts=_mounts(raw.get("Mounts") or []),
        addresses=_addresses(raw),
    )
    facts.cgroup_path = specification.cgroup_path(text(state.get("CgroupPath")))  # Podman tells it
    facts.host_pid, facts.host_network, facts.host_ipc = _hosts(raw)
    facts.cap_declared = _capabilities(raw, host)
    facts.uid = _uid(config.get("User"))
    options = [str(option) for option in host.get("SecurityOpt") or []]
    facts.no_new_privileges = any(
        option.startswith("no-new-privileges") and not option.endswith("false") for option in options
    )
    profiles = [option.partition("=")[2][:64] for option in options if option.startswith("seccomp=")]
    facts.seccomp = "unconfined" if facts.privileged or profiles[-1:] == ["unconfined"] else "default"
    if raw.get("IsInfra"):
        facts.kind, facts.kind_source, facts.sandbox = "sandbox", "runtime", facts.id
    facts.pod = labelled_pod(labels)
    return facts


def _root(facts: ContainerFacts, raw: dict[str, Any]) -> None:
    """The root folder, where its storage driver mounts one, and how its users are numbered on the machine; none where that is not told."""
    data, host = (raw.get("GraphDriver") or {}).get("Data") or {}, raw.get("HostConfig") or {}
    mapped = (host.get("IDMappings") or {}).get("UidMap") or []
    found = [_RANGE.fullmatch(str(one)) for one in mapped[: specification.MOST_RANGES]]
    if not all(found):
        return
    facts.ranges = tuple((int(one[1]), int(one[2]), int(one[3])) for one in found if one)
    if facts.ranges or str(host.get("UsernsMode") or "host") == "host":
        folder = text(data.get("MergedDir"))
        facts.root = folder if folder and folder.startswith("/") else None


def _image_id(raw: object) -> str | None:
    found = text(raw)
    return f"sha256:{found}" if found and len(found) == 64 else found


def _mounts(listed: list[Any]) -> list[str]:
    return [
        mount(
            one.get("Source"),
            one.get("Destination"),
            not one.get("RW"),
            "shared" if "shared" in str(one.get("Propagation")) else "",
        )
        for one in listed[:MOST_MOUNTS]
        if isinstance(one, dict)
    ]


def _hosts(raw: dict[str, Any]) -> tuple[bool, bool, bool]:
    host = raw.get("HostConfig") or {}
    pid, network, ipc = (str(host.get(name) or "") == "host" for name in ("PidMode", "NetworkMode", "IpcMode"))
    return pid, network, ipc


def _addresses(raw: dict[str, Any]) -> list[str]:
    settings = raw.get("NetworkSettings") or {}
    networks = [settings, *(settings.get("Networks") or {}).values()]
    found = [network.get(key) for network in networks if network for key in ("IPAddress", "GlobalIPv6Address")]
    return sorted({address for one in found if (address := text(one))})


def _capabilities(raw: dict[str, Any], host: dict[str, Any]) -> int:
    if isinstance(raw.get("BoundingCaps"), list):  # Podman tells the outcome
        return specification.capabilities(raw["BoundingCaps"])
    if host.get("Privileged"):
        return _EVERY
    added, dropped = ([str(name).upper() for name in host.get(key) or []] for key in ("CapAdd", "CapDrop"))
    base = _EVERY if "ALL" in added else 0 if "ALL" in dropped else _DEFAULT
    return (base | specification.capabilities(added)) & ~specification.capabilities(dropped)


def _uid(raw: object) -> int | None:
    """The declared user where that is a number; none declared is the image's, which the API answers as well, empty: 0."""
    word = str(raw or "0").partition(":")[0]
    return int(word) if word.isdigit() else None
