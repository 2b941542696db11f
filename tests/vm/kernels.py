"""Debian's kernels for virtual machines: fetched by package name, unpacked outside the clone (tests/caches.py), never installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests import caches

_KIND = "kernels"
#: Long-term kernels that Debian 12 offers, itself and from its backports or security.
SERIES = ("6.1", "6.12")


@cache
def package(series: str) -> str | None:
    """The newest cloud image package of a series; where the configured sources have none, one that was fetched before, or None."""
    pattern = rf"^linux-image-{re.escape(series)}\..*cloud-amd64$"
    found = subprocess.run(
        ["apt-cache", "search", "--names-only", pattern], capture_output=True, text=True, check=False
    )
    names = [line.split(" ")[0] for line in found.stdout.splitlines()]
    kept = [path.name for path in (caches.root() / _KIND).glob(f"linux-image-{series}.*") if path.is_dir()]
    return max(names or kept, key=_version, default=None)


def _version(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def kernel(series: str) -> Path | None:
    """The kernel image of a series, fetched where it is not yet there; None where it cannot be had."""
    name = package(series)
    if name is None:
        return None
    try:
        folder = caches.folder(_KIND, name, lambda to: _fetch(name, to))
    except subprocess.CalledProcessError as error:
        print(f"{name}: {error.stderr}")
        return None
    return next(iter(folder.glob("boot/vmlinuz-*")))


def _fetch(name: str, to: Path) -> None:
    """The image alone: a guest has no modules. CalledProcessError where it cannot be fetched."""
    _run("apt-get", "download", "-q", name, cwd=to)
    (archive,) = to.glob("*.deb")
    _run("dpkg-deb", "-x", str(archive), "whole", cwd=to)
    archive.unlink()
    (to / "whole/boot").rename(to / "boot")
    shutil.rmtree(to / "whole")


def _run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
