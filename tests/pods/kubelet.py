"""Pods over CRI, made by the test in the kubelet's place, on a containerd of the test's own (tests/pods/containerd.py)."""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import grpc

from tests.pods.containerd import IMAGE, OwnContainerd

_HERE = Path(__file__).parent
_SERVICE = "/runtime.v1.RuntimeService/"
NODE, CONTAINER, TARGET = 2, 1, 3
EXITED = 2


@cache
def messages() -> Any:
    """The classes of kubelet.proto, compiled for this run."""
    from grpc_tools import protoc

    folder = tempfile.mkdtemp(prefix="firsthand-test-")
    assert protoc.main(["protoc", f"-I{_HERE}", f"--python_out={folder}", str(_HERE / "kubelet.proto")]) == 0
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("kubelet_pb2")
    finally:
        sys.path.remove(folder)


@dataclass
class MadeContainer:
    """A container of a pod. `asked` is when its creation was asked for, `told` when the runtime had answered (seconds)."""

    kubelet: Kubelet
    pod: KubeletPod
    name: str
    id: str
    asked: float
    told: float
    attempt: int = 0

    def start(self) -> MadeContainer:
        """Start it."""
        self.kubelet.call("StartContainer", "Empty", container_id=self.id)
        return self

    def exec(self, *argv: str) -> Any:
        """Run a command inside, as `kubectl exec` does, and wait for it."""
        return self.kubelet.call("ExecSync", "ExecSyncResponse", container_id=self.id, cmd=argv, timeout=30)

    def status(self) -> Any:
        """What the runtime says of it; `info` holds its first process's pid."""
        return self.kubelet.call("ContainerStatus", "ContainerStatusResponse", container_id=self.id, verbose=True)

    @property
    def log(self) -> str:
        """What it printed, without CRI's times and marks."""
        path = Path(self.pod.config.log_directory) / f"{self.name}-{self.attempt}.log"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return "\n".join(line.split(" ", 3)[3] for line in lines if line.count(" ") > 2)

    def stop(self, within: int) -> int:
        """End it as the kubelet does: SIGTERM, and SIGKILL after so many seconds; its exit code."""
        self.kubelet.call("StopContainer", "Empty", container_id=self.id, timeout=within)
        return int(self.wait().status().status.exit_code)

    def wait(self) -> MadeContainer:
        """Until it has ended."""
        deadline = time.monotonic() + 60
        while (
            self.kubelet.call("ContainerStatus", "ContainerStatusResponse", container_id=self.id).status.state != EXITED
        ):
            assert time.monotonic() < deadline, f"{self.name} does not end"
        return self

    def remove(self) -> None:
        """Kill and forget it."""
        self.kubelet.call("RemoveContainer", "Empty", container_id=self.id)


@dataclass
class KubeletPod:
    """A sandbox and its containers."""

    kubelet: Kubelet
    config: Any
    id: str
    uid: str
    name: str
    namespace: str
    containers: list[MadeContainer] = field(default_factory=list)

    def kubelets(self, container: str) -> dict[str, str]:
        """The labels that the kubelet gives a container."""
        of_pod = {
            "io.kubernetes.pod.name": self.name,
            "io.kubernetes.pod.namespace": self.namespace,
            "io.kubernetes.pod.uid": self.uid,
        }
        return {"io.kubernetes.container.name": container, **of_pod}

    @property
    def address(self) -> str:
        """The pod's own address."""
        answer = self.kubelet.call("PodSandboxStatus", "PodSandboxStatusResponse", pod_sandbox_id=self.id)
        return str(answer.status.network.ip)

    def create(self, name: str, *argv: str, image: str = IMAGE, **more: Any) -> MadeContainer:
        """Make a container and do not start it; `more` as Kubelet.container."""
        return self.make(name, self.kubelet.container(self, name, argv, image, **more))

    def make(self, name: str, config: Any) -> MadeContainer:
        """The same of a configuration that is ready."""
        asked = time.time()
        fields = {"pod_sandbox_id": self.id, "config": config, "sandbox_config": self.config}
        identity = self.kubelet.call("CreateContainer", "CreateContainerResponse", **fields).container_id
        made = MadeContainer(self.kubelet, self, name, identity, asked, time.time(), config.metadata.attempt)
        self.containers.append(made)
        return made

    def run(self, name: str, *argv: str, **more: Any) -> MadeContainer:
        """Make a container and start it."""
        return self.create(name, *argv, **more).start()

    def stop(self) -> None:
        """End everything in it; its address is free then."""
        self.kubelet.call("StopPodSandbox", "Empty", pod_sandbox_id=self.id)

    def remove(self) -> None:
        """Stop everything in it and forget it."""
        self.stop()
        self.kubelet.call("RemovePodSandbox", "Empty", pod_sandbox_id=self.id)
        self.kubelet.pods.remove(self)


class Kubelet:
    """Asks one containerd; at the end of the block every pod is removed."""

    def __init__(self, containerd: OwnContainerd) -> None:
        self.daemon = containerd
        self.pods: list[KubeletPod] = []
        self._connect()

    def _connect(self) -> None:
        self._channel = grpc.insecure_channel(
            f"unix:{self.daemon.folder / 'socket'}", options=[("grpc.enable_http_proxy", 0)]
        )

    def again(self) -> None:
        """Connect anew, to a runtime that was started again."""
        self._channel.close()
        self._connect()
        deadline = time.monotonic() + 60
        while not self._ready():
            assert time.monotonic() < deadline, "CRI does not get ready"

    def _ready(self) -> bool:
        try:
            self.call("ListPodSandbox", "Empty")
        except grpc.RpcError:  # it answers before it has read its state
            return False
        return True

    def call(self, method: str, answer: str, **fields: Any) -> Any:
        """One call of CRI."""
        m = messages()
        kind = getattr(m, f"{method}Request")
        stub = self._channel.unary_unary(
            _SERVICE + method, lambda request: request.SerializeToString(), getattr(m, answer).FromString
        )
        return stub(kind(**fields), timeout=120, wait_for_ready=True)

    def pod(
        self,
        name: str,
        namespace: str = "default",
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        host: Sequence[str] = (),
        privileged: bool = False,
        uid: str = "",
        qos: str = "burstable/",
        resolvers: Sequence[str] = (),
    ) -> KubeletPod:
        """A sandbox as the kubelet makes it; `host`: the namespaces (network, pid, ipc) that are the host's; without `resolvers` it
        has the host's."""
        m = messages()
        uid = uid or str(uuid.uuid4())
        kubelets = {
            "io.kubernetes.pod.name": name,
            "io.kubernetes.pod.namespace": namespace,
            "io.kubernetes.pod.uid": uid,
        }
        security = m.LinuxSandboxSecurityContext(namespace_options=namespaces(host), privileged=privileged)
        parent = f"/{self.daemon.cgroup.name}/kubepods/{qos}pod{uid}"
        config = m.PodSandboxConfig(
            metadata=m.PodSandboxMetadata(name=name, uid=uid, namespace=namespace, attempt=0),
            hostname="" if "network" in host else "test",
            log_directory=str(
                self.daemon.folder / "logs" / uid
            ),  # of its own, as the kubelet's: what others of its name said is not its
            dns_config=m.DNSConfig(servers=resolvers) if resolvers else None,
            labels={**kubelets, **(labels or {})},
            annotations=annotations or {},
            linux=m.LinuxPodSandboxConfig(cgroup_parent=parent, security_context=security),
        )
        made = self.call("RunPodSandbox", "RunPodSandboxResponse", config=config)
        pod = KubeletPod(self, config, made.pod_sandbox_id, uid, name, namespace)
        self.pods.append(pod)
        return pod

    def container(
        self,
        pod: KubeletPod,
        name: str,
        argv: Sequence[str],
        image: str,
        *,
        add: Sequence[str] = (),
        drop: Sequence[str] = (),
        privileged: bool = False,
        host: Sequence[str] = (),
        user: int | None = None,
        mounts: Sequence[tuple[str, str, bool]] = (),
        target: str = "",
        attempt: int = 0,
    ) -> Any:
        """A container's configuration as the kubelet writes it."""
        m = messages()
        options = namespaces(host)
        if target:
            options.pid, options.target_id = TARGET, target
        security = m.LinuxContainerSecurityContext(
            capabilities=m.Capability(add_capabilities=add, drop_capabilities=drop),
            privileged=privileged,
            namespace_options=options,
            run_as_user=None if user is None else m.Int64Value(value=user),
        )
        return m.ContainerConfig(
            metadata=m.ContainerMetadata(name=name, attempt=attempt),
            image=m.ImageSpec(image=image),
            command=argv,
            labels=pod.kubelets(name),
            log_path=f"{name}-{attempt}.log",
            mounts=[m.Mount(host_path=source, container_path=at, readonly=ro) for source, at, ro in mounts],
            linux=m.LinuxContainerConfig(security_context=security),
        )

    def __enter__(self) -> Kubelet:
        return self

    def __exit__(self, *_: object) -> None:
        for pod in list(self.pods):
            pod.remove()
        self._channel.close()


def namespaces(host: Sequence[str]) -> Any:
    """CRI's namespace options, with those of the host that are named."""
    pid = NODE if "pid" in host else CONTAINER
    return messages().NamespaceOption(
        network=NODE if "network" in host else 0, pid=pid, ipc=NODE if "ipc" in host else 0
    )
