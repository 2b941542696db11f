"""The Container Runtime Interface over gRPC: CRI-O, and containerd's half that is common to both.

Sources: kubernetes/cri-api pkg/apis/runtime/v1/api.proto; what `verbose` adds is each runtime's own: containerd 1.6
pkg/cri/server/container_status.go (`info`: config, runtimeSpec, sandboxID), CRI-O server/container_status.go (`info`:
privileged, runtimeSpec, sandboxID).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import grpc

from firsthand.errors import RuntimeGoneError
from firsthand.identity.runtimes import messages_pb2 as m
from firsthand.identity.runtimes import specification
from firsthand.identity.runtimes.facts import (
    MOST_MOUNTS,
    POD_STATES,
    STATES,
    ContainerFacts,
    Happened,
    Inspected,
    Listed,
    PodFacts,
    mapping,
    microseconds,
    mount,
    text,
)

#: Seconds for one answer.
PATIENCE = 5.0
#: The kubelet's own bound for one message (pkg/kubelet/cri/remote: maxMsgSize).
MAX_MESSAGE = 16 << 20
_SERVICE = "/runtime.v1.RuntimeService/"
_NODE, _TARGET = 2, 3
_PROPAGATION = {2: "shared"}
_EVENTS = {0: "created", 1: "started", 2: "exited", 3: "removed"}
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.enable_http_proxy", 0),
    ("grpc.default_authority", "localhost"),
    ("grpc.use_local_subchannel_pool", 1),
)
#: Labels that the kubelet gives every container (pkg/kubelet/types/labels.go).
_POD_NAME, _POD_NAMESPACE, _POD_UID = (f"io.kubernetes.pod.{word}" for word in ("name", "namespace", "uid"))


class Cri:
    """One CRI socket. See `Runtime`."""

    def __init__(self, socket: str) -> None:
        self.socket = socket
        self.name = "cri"
        self._channel: grpc.Channel | None = None
        self._calls: dict[str, Any] = {}

    def connect(self) -> str:
        """Name and version of the runtime. RuntimeGoneError where none answers, or no CRI does."""
        self.close()
        self._channel = grpc.insecure_channel(f"unix:{self.socket}", options=_OPTIONS)
        answer = self._call("Version", m.VersionRequest(), m.VersionResponse)
        self.name = {"cri-o": "cri-o", "containerd": "containerd"}.get(text(answer.runtime_name) or "", "cri")
        return f"{text(answer.runtime_name)} {text(answer.runtime_version)}"

    def listed(self) -> list[Listed]:
        """Sandboxes and containers."""
        pods = self._call("ListPodSandbox", m.ListPodSandboxRequest(), m.ListPodSandboxResponse)
        containers = self._call("ListContainers", m.ListContainersRequest(), m.ListContainersResponse)
        found = [Listed(pod.id, True, POD_STATES.get(pod.state, "unknown")) for pod in pods.items]
        return found + [Listed(one.id, False, STATES.get(one.state, "unknown")) for one in containers.containers]

    def inspect(self, identity: str) -> Inspected | None:
        """A container, or else a sandbox."""
        return self.container(identity) or self.sandbox(identity)

    def container(self, identity: str) -> Inspected | None:
        """A container with its declared privilege, by ContainerStatus verbose."""
        request = m.ContainerStatusRequest(container_id=identity, verbose=True)
        answer = self._known("ContainerStatus", request, m.ContainerStatusResponse)
        if answer is None:
            return None
        facts = _container(answer.status)
        _declared(facts, _information(answer.info))
        return Inspected(container=facts)

    def sandbox(self, identity: str) -> Inspected | None:
        """A pod's sandbox, with its addresses."""
        request = m.PodSandboxStatusRequest(pod_sandbox_id=identity, verbose=True)
        answer = self._known("PodSandboxStatus", request, m.PodSandboxStatusResponse)
        if answer is None:
            return None
        pod = _pod(answer.status)
        facts = sandbox_container(pod)
        facts.image = text(_information(answer.info).get("image"))
        return Inspected(container=facts, pod=pod)

    def events(self) -> Iterator[Happened]:
        """GetContainerEvents, where the runtime has it (CRI-O 1.26, containerd 1.7)."""
        stream = self._stream(f"{_SERVICE}GetContainerEvents", m.GetEventsRequest(), m.ContainerEventResponse)
        for event in stream:
            what = _EVENTS.get(event.container_event_type)
            if what:
                yield Happened(event.container_id, what, time.time_ns() // 1000)

    def close(self) -> None:
        """Close the channel; calls in flight end with an error."""
        if self._channel is not None:
            self._channel.close()
        self._channel = None
        self._calls.clear()

    def _call(self, method: str, request: Any, answer: Any, metadata: Any = None) -> Any:
        """One call. RuntimeGoneError where it fails."""
        try:
            return self._method(method, answer)(request, timeout=PATIENCE, metadata=metadata)
        except (grpc.RpcError, ValueError) as error:
            raise self._gone(error) from error

    def _known(self, method: str, request: Any, answer: Any, metadata: Any = None) -> Any | None:
        """One call about one id: None where the runtime does not know it."""
        try:
            return self._method(method, answer)(request, timeout=PATIENCE, metadata=metadata)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED):
                return None
            raise self._gone(error) from error
        except ValueError as error:
            raise self._gone(error) from error

    def _method(self, method: str, answer: Any) -> Any:
        path = method if method.startswith("/") else _SERVICE + method
        if path not in self._calls:
            if self._channel is None:
                raise ValueError("not connected")
            self._calls[path] = self._channel.unary_unary(path, _bytes, answer.FromString)
        return self._calls[path]

    def _stream(self, path: str, request: Any, answer: Any) -> Iterator[Any]:
        if self._channel is None:
            return
        try:
            yield from self._channel.unary_stream(path, _bytes, answer.FromString)(request)
        except (grpc.RpcError, ValueError) as error:
            code = getattr(error, "code", lambda: None)()
            if code not in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.CANCELLED):
                raise self._gone(error) from error

    def _gone(self, error: Exception) -> RuntimeGoneError:
        details = getattr(error, "details", lambda: str(error))()
        return RuntimeGoneError(f"{self.socket}: {details}")


def _bytes(request: Any) -> bytes:
    return bytes(request.SerializeToString())


def _information(info: Any) -> dict[str, Any]:
    """The JSON that `verbose` adds; empty where there is none or it cannot be read."""
    try:
        found = json.loads({pair.key: pair.value for pair in info}[b"info"])
    except (KeyError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _container(status: Any) -> ContainerFacts:
    image_ref, image_id = text(status.image_ref), text(status.image_id)
    facts = ContainerFacts(
        status.id,
        name=text(status.metadata.name),
        attempt=status.metadata.attempt,
        image=text(status.image.user_specified_image) or text(status.image.image),
        image_digest=digest(image_ref),
        image_id=image_id or image_ref,
        state=STATES.get(status.state, "unknown"),
        created=microseconds(status.created_at),
        started=microseconds(status.started_at),
        finished=microseconds(status.finished_at),
        exit_code=status.exit_code if status.finished_at > 0 else None,
        reason=text(status.reason),
        labels=mapping(status.labels),
        annotations=mapping(status.annotations),
        mounts=[
            mount(one.host_path, one.container_path, one.readonly, _PROPAGATION.get(one.propagation, ""))
            for one in status.mounts[:MOST_MOUNTS]
        ],
    )
    facts.pod = labelled_pod(facts.labels)
    return facts


def digest(reference: str | None) -> str | None:
    """The part of an image reference that names its content; an image id is such a name as well."""
    found = (reference or "").rpartition("@")[2]
    return found if found.startswith("sha256:") else None


def labelled_pod(labels: dict[str, str]) -> PodFacts | None:
    """The pod as the kubelet's labels on a container tell it, without its sandbox."""
    if _POD_NAME not in labels:
        return None
    return PodFacts("", text(labels[_POD_NAME]), text(labels.get(_POD_NAMESPACE)), text(labels.get(_POD_UID)))


def _declared(facts: ContainerFacts, info: dict[str, Any]) -> None:
    """Privilege, as far as the runtime's own words tell it."""
    config, spec = info.get("config"), info.get("runtimeSpec")
    if isinstance(info.get("sandboxID"), str):
        facts.sandbox = info["sandboxID"]
    if isinstance(info.get("privileged"), bool):
        facts.privileged = info["privileged"]
    if isinstance(config, dict):
        configured(facts, config)
    if isinstance(spec, dict):
        specification.take(facts, spec)


def configured(facts: ContainerFacts, config: dict[str, Any]) -> None:
    """What a ContainerConfig says, in containerd's JSON of it: privileged, namespaces, and an ephemeral container's target."""
    linux = config.get("linux")
    security = linux.get("security_context") if isinstance(linux, dict) else None
    if not isinstance(security, dict):
        return
    facts.privileged = bool(security.get("privileged"))
    options = security.get("namespace_options")
    if not isinstance(options, dict):
        return
    facts.host_network, facts.host_pid, facts.host_ipc = (options.get(k) == _NODE for k in ("network", "pid", "ipc"))
    if options.get("pid") == _TARGET:  # only an ephemeral container's (pkg/kubelet/kuberuntime/security_context.go)
        facts.kind, facts.kind_source = "ephemeral", "runtime"


def _pod(status: Any) -> PodFacts:
    pod = PodFacts(
        status.id,
        name=text(status.metadata.name),
        namespace=text(status.metadata.namespace),
        uid=text(status.metadata.uid),
        state=POD_STATES.get(status.state, "unknown"),
        created=microseconds(status.created_at),
        labels=mapping(status.labels),
        annotations=mapping(status.annotations),
    )
    network = status.network
    pod.addresses = [address for ip in (network.ip, *(a.ip for a in network.additional_ips)) if (address := text(ip))]
    if status.linux.namespaces.HasField("options"):
        options = status.linux.namespaces.options
        pod.host_network, pod.host_pid, pod.host_ipc = (
            mode == _NODE for mode in (options.network, options.pid, options.ipc)
        )
    return pod


def sandbox_container(pod: PodFacts) -> ContainerFacts:
    """A sandbox's own container, which holds the pod's namespaces (the pause process)."""
    return ContainerFacts(
        pod.id,
        sandbox=pod.id,
        kind="sandbox",
        kind_source="runtime",
        state={"ready": "running", "not_ready": "exited"}.get(pod.state or ""),
        created=pod.created,
        host_pid=pod.host_pid,
        host_network=pod.host_network,
        host_ipc=pod.host_ipc,
    )
