"""Debian's kernels for virtual machines: fetched by package name, unpacked into .cache, never installed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache" / "kernels"
#: Long-term kernels that Debian 12 offers, itself and from its backports or security.
SERIES = ("6.1", "6.12")


def package(series: str) -> str | None:
    """The newest cloud image package of a series, or None where the configured sources have none."""
    pattern = rf"^linux-image-{re.escape(series)}\..*cloud-amd64$"
    found = subprocess.run(
        ["apt-cache", "search", "--names-only", pattern], capture_output=True, text=True, check=False
    )
    names = [line.split(" ")[0] for line in found.stdout.splitlines()]
    return max(names, key=_version, default=None)


def _version(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def kernel(series: str) -> Path | None:
    """The kernel image of a series, fetched where it is not yet there; None where it cannot be had."""
    name = package(series)
    if name is None:
        return next(iter(sorted(CACHE.glob(f"linux-image-{series}.*/boot/vmlinuz-*"))), None)
    folder = CACHE / name
    if not list(folder.glob("boot/vmlinuz-*")):
        folder.mkdir(parents=True, exist_ok=True)
        fetched = subprocess.run(
            ["apt-get", "download", "-q", name], cwd=folder, capture_output=True, text=True, check=False
        )
        if fetched.returncode:
            return None
        (archive,) = folder.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)
        archive.unlink()
    return next(iter(folder.glob("boot/vmlinuz-*")))
