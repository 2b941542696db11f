"""containerd beyond CRI: its event stream, which every version has, and containers of namespaces that CRI does not show.

An event names a container before its cgroup exists, so that one which lives for a moment has its name too. Sources:
containerd 1.6 api/services/events/v1/events.proto, api/services/containers/v1/containers.proto,
pkg/cri/store/{container,sandbox}/metadata.go (the extensions' JSON), pkg/cri/server/helpers.go (its labels).
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from firsthand.errors import RuntimeGoneError
from firsthand.identity.runtimes import cri, specification
from firsthand.identity.runtimes import messages_pb2 as m
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

_SUBSCRIBE = "/containerd.services.events.v1.Events/Subscribe"
_GET = "/containerd.services.containers.v1.Containers/Get"
_LIST = "/containerd.services.containers.v1.Containers/List"
_NAMESPACES = "/containerd.services.namespaces.v1.Namespaces/List"
_VERSION = "/containerd.services.version.v1.Version/Version"
#: Only what cannot be had otherwise: that a container is made. Its end the kernel tells (its cgroup goes), its times and exit
#: code CRI tells then. Each event that is heard costs gRPC a third of a millisecond.
_CREATED = "/containers/create"
#: Where CRI keeps its containers, and where Docker does, which names them itself.
_CRI_NAMESPACE, _DOCKERS = "k8s.io", "moby"
_CONTAINER, _SANDBOX = "io.cri-containerd.container.metadata", "io.cri-containerd.sandbox.metadata"
#: Containers whose namespace is remembered.
_REMEMBERED = 4096


class Containerd(cri.Cri):
    """One containerd, with CRI where that is enabled. See `Runtime`."""

    def __init__(self, socket: str) -> None:
        super().__init__(socket)
        self.name = "containerd"
        self._has_cri = False
        self._namespace_of: OrderedDict[str, str] = OrderedDict()
        self._made: OrderedDict[str, None] = OrderedDict()

    def connect(self) -> str:
        """CRI's version, or containerd's own where CRI is disabled."""
        try:
            version = super().connect()
            self._has_cri = True
        except RuntimeGoneError:
            version = self._own_version()
            self._has_cri = False
        self.name = "containerd"
        return version

    def _own_version(self) -> str:
        answer = self._call(_VERSION, m.NamespacesRequest(), m.OwnVersionResponse)
        return f"containerd {text(answer.version)} without CRI"

    def listed(self) -> list[Listed]:
        """CRI's list, and the containers of other namespaces (nerdctl, ctr)."""
        found = super().listed() if self._has_cri else []
        known = {one.id for one in found}
        for namespace in self._namespaces():
            answer = self._call(_LIST, m.NativeListRequest(), m.NativeListResponse, _in(namespace))
            for one in answer.containers:
                self._remember(one.id, namespace)
                if one.id not in known:
                    found.append(Listed(one.id, False, "unknown"))
        return found

    def _namespaces(self) -> list[str]:
        answer = self._call(_NAMESPACES, m.NamespacesRequest(), m.NamespacesResponse)
        left_out = {_DOCKERS, _CRI_NAMESPACE} if self._has_cri else {_DOCKERS}
        return [one.name for one in answer.namespaces if one.name not in left_out]

    def inspect(self, identity: str) -> Inspected | None:
        """By CRI; where that does not know the id yet, or any more, by containerd's own store."""
        namespace = self._namespace_of.get(identity, _CRI_NAMESPACE)
        if identity in self._made:  # CRI will know it only when it is ready, its own metadata are there already
            self._made.pop(identity)
            found = self._native(identity, namespace)
            if found is not None:
                return found
        found = super().inspect(identity) if self._has_cri and namespace == _CRI_NAMESPACE else None
        return found or self._native(identity, namespace)

    def _native(self, identity: str, namespace: str) -> Inspected | None:
        answer = self._known(_GET, m.NativeGetRequest(id=identity), m.NativeGetResponse, _in(namespace))
        return None if answer is None else native(answer.container)

    def events(self) -> Iterator[Happened]:
        """containerd's own events: its CRI has some only since 1.7."""
        request = m.SubscribeRequest(filters=[f'topic=="{_CREATED}"'])
        for envelope in self._stream(_SUBSCRIBE, request, m.Envelope):
            if envelope.topic != _CREATED or envelope.namespace == _DOCKERS:
                continue
            identity = m.Subject.FromString(envelope.event.value).id
            self._remember(identity, envelope.namespace)
            self._made[identity] = None
            _bound(self._made)
            moment = envelope.timestamp.seconds * 1_000_000 + envelope.timestamp.nanos // 1000
            yield Happened(identity, "created", moment)

    def _remember(self, identity: str, namespace: str) -> None:
        self._namespace_of[identity] = namespace
        _bound(self._namespace_of)


def _bound(table: OrderedDict[str, Any]) -> None:
    while len(table) > _REMEMBERED:
        table.popitem(last=False)


def _in(namespace: str) -> tuple[tuple[str, str], ...]:
    return (("containerd-namespace", namespace),)


def native(container: Any) -> Inspected:
    """A container of containerd's own store; CRI's own metadata where there is one."""
    extensions = {one.key: one.value.value for one in container.extensions if one.key in (_CONTAINER, _SANDBOX)}
    created = container.created_at.seconds * 1_000_000 + container.created_at.nanos // 1000
    if _SANDBOX in extensions:
        pod = _pod(container.id, _json(extensions[_SANDBOX]), created)
        facts = cri.sandbox_container(pod)
        facts.image = text(container.image)
        return Inspected(facts, pod, whole=bool(pod.addresses or pod.host_network))
    labels = mapping(container.labels)
    facts = ContainerFacts(container.id, image=text(container.image), created=created, labels=labels)
    facts.name = text(labels.get("nerdctl/name")) or text(container.id)
    facts.pod = cri.labelled_pod(labels)
    spec = _json(container.spec.value)
    if _CONTAINER in extensions:
        _configured(facts, _json(extensions[_CONTAINER]))
    else:
        facts.mounts = _mounts(spec)
    specification.take(facts, spec)
    return Inspected(facts, whole=_CONTAINER not in extensions)


def _json(raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _folder(raw: dict[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        found = raw.get(name)
        raw = found if isinstance(found, dict) else {}
    return raw


def _configured(facts: ContainerFacts, metadata: dict[str, Any]) -> None:
    known = _folder(metadata, "Metadata")
    config = _folder(known, "Config")
    facts.sandbox = text(known.get("SandboxID"))
    facts.name = text(_folder(config, "metadata").get("name"))
    attempt = _folder(config, "metadata").get("attempt", 0)
    facts.attempt = attempt if isinstance(attempt, int) else None
    facts.image_id = text(known.get("ImageRef"))
    facts.image_digest = cri.digest(facts.image_id)
    facts.labels = mapping(config.get("labels") or {})
    facts.annotations = mapping(config.get("annotations") or {})
    mounts = config.get("mounts")
    facts.mounts = [
        mount(one.get("host_path"), one.get("container_path"), bool(one.get("readonly")))
        for one in (mounts if isinstance(mounts, list) else [])[:MOST_MOUNTS]
        if isinstance(one, dict)
    ]
    cri.configured(facts, config)


def _mounts(spec: dict[str, Any]) -> list[str]:
    """Bind mounts of a specification."""
    listed = spec.get("mounts")
    found = []
    for one in listed if isinstance(listed, list) else []:
        options = one.get("options") or [] if isinstance(one, dict) else []
        if "bind" in options or "rbind" in options:
            found.append(mount(one.get("source"), one.get("destination"), "ro" in options))
    return found[:MOST_MOUNTS]


def _pod(identity: str, metadata: dict[str, Any], created: int) -> PodFacts:
    known = _folder(metadata, "Metadata")
    config = _folder(known, "Config")
    words = _folder(config, "metadata")
    pod = PodFacts(
        identity,
        name=text(words.get("name")),
        namespace=text(words.get("namespace")),
        uid=text(words.get("uid")),
        created=created,
        labels=mapping(config.get("labels") or {}),
        annotations=mapping(config.get("annotations") or {}),
    )
    listed = known.get("AdditionalIPs")
    addresses = [known.get("IP"), *(listed if isinstance(listed, list) else [])]
    pod.addresses = [found for address in addresses if (found := text(address))]
    options = _folder(config, "linux", "security_context", "namespace_options")
    pod.host_network, pod.host_pid, pod.host_ipc = (options.get(k) == 2 for k in ("network", "pid", "ipc"))
    return pod
