"""Which files' cached pages are compared with the disk."""

from __future__ import annotations

from typing import Annotated

from firsthand.settings.declare import Section, section, setting
from firsthand.settings.kinds import paths


@section("content", role="checker")
class Content(Section, frozen=True):
    """The checker (docs/content.md)."""

    enabled: Annotated[
        bool,
        setting(
            "Whether the cached pages of set-uid programs, account files and the files below are compared with the disk: `ask tampered`."
        ),
    ] = True
    every_seconds: Annotated[
        int, setting("Seconds from the begin of a round to that of the next one.", "seconds", least=10, most=86_400)
    ] = 60
    roots: Annotated[
        tuple[str, ...],
        setting(
            "Below which folders the default list is searched: the machine's own root, and layers of images, whose pages all containers of "
            "them share; * for any name.",
            kind=paths("/var/lib/docker/overlay2/*/diff"),
        ),
    ] = (
        "/",
        "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/*/fs",
        "/var/lib/rancher/k3s/agent/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/*/fs",
        "/var/lib/docker/overlay2/*/diff",
        "/var/lib/containers/storage/overlay/*/diff",
    )
    files: Annotated[
        tuple[str, ...],
        setting(
            "More files, by their absolute paths; * for any name. With --scope these alone are checked.",
            kind=paths("/usr/bin/*"),
        ),
    ] = ()
