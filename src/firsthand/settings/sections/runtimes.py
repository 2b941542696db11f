"""Which container runtimes are asked for names."""

from __future__ import annotations

from typing import Annotated

from firsthand.settings.declare import Section, section, setting
from firsthand.settings.kinds import SOCKETS


@section("runtimes", role="follower")
class Runtimes(Section, frozen=True):
    """Sockets and annotations."""

    sockets: Annotated[
        tuple[str, ...],
        setting(
            'Sockets of container runtimes that are asked for names: "/path", or "KIND:/path" with KIND containerd, cri, docker or podman '
            "where the path does not show it. One that does not exist is waited for. None: containers are known by their ids alone.",
            kind=SOCKETS,
        ),
    ] = (
        "/run/containerd/containerd.sock",
        "/run/k3s/containerd/containerd.sock",
        "/run/crio/crio.sock",
        "/run/cri-dockerd.sock",
        "/run/docker.sock",
        "/run/podman/podman.sock",
    )
    annotations: Annotated[
        tuple[str, ...], setting("Annotations that are recorded, by key; a * at the end stands for anything.")
    ] = (
        "kubernetes.io/config.*",
        "kubectl.kubernetes.io/default-container",
        "container.apparmor.security.beta.kubernetes.io/*",
    )
