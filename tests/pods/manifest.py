"""deploy/daemonset.yaml as the kubelet reads it: CRI's configurations from its own words, so that tests run what is deployed.

Source of what the kubelet makes of which word: kubernetes pkg/kubelet/kuberuntime (security_context.go, kuberuntime_container_linux.go)
and pkg/securitycontext/util.go.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.pods.kubelet import Kubelet, KubeletPod, messages, namespaces

#: spec.nodeName, which need not be the host name.
NODE = "worker-7.example"
PATH = Path(__file__).parents[2] / "deploy/daemonset.yaml"
#: What is hidden and what is read-only in a container's /proc and /sys by default.
_MASKED = ("asound", "acpi", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi")
_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_PROPAGATION = {"None": 0, "HostToContainer": 1, "Bidirectional": 2}
_SECCOMP = {"RuntimeDefault": 0, "Unconfined": 1}
_UNITS = {"": 1.0, "m": 0.001, "Mi": float(1 << 20), "Gi": float(1 << 30)}


class PodManifest:
    """The DaemonSet's pod. `spec` and `container` may be changed: each Manifest is a copy of the file's."""

    def __init__(self) -> None:
        self.documents = {one["kind"]: one for one in yaml.safe_load_all(PATH.read_text())}
        self.spec: dict[str, Any] = copy.deepcopy(self.documents["DaemonSet"]["spec"]["template"]["spec"])
        (self.container,) = self.spec["containers"]

    @property
    def image(self) -> str:
        """The image that the pod runs."""
        return str(self.container["image"])

    @property
    def capabilities(self) -> list[str]:
        """What is added to none."""
        return list(self.container["securityContext"]["capabilities"]["add"])

    def place(self, volume: str, path: Path) -> None:
        """Another folder of the host for a volume."""
        (found,) = (one for one in self.spec["volumes"] if one["name"] == volume)
        found["hostPath"] = {"path": str(path)}
        found.pop("configMap", None)

    def unmount(self, volume: str) -> None:
        """Take a volume away."""
        self.container["volumeMounts"] = [one for one in self.container["volumeMounts"] if one["name"] != volume]

    def write_settings(self, folder: Path) -> None:
        """The ConfigMap's files into a folder of the host, which is mounted in its place."""
        folder.mkdir(exist_ok=True)
        for name, text in self.documents["ConfigMap"]["data"].items():
            (folder / name).write_text(text)
        self.place("config", folder)

    def pod(self, kubelet: Kubelet, name: str) -> KubeletPod:
        """Its sandbox."""
        return kubelet.pod(name, self.documents["DaemonSet"]["metadata"]["namespace"], host=self.shared)

    @property
    def shared(self) -> list[str]:
        """The host's namespaces that it is in: pid, ipc, network."""
        return [one.removeprefix("host").lower() for one in ("hostPID", "hostIPC", "hostNetwork") if self.spec.get(one)]

    def config(
        self, pod: KubeletPod, more: Sequence[str] = (), attempt: int = 0, environment: Mapping[str, str] = {}
    ) -> Any:
        """Its container's configuration; `more` words behind its own."""
        m = messages()
        found = self.container
        envs = {**{one["name"]: _value(one) for one in found.get("env", ())}, **environment}
        return m.ContainerConfig(
            metadata=m.ContainerMetadata(name=found["name"], attempt=attempt),
            image=m.ImageSpec(image=self.image),
            command=found.get("command", ()),
            args=[*found.get("args", ()), *more],
            envs=[m.KeyValue(key=key, value=value) for key, value in envs.items()],
            mounts=[self._mount(one) for one in found["volumeMounts"]],
            labels=pod.kubelets(found["name"]),
            log_path=f"{found['name']}-{attempt}.log",
            linux=m.LinuxContainerConfig(security_context=self._security(), resources=_resources(found["resources"])),
        )

    def _mount(self, mount: dict[str, Any]) -> Any:
        (volume,) = (one for one in self.spec["volumes"] if one["name"] == mount["name"])
        return messages().Mount(
            host_path=volume["hostPath"]["path"],
            container_path=mount["mountPath"],
            readonly=mount.get("readOnly", False),
            propagation=_PROPAGATION[mount.get("mountPropagation", "None")],
        )

    def _security(self) -> Any:
        m = messages()
        found = self.container["securityContext"]
        held = found["capabilities"]
        return m.LinuxContainerSecurityContext(
            capabilities=m.Capability(add_capabilities=held["add"], drop_capabilities=held["drop"]),
            privileged=found["privileged"],
            namespace_options=namespaces(self.shared),
            run_as_user=m.Int64Value(value=found["runAsUser"]),
            readonly_rootfs=found["readOnlyRootFilesystem"],
            no_new_privs=not found["allowPrivilegeEscalation"],
            masked_paths=[*(f"/proc/{name}" for name in _MASKED), "/sys/firmware", "/sys/devices/virtual/powercap"],
            readonly_paths=[f"/proc/{name}" for name in _READ_ONLY],
            seccomp=m.SecurityProfile(profile_type=_SECCOMP[found["seccompProfile"]["type"]]),
        )


def _value(variable: dict[str, Any]) -> str:
    """A variable's value."""
    if "valueFrom" not in variable:
        return str(variable["value"])
    assert variable["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}
    return NODE


def _resources(found: dict[str, dict[str, str]]) -> Any:
    """Processors as a quota of each 100 ms and as shares, 1024 for one; memory in bytes."""
    processors, memory = _amount(found["limits"]["cpu"]), _amount(found["limits"]["memory"])
    shares = round(_amount(found["requests"]["cpu"]) * 1024)
    quota = round(processors * 100_000)
    return messages().LinuxContainerResources(
        cpu_period=100_000, cpu_quota=quota, cpu_shares=shares, memory_limit_in_bytes=round(memory)
    )


def _amount(text: str) -> float:
    number = re.fullmatch(r"([\d.]+)(\w*)", text)
    assert number is not None, text
    return float(number[1]) * _UNITS[number[2]]
