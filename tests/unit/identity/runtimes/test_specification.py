"""Declared privilege of OCI specifications, of answers of Docker and Podman, and what they leave unknown."""

from __future__ import annotations

from typing import Any

import pytest

from firsthand.errors import RuntimeGoneError
from firsthand.identity import runtimes
from firsthand.identity.runtimes import cri, engine, specification
from firsthand.identity.runtimes.facts import ContainerFacts
from firsthand.schema import capability
from firsthand.settings.kinds import socket


def _taken(spec: dict[str, Any]) -> ContainerFacts:
    facts = ContainerFacts("a" * 64)
    specification.take(facts, spec)
    return facts


def test_a_specification() -> None:
    """Bounding set, user, no-new-privileges, seccomp; namespaces that it lists are its own, the others the host's."""
    process = {
        "user": {"uid": 1000},
        "capabilities": {"bounding": ["CAP_CHOWN", "CAP_NEWER_THAN_US"]},
        "noNewPrivileges": True,
    }
    facts = _taken({"process": process, "linux": {"namespaces": [{"type": "pid"}, {"type": "ipc", "path": "/x"}]}})
    assert facts.cap_declared == capability.bits(["chown"]) and facts.uid == 1000 and facts.no_new_privileges
    assert (facts.host_pid, facts.host_network, facts.host_ipc) == (
        False,
        True,
        False,
    ) and facts.seccomp == "unconfined"
    assert _taken({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}}}).seccomp == "SCMP_ACT_ERRNO"


@pytest.mark.parametrize("spec", [{}, {"process": 3, "linux": []}, {"process": {}}])
def test_what_is_not_there_is_unknown(spec: dict[str, Any]) -> None:
    """Never a guess."""
    facts = _taken(spec)
    assert facts.cap_declared is None and facts.uid is None and facts.host_pid is None and facts.privileged is None


def test_docker_adds_and_drops() -> None:
    """CapAdd and CapDrop upon the default set; ALL on either side; privileged is everything; Podman tells the outcome."""
    default = engine._DEFAULT

    def found(**host: Any) -> int:
        return engine._capabilities({}, host)

    assert found() == default and found(CapAdd=["NET_ADMIN"], CapDrop=["chown"]) == (
        default | capability.bits(["net_admin"])
    ) & ~capability.bits(["chown"])
    assert found(CapDrop=["ALL"], CapAdd=["CAP_KILL"]) == capability.bits(["kill"])
    assert found(CapAdd=["ALL"], CapDrop=["KILL"]) == engine._EVERY & ~capability.bits(["kill"])
    assert found(Privileged=True) == engine._EVERY
    assert engine._capabilities({"BoundingCaps": ["CAP_KILL"]}, {"Privileged": True}) == capability.bits(["kill"])


def test_events_that_are_none() -> None:
    """Lines that a daemon would not send are left alone."""
    for line in (b"", b"{", b"3", b'{"Action": "exec_start: sh", "Actor": {"ID": "a"}}', b'{"Action": "start"}'):
        assert engine._event(line) is None
    ended = engine._event(b'{"Action":"die","Actor":{"ID":"a","Attributes":{"exitCode":"137"}},"timeNano":5000}')
    assert ended is not None and (ended.what, ended.exit_code, ended.time) == ("exited", 137, 5)


def test_times_of_go() -> None:
    """Nanoseconds, zones and the zero time."""
    assert engine._time("0001-01-01T00:00:00Z") is None and engine._time("soon") is None and engine._time(None) is None
    assert engine._time("2026-11-24T09:11:04.803663123+01:00") == engine._time("2026-11-24T08:11:04.803663Z")


def test_digests() -> None:
    """Behind an @, or an image id; a name alone is none."""
    assert cri.digest("docker.io/a@sha256:1") == "sha256:1" == cri.digest("sha256:1")
    assert cri.digest("docker.io/a:latest") is None and cri.digest(None) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("/run/containerd/containerd.sock", "Containerd"),
        ("/run/crio/crio.sock", "Cri"),
        ("/run/cri-dockerd.sock", "Cri"),
        ("/run/docker.sock", "Engine"),
        ("/run/podman/podman.sock", "Engine"),
        ("docker:/tmp/x", "Engine"),
        ("cri:/tmp/x", "Cri"),
    ],
)
def test_the_runtime_behind_a_socket(name: str, kind: str) -> None:
    """By the socket's name, or as it is told."""
    found = runtimes.of(name)
    assert type(found).__name__ == kind and found.socket == runtimes.path_of(name)


def test_a_socket_that_is_none() -> None:
    """It is refused by its text; a runtime that is not there says which socket."""
    for text in ("containerd", "kvm:/run/x.sock", "", ":/x"):
        with pytest.raises(ValueError, match=f"not '{text}'"):
            socket(text)
    for name in ("docker:/nowhere/x.sock", "cri:/nowhere/x.sock"):
        with pytest.raises(RuntimeGoneError, match=r"/nowhere/x\.sock"):
            runtimes.of(name).connect()


@pytest.mark.parametrize(
    ("told", "path"),
    [
        ("/default/my-ctr-1", "/default/my-ctr-1"),
        ("/default/my-ctr-1/", "/default/my-ctr-1"),
        ("system.slice:nerdctl:my-ctr-1", "/system.slice/nerdctl-my-ctr-1.scope"),
        (":runc:web", "/system.slice/runc-web.scope"),
        ("a-b.slice::web", "/a.slice/a-b.slice/web.scope"),
        ("-.slice:runc:web", "/runc-web.scope"),
        ("user.slice:x:own.slice", "/user.slice/own.slice"),
        ("relative/web", None),
        ("/", None),
        (None, None),
    ],
)
def test_the_cgroup_of_a_specification(told: str | None, path: str | None) -> None:
    """As the kernel shows it below the hierarchy's root, in both drivers' spellings; a relative one is unknown."""
    assert specification.cgroup_path(told) == path
    assert _taken({"linux": {"cgroupsPath": told}}).cgroup_path == path


def test_podman_tells_where_a_container_is() -> None:
    """Its own word for the cgroup counts, with split cgroups as well."""
    path = f"/system.slice/web.service/libpod-payload-{'a' * 64}"
    assert engine._container({"Id": "a" * 64, "State": {"CgroupPath": path}}).cgroup_path == path
    assert engine._container({"Id": "a" * 64, "State": {}}).cgroup_path is None
