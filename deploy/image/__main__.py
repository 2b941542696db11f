"""`make image`: an OCI image of three layers, as a tar, from Debian's packages, pinned packages of PyPI and the wheel; no daemon."""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from deploy.image import debian, layout, packages
from deploy.image.layout import Blob

#: The registry part is `localhost`, from which no node can pull: name your registry when you push the image.
NAME = "localhost/firsthand"
_CACHE = Path("build/image")
_SOURCES = sorted(Path(__file__).parent.glob("*.py"))
_LABELS = {
    "org.opencontainers.image.title": "Firsthand",
    "org.opencontainers.image.description": "Security observability for Kubernetes, from the kernel, at first hand",
    "org.opencontainers.image.source": "https://github.com/firsthand/firsthand",
    "org.opencontainers.image.licenses": "Apache-2.0 AND GPL-2.0-only",
}


def build(wheel: Path, target: Path, *, cache: Path = _CACHE, fresh: bool = False) -> str:
    """Write the image to a tar; the digest of its manifest. With `fresh`, Debian is asked for what is newest there."""
    version = packages.version(wheel)
    program = _cached(cache, "firsthand", lambda root: packages.fill_program(root, wheel), wheel.read_bytes())
    layers = [*base(cache, fresh=fresh), program]
    config = {
        "User": "0",
        "Entrypoint": ["/usr/local/bin/firsthand", "run"],
        "Cmd": ["--quiet"],
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
        "WorkingDir": "/",
        "Labels": {**_LABELS, "org.opencontainers.image.version": version},
    }
    created = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), datetime.UTC)
    history = [
        {"created_by": f"deploy/image: {name}"} for name in ("Debian's packages", "PyPI's packages", "Firsthand")
    ]
    told = {"created": created.strftime("%Y-%m-%dT%H:%M:%SZ"), "history": history}
    return layout.write(target, f"{NAME}:{version}", layers, config, **told)


def base(cache: Path, *, fresh: bool = False) -> list[Blob]:
    """The layers below Firsthand's own, which stay the same for many wheels: kept in `cache` by `key()`."""
    return [
        _cached(cache, "debian", debian.fill, again=fresh),
        _cached(cache, "packages", packages.fill_dependencies),
    ]


def _cached(cache: Path, name: str, fill: Callable[[Path], None], *inputs: bytes, again: bool = False) -> Blob:
    """A layer, made again if its inputs have changed since."""
    cache.mkdir(parents=True, exist_ok=True)
    stored, told = cache / f"{name}.tar.gz", cache / f"{name}.json"
    wanted = key(*inputs)
    if not again and told.exists() and stored.exists():
        found = json.loads(told.read_text())
        if found.pop("key") == wanted:
            return Blob(**found, source=stored)
    told.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="firsthand-image-") as root:
        fill(Path(root))
        made = layout.layer(stored, layout.members(Path(root)))
    told.write_text(
        json.dumps(
            {"key": wanted, "kind": made.kind, "digest": made.digest, "size": made.size, "diff_id": made.diff_id}
        )
    )
    return replace(made, source=stored)


def key(*inputs: bytes) -> str:
    """Of everything that a layer is made from: how it is made, with what, and its own inputs."""
    machine = f"{platform.machine()} {sys.version} {Path('/etc/os-release').read_text()}"
    parts = [machine.encode(), packages.PINS.read_bytes(), *(path.read_bytes() for path in _SOURCES), *inputs]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def main(arguments: list[str]) -> int:
    """0 with the image, 1 with a message where it could not be made."""
    parser = argparse.ArgumentParser(prog="python -m deploy.image", description=__doc__)
    parser.add_argument("wheel", type=Path, help="Firsthand's wheel (make wheel)")
    parser.add_argument("--to", type=Path, help="the tar; dist/firsthand-VERSION-image.tar by default")
    options = parser.parse_args(arguments)
    target = options.to or Path(f"dist/firsthand-{packages.version(options.wheel)}-image.tar")
    print(
        f"image: will fetch Debian's and PyPI's packages, and write {target} and {_CACHE}; nothing is sent anywhere",
        flush=True,
    )
    try:
        digest = build(options.wheel, target, fresh=True)
    except subprocess.CalledProcessError as error:
        print(f"image: {' '.join(map(str, error.cmd[:6]))} ... failed ({error}); see above", file=sys.stderr)
        return 1
    print(f"image: {target}, {target.stat().st_size / 1e6:.0f} MB, {NAME}:{packages.version(options.wheel)}, {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
