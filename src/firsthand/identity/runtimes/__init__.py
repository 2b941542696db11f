"""Container runtimes asked for names: CRI (containerd, CRI-O), Docker Engine, Podman."""

from __future__ import annotations

from firsthand.identity.runtimes.facts import Runtime


def of(socket: str) -> Runtime:
    """The runtime behind a socket, by the socket's name: PATH, or KIND:PATH with containerd, cri, docker or podman.

    What answers is looked at when it is reached; the libraries that it needs are loaded then.
    """
    path = path_of(socket)
    kind = socket[: -len(path)].rstrip(":") or _kind(path)
    if kind in ("docker", "podman"):
        from firsthand.identity.runtimes.engine import Engine

        return Engine(path)
    if kind == "cri":
        from firsthand.identity.runtimes.cri import Cri

        return Cri(path)
    from firsthand.identity.runtimes.containerd import Containerd

    return Containerd(path)


def path_of(socket: str) -> str:
    """The path within a socket's name, which begins with its first slash."""
    return socket[socket.index("/") :]


def _kind(path: str) -> str:
    name = path.rpartition("/")[2]
    if "cri" in name:
        return "cri"
    return next((kind for kind in ("podman", "docker") if kind in name), "containerd")
