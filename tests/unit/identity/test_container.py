"""Every spelling of a container's cgroup in use is understood, and what only looks like one is the host's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthand.identity.container import ContainerPath, parse

ID = "3f4b2c1d" * 8
OTHER = "a0b1c2d3" * 8
UID = "8dbc5577-d0e2-4706-8787-57d52c03ddf2"
FLAT = "8dbc5577d0e24706878757d52c03ddf2"
UNDER = UID.replace("-", "_")

PATHS = [
    # Kubernetes, cgroupfs driver: any runtime writes a bare id, so the runtime is unknown
    (f"/kubepods/burstable/pod{UID}/{ID}", None, ID, UID, "burstable"),
    (f"/kubepods/besteffort/pod{UID}/{ID}", None, ID, UID, "besteffort"),
    (f"/kubepods/pod{UID}/{ID}", None, ID, UID, "guaranteed"),
    (f"/kubepods/burstable/pod{FLAT}/{ID}", None, ID, FLAT, "burstable"),
    (f"/kubepods/besteffort/pod{UID}/crio-{ID}", "cri-o", ID, UID, "besteffort"),
    (f"/firsthand-test-1/kubepods/burstable/pod{UID}/{ID}", None, ID, UID, "burstable"),
    # Kubernetes, systemd driver
    (
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UNDER}.slice/cri-containerd-{ID}.scope",
        "containerd",
        ID,
        UID,
        "burstable",
    ),
    (
        f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UNDER}.slice/crio-{ID}.scope",
        "cri-o",
        ID,
        UID,
        "besteffort",
    ),
    (f"/kubepods.slice/kubepods-pod{UNDER}.slice/cri-containerd-{ID}.scope", "containerd", ID, UID, "guaranteed"),
    (f"/kubepods.slice/kubepods-pod{UNDER}.slice/docker-{ID}.scope", "docker", ID, UID, "guaranteed"),
    (f"/kubepods.slice/kubepods-pod{FLAT}.slice/cri-containerd-{ID}.scope", "containerd", ID, FLAT, "guaranteed"),
    (
        f"/system.slice/containerd.service/kubepods-burstable-pod{UNDER}.slice:cri-containerd:{ID}",
        "containerd",
        ID,
        UID,
        "burstable",
    ),
    (f"/kubepods-besteffort-pod{UNDER}.slice:cri-containerd:{ID}", "containerd", ID, UID, "besteffort"),
    # Podman with split cgroups, as Quadlet has it
    (f"/system.slice/web.service/libpod-payload-{ID}", "podman", ID, None, None),
    (
        f"/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/libpod-payload-{ID}",
        "podman",
        ID,
        None,
        None,
    ),
    # kind: a node is itself a container
    (f"/docker/{OTHER}/kubelet/kubepods/burstable/pod{UID}/{ID}", None, ID, UID, "burstable"),
    (
        f"/docker/{OTHER}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UNDER}.slice/cri-containerd-{ID}.scope",
        "containerd",
        ID,
        UID,
        "guaranteed",
    ),
    (
        f"/system.slice/docker-{OTHER}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{UNDER}.slice/cri-containerd-{ID}.scope",
        "containerd",
        ID,
        UID,
        "burstable",
    ),
    # Docker
    (f"/docker/{ID}", "docker", ID, None, None),
    (f"/system.slice/docker-{ID}.scope", "docker", ID, None, None),
    (f"/docker/{OTHER}/docker/{ID}", "docker", ID, None, None),
    (f"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope", "docker", ID, None, None),
    # Podman
    (f"/machine.slice/libpod-{ID}.scope", "podman", ID, None, None),
    (f"/machine.slice/libpod-{ID}.scope/container", "podman", ID, None, None),
    (f"/libpod_parent/libpod-{ID}", "podman", ID, None, None),
    (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container", "podman", ID, None, None),
    (f"/machine.slice/machine-libpod_pod_{OTHER}.slice/libpod-{ID}.scope", "podman", ID, None, None),
    # containerd without Kubernetes
    (f"/default/{ID}", "containerd", ID, None, None),
    (f"/system.slice/nerdctl-{ID}.scope", "containerd", ID, None, None),
    (f"/k8s.io/{ID}", "containerd", ID, None, None),
    # made inside a container: still its own
    (f"/kubepods/pod{UID}/{ID}/init.scope", None, ID, UID, "guaranteed"),
    (f"/system.slice/docker-{ID}.scope/system.slice/nginx.service", "docker", ID, None, None),
    # the pod itself
    (f"/kubepods/burstable/pod{UID}", None, None, UID, "burstable"),
    (f"/kubepods.slice/kubepods-pod{UNDER}.slice", None, None, UID, "guaranteed"),
]
HOST = [
    "",
    "/",
    "/init.scope",
    "/system.slice/sshd.service",
    "/system.slice/docker.service",
    "/system.slice/containerd.service",
    "/user.slice/user-1000.slice/session-3.scope",
    "/kubepods",
    "/kubepods.slice/kubepods-burstable.slice",
    f"/machine.slice/libpod-conmon-{ID}.scope",
    f"/kubepods.slice/crio-conmon-{ID}.scope",
    "/system.slice/docker-abc.scope",
    f"/docker/{ID[:-1]}",
    f"/docker/{ID}0",
    f"/docker/{ID.upper()}",
    f"/system.slice/mydocker-{ID}.scope",
    f"/system.slice/docker-{ID}.service",
    f"/home/pod{UID}",
    f"/system.slice/pod{UID}.service",
]


@pytest.mark.parametrize(("path", "runtime", "container", "pod_uid", "qos"), PATHS)
def test_spellings(path: str, runtime: str | None, container: str | None, pod_uid: str | None, qos: str | None) -> None:
    """Each spelling gives its parts, as text and as bytes."""
    expected = ContainerPath(runtime, container, pod_uid, qos)
    assert parse(path) == expected and parse(path.encode()) == expected


@pytest.mark.parametrize("path", HOST)
def test_the_host_is_told_apart(path: str) -> None:
    """Services, monitors, near misses and folders of users are no containers."""
    found = parse(path)
    assert found.container is None and found.pod_uid is None


@given(st.binary(max_size=300))
def test_no_bytes_hurt(path: bytes) -> None:
    """Whatever a cgroup is called, parsing ends with an answer."""
    assert isinstance(parse(path), ContainerPath)


def test_an_oversized_path_is_the_hosts() -> None:
    """The input is bounded."""
    assert parse("/x" * 3000 + f"/docker/{ID}") == ContainerPath()
