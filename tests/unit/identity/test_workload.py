"""Workloads by labels: the label that told it, and none where none does."""

from __future__ import annotations

import pytest

from firsthand.identity import workload

_JUNE = 1_780_000_000 * 1_000_000  # microseconds


@pytest.mark.parametrize(
    ("pod", "labels", "expected"),
    [
        ("web-5d4c6b7f9-x2x4z", {"pod-template-hash": "5d4c6b7f9"}, ("shop/Deployment/web", "label:pod-template-hash")),
        ("a-b-5d4c-x2x4z", {"pod-template-hash": "5d4c"}, ("shop/Deployment/a-b", "label:pod-template-hash")),
        (
            "web-5d4c-x2x4z",
            {"rollouts-pod-template-hash": "5d4c"},
            ("shop/Rollout/web", "label:rollouts-pod-template-hash"),
        ),
        ("web-other-x2x4z", {"pod-template-hash": "5d4c"}, None),
        ("-5d4c-x2x4z", {"pod-template-hash": "5d4c"}, None),
        (
            "db-0",
            {"statefulset.kubernetes.io/pod-name": "db-0"},
            ("shop/StatefulSet/db", "label:statefulset.kubernetes.io/pod-name"),
        ),
        ("db-0", {"statefulset.kubernetes.io/pod-name": "db-1"}, None),
        (
            "proxy-x2x4z",
            {"controller-revision-hash": "6f", "pod-template-generation": "1"},
            ("shop/DaemonSet/proxy", "label:pod-template-generation"),
        ),
        ("proxy", {"controller-revision-hash": "6f", "pod-template-generation": "1"}, None),
        ("once-x2x4z", {"job-name": "once"}, ("shop/Job/once", "label:job-name")),
        (
            "nightly-29666660-x2x4z",
            {"batch.kubernetes.io/job-name": "nightly-29666660"},
            ("shop/CronJob/nightly", "label:batch.kubernetes.io/job-name, scheduled minute"),
        ),
        ("old-12345678-x2x4z", {"job-name": "old-12345678"}, ("shop/Job/old-12345678", "label:job-name")),
        ("bare", {"app": "web"}, None),
    ],
)
def test_pods(pod: str, labels: dict[str, str], expected: tuple[str, str] | None) -> None:
    """Each controller's own label; a label that does not fit the pod's name tells nothing."""
    found = workload.of_pod("shop", pod, labels, {}, _JUNE)
    assert (found and (found.name, found.source)) == expected


def test_static_pods() -> None:
    """A pod from a file owns itself; one from the API server is not told by that annotation."""
    key = "kubernetes.io/config.source"
    found = workload.of_pod("kube-system", "etcd-node", {}, {key: "file"})
    assert found == workload.Workload("kube-system/Pod/etcd-node", f"annotation:{key}")
    assert workload.of_pod("kube-system", "etcd-node", {}, {key: "api"}) is None


def test_no_namespace_no_workload() -> None:
    """Podman's pods are in no namespace."""
    assert workload.of_pod(None, "web-1-x2x4z", {"pod-template-hash": "1"}, {}) is None


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"com.docker.compose.project": "shop", "com.docker.compose.service": "db"}, "shop/Service/db"),
        ({"io.podman.compose.service": "db"}, "/Service/db"),
        ({"com.docker.swarm.service.name": "db"}, "/Service/db"),
        ({"PODMAN_SYSTEMD_UNIT": "db.service"}, "/Unit/db.service"),
        ({"app": "db"}, None),
    ],
)
def test_containers_outside_kubernetes(labels: dict[str, str], expected: str | None) -> None:
    """Compose, swarm, systemd units."""
    found = workload.of_container(labels)
    assert (found and found.name) == expected
