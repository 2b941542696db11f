"""The workload from a runtime's labels, until the API server is asked; with the label that said so. No label: none.

Sources: kubernetes/kubernetes pkg/controller/deployment/sync.go (pod-template-hash, the ReplicaSet's name is NAME-HASH),
pkg/controller/statefulset/stateful_set_utils.go (statefulset.kubernetes.io/pod-name, NAME-ORDINAL), pkg/controller/daemon
(controller-revision-hash with pod-template-generation), pkg/controller/job/job_controller.go (job-name),
pkg/controller/cronjob/utils.go (a CronJob's Job is NAME-MINUTES since 1970), pkg/kubelet/types/pod_update.go (config.source);
staging/src/k8s.io/apiserver/pkg/storage/names/generate.go (five random letters); compose-spec, Docker Swarm, Podman's
PODMAN_SYSTEMD_UNIT.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_RANDOM = re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{5}$")
_MINUTES = re.compile(r"^(.+)-(\d{8,10})$")
_ORDINAL = re.compile(r"^(.+)-\d+$")
#: A CronJob's Job is made within this of the time in its name (it may be late when the controller was down).
_LATE = 7 * 24 * 3600
_HASHES = {"pod-template-hash": "Deployment", "rollouts-pod-template-hash": "Rollout"}
_JOBS = ("batch.kubernetes.io/job-name", "job-name")


@dataclass(frozen=True)
class Workload:
    """`name` as namespace/kind/name, `source` the label or annotation that told it."""

    name: str
    source: str


def of_pod(
    namespace: str | None,
    pod: str | None,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    created: int | None = None,
) -> Workload | None:
    """The workload of a Kubernetes pod; None where no label tells one. `created` in microseconds since 1970."""
    if not namespace or not pod:
        return None
    found = (
        _hashed(pod, labels)
        or _stateful(pod, labels)
        or _daemon(pod, labels)
        or _job(labels, created)
        or _static(pod, annotations)
    )
    return None if found is None else Workload(f"{namespace}/{found[0]}/{found[1]}", found[2])


_Told = tuple[str, str, str] | None


def _hashed(pod: str, labels: Mapping[str, str]) -> _Told:
    """A ReplicaSet's pod, whose name holds the hash: what stands before it is the Deployment's name."""
    for label, kind in _HASHES.items():
        value = labels.get(label)
        head, found, _ = pod.rpartition(f"-{value}-") if value else ("", "", "")
        if found and head:
            return kind, head, f"label:{label}"
    return None


def _stateful(pod: str, labels: Mapping[str, str]) -> _Told:
    found = _ORDINAL.match(pod)
    if found and labels.get("statefulset.kubernetes.io/pod-name") == pod:
        return "StatefulSet", found[1], "label:statefulset.kubernetes.io/pod-name"
    return None


def _daemon(pod: str, labels: Mapping[str, str]) -> _Told:
    if "controller-revision-hash" in labels and "pod-template-generation" in labels and _RANDOM.search(pod):
        return "DaemonSet", _RANDOM.sub("", pod), "label:pod-template-generation"
    return None


def _job(labels: Mapping[str, str], created: int | None) -> _Told:
    """A Job; where its name ends in the minute for which a CronJob made it, that CronJob."""
    label = next((name for name in _JOBS if labels.get(name)), None)
    if label is None:
        return None
    name = labels[label]
    found = _MINUTES.match(name)
    if found and created is not None and 0 <= created / 1e6 - int(found[2]) * 60 <= _LATE:
        return "CronJob", found[1], f"label:{label}, scheduled minute"
    return "Job", name, f"label:{label}"


def _static(pod: str, annotations: Mapping[str, str]) -> _Told:
    """A pod from a file on the node: nothing owns it but itself."""
    source = annotations.get("kubernetes.io/config.source")
    return ("Pod", pod, "annotation:kubernetes.io/config.source") if source and source != "api" else None


def of_container(labels: Mapping[str, str]) -> Workload | None:
    """The workload of a container outside Kubernetes: compose and swarm services, systemd units of Podman."""
    for project, service in (
        ("com.docker.compose.project", "com.docker.compose.service"),
        ("io.podman.compose.project", "io.podman.compose.service"),
    ):
        if labels.get(service):
            return Workload(f"{labels.get(project, '')}/Service/{labels[service]}", f"label:{service}")
    if labels.get("com.docker.swarm.service.name"):
        return Workload(f"/Service/{labels['com.docker.swarm.service.name']}", "label:com.docker.swarm.service.name")
    if labels.get("PODMAN_SYSTEMD_UNIT"):
        return Workload(f"/Unit/{labels['PODMAN_SYSTEMD_UNIT']}", "label:PODMAN_SYSTEMD_UNIT")
    return None
