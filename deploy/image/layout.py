"""An OCI image as a tar of an image layout, which `ctr image import`, skopeo, podman and docker read. No daemon, no registry.

Source: opencontainers/image-spec (image-layout.md, manifest.md, config.md, layer.md). The same content gives the same bytes: members
are root's, sorted, of the epoch.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import stat
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

_OCI = "application/vnd.oci.image"
#: Go's names of architectures, which the specification uses.
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class LayerMember:
    """One file of a layer: `name` without a leading slash; a link's target, or the content as bytes or in a file; else a folder."""

    name: str
    mode: int = 0o755
    content: bytes | Path | None = None
    link: str = ""


@dataclass(frozen=True)
class Blob:
    """A part of an image: `digest` of what is stored, and of a layer `diff_id`, that of its tar before it was compressed."""

    kind: str
    digest: str
    size: int
    source: Path | bytes
    diff_id: str = ""

    @property
    def descriptor(self) -> dict[str, Any]:
        """As manifest and index name it (descriptor.md)."""
        return {"mediaType": self.kind, "digest": self.digest, "size": self.size}


class _Counted(io.RawIOBase):
    """Writes on, and knows the digest and size of what went through."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._sum = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._sum.update(data)
        self.size += len(data)
        return self._target.write(data)

    def tell(self) -> int:
        return self.size

    @property
    def digest(self) -> str:
        return f"sha256:{self._sum.hexdigest()}"


def members(root: Path) -> list[LayerMember]:
    """Everything below a folder, unchanged: files, folders and symlinks."""
    found = []
    for path in sorted(root.rglob("*")):
        name, mode = str(path.relative_to(root)), path.lstat().st_mode
        if stat.S_ISLNK(mode):
            found.append(LayerMember(name, 0o777, link=os.readlink(path)))  # noqa: PTH115 - as it is, not as a path
        elif stat.S_ISDIR(mode):
            found.append(LayerMember(name))
        elif stat.S_ISREG(mode):
            found.append(LayerMember(name, 0o755 if mode & 0o100 else 0o644, path))
    return found


def write_tar(target: IO[bytes], wanted: Iterable[LayerMember]) -> None:
    """A tar of members; folders that only their content names are added."""
    given = {member.name: member for member in wanted}
    folders = {str(parent) for name in given for parent in Path(name).parents} - {".", *given}
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member in sorted([*given.values(), *map(LayerMember, folders)], key=lambda one: one.name):
            _add(tar, member)


def _add(tar: tarfile.TarFile, member: LayerMember) -> None:
    entry = tarfile.TarInfo(member.name)
    entry.mode = member.mode
    if member.link:
        entry.type, entry.linkname = tarfile.SYMTYPE, member.link
    elif member.content is None:
        entry.type = tarfile.DIRTYPE
    elif isinstance(member.content, bytes):
        entry.size = len(member.content)
        return tar.addfile(entry, io.BytesIO(member.content))
    else:
        entry.size = member.content.stat().st_size
        with member.content.open("rb") as file:
            return tar.addfile(entry, file)
    return tar.addfile(entry)


def layer(target: Path, wanted: Iterable[LayerMember]) -> Blob:
    """Write a compressed layer to a file."""
    with target.open("wb") as file:
        stored = _Counted(file)
        with gzip.GzipFile("", "wb", 6, cast("IO[bytes]", stored), mtime=0) as packed:
            plain = _Counted(cast("IO[bytes]", packed))
            write_tar(cast("IO[bytes]", plain), wanted)
    return Blob(f"{_OCI}.layer.v1.tar+gzip", stored.digest, stored.size, target, plain.digest)


def plain_layer(wanted: Iterable[LayerMember]) -> Blob:
    """A small layer in memory, not compressed."""
    held = io.BytesIO()
    write_tar(held, wanted)
    return Blob(
        f"{_OCI}.layer.v1.tar",
        _digest(held.getvalue()),
        len(held.getvalue()),
        held.getvalue(),
        _digest(held.getvalue()),
    )


def write(target: Path, name: str, layers: Iterable[Blob], config: Mapping[str, Any], **more: Any) -> str:
    """The image `name` as a tar: `config` configures its processes (config.md), `more` is the rest of its description. Returns its digest."""
    layers = list(layers)
    rootfs = {"type": "layers", "diff_ids": [one.diff_id for one in layers]}
    machine = {"architecture": _MACHINES[platform.machine()], "os": "linux"}
    described = _document("config", {**machine, **more, "config": config, "rootfs": rootfs})
    links = {"config": described.descriptor, "layers": [one.descriptor for one in layers]}
    manifest = _document("manifest", {"schemaVersion": 2, "mediaType": f"{_OCI}.manifest.v1+json", **links})
    # The names that containerd, and skopeo and podman, read.
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    index = {"schemaVersion": 2, "manifests": [manifest.descriptor | {"annotations": names}]}
    parts = [
        LayerMember("oci-layout", 0o644, b'{"imageLayoutVersion": "1.0.0"}'),
        LayerMember("index.json", 0o644, _json(index)),
    ]
    for blob in (manifest, described, *layers):
        parts.append(LayerMember(f"blobs/sha256/{blob.digest.removeprefix('sha256:')}", 0o644, blob.source))
    new = target.with_name(f"{target.name}.new")
    with new.open("wb") as file:
        write_tar(file, parts)
    shutil.move(new, target)
    return manifest.digest


def _document(kind: str, content: Mapping[str, Any]) -> Blob:
    text = _json(content)
    return Blob(f"{_OCI}.{kind}.v1+json", _digest(text), len(text), text)


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
