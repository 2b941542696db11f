"""Images for containers, written here from Debian's static busybox: an OCI image layout in a tar, no registry, no docker.

Source: opencontainers/image-spec (image-layout.md, manifest.md, config.md); `ctr image import` reads it.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

_OCI = "application/vnd.oci.image"
#: The name that an archive gives its image (the annotation containerd reads; `org.opencontainers.image.ref.name` is the tag).
_NAME = "io.containerd.image.name"
_ACCOUNTS = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
}


def busybox() -> Path:
    """The static busybox of the package busybox-static."""
    found = shutil.which("busybox", path="/bin:/usr/bin:/sbin:/usr/sbin")
    assert found, "require.containerd() comes first"
    return Path(found)


@lru_cache
def applets() -> tuple[str, ...]:
    """Every applet that this busybox holds."""
    listed = subprocess.run([str(busybox()), "--list"], check=True, capture_output=True, text=True).stdout
    return tuple(name for name in listed.split() if name != "busybox")


def layer(files: Mapping[str, bytes]) -> bytes:
    """A root filesystem as an uncompressed tar: busybox, a symlink in /bin for each applet, accounts, and `files`
    (path without a leading slash to contents; those below bin/ are executable)."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for folder, mode in {"bin": 0o755, "etc": 0o755, "root": 0o700, "tmp": 0o1777, "var": 0o755}.items():
            _add(tar, folder, b"", mode, tarfile.DIRTYPE)
        _add(tar, "bin/busybox", busybox().read_bytes(), 0o755)
        for name in applets():
            _add(tar, f"bin/{name}", b"", 0o777, tarfile.SYMTYPE, "busybox")
        for name, content in {**_ACCOUNTS, **files}.items():
            _add(tar, name, content, 0o755 if name.startswith("bin/") else 0o644)
    return held.getvalue()


def _add(
    tar: tarfile.TarFile, name: str, content: bytes, mode: int, kind: bytes = tarfile.REGTYPE, target: str = ""
) -> None:
    """One member, root's, of the epoch, so that the same image has the same digest."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.size, entry.linkname = kind, mode, len(content), target
    tar.addfile(entry, io.BytesIO(content))


def archive(target: Path, name: str, files: Mapping[str, bytes], user: str = "0", command: str = "/bin/sh") -> None:
    """Write the image `name` (docker.io/... or any full reference) to `target` as a tar of an OCI image layout; its
    processes run as `user`, `command` where nothing else is said."""
    root = layer(files)
    blobs = {_digest(root): root}
    config = _blob(blobs, _config(root, user, command))
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": {"mediaType": f"{_OCI}.config.v1+json", **config},
        "layers": [{"mediaType": f"{_OCI}.layer.v1.tar", "digest": _digest(root), "size": len(root)}],
    }
    entry = {"mediaType": f"{_OCI}.manifest.v1+json", **_blob(blobs, manifest), "annotations": {_NAME: name}}
    with tarfile.open(target, "w") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}', 0o644)
        _add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode(), 0o644)
        for digest, blob in blobs.items():
            _add(tar, f"blobs/sha256/{digest.removeprefix('sha256:')}", blob, 0o644)


def _config(root: bytes, user: str, command: str) -> dict[str, Any]:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    return {
        "architecture": machine,
        "os": "linux",
        "config": {"User": user, "Cmd": [command], "Env": ["PATH=/bin"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [_digest(root)]},
    }


def _blob(blobs: dict[str, bytes], document: Mapping[str, Any]) -> dict[str, Any]:
    """Put a JSON document among the blobs; its digest and size, as a descriptor says them."""
    text = json.dumps(document).encode()
    blobs[_digest(text)] = text
    return {"digest": _digest(text), "size": len(text)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
