"""The only place that may skip a test. Each function prints why; under FIRSTHAND_REQUIRE=all (or a comma separated list of its
words: root, btf, bpf, containerd, qemu, kernels) a missing thing fails the test instead."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

_SHARED = Path(__file__).parents[2] / "shared" / "data"


def _lacking(word: str, why: str) -> None:
    print(f"require.{word}: {why}")
    wanted = os.environ.get("FIRSTHAND_REQUIRE", "").split(",")
    if "all" in wanted or word in wanted:
        pytest.fail(f"FIRSTHAND_REQUIRE asks for {word}: {why}", pytrace=False)
    pytest.skip(why)


def root() -> None:
    """Effective user 0."""
    if os.geteuid() != 0:
        _lacking("root", "not root")


def btf() -> None:
    """The kernel's own type information."""
    if not Path("/sys/kernel/btf/vmlinux").exists():
        _lacking("btf", "no /sys/kernel/btf/vmlinux")


def bpf() -> None:
    """What loading programs takes: root and BTF."""
    root()
    btf()


def programs(word: str, *names: str) -> None:
    """Executables on the path (sbin included)."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    absent = [name for name in names if not shutil.which(name, path=path)]
    if absent:
        _lacking(word, f"not installed: {', '.join(absent)}")


def containerd() -> None:
    """Root, containerd with ctr, runc, and a static busybox for images."""
    root()
    programs("containerd", "containerd", "ctr", "runc", "busybox")


def qemu() -> None:
    """A machine emulator and what packs an initramfs."""
    programs("qemu", "qemu-system-x86_64", "cpio", "zstd")


def kernels(found: bool, why: str) -> None:
    """Debian's kernel packages, which `found` says could be had."""
    if not found:
        _lacking("kernels", why)


def shared() -> Path:
    """Published rules and recorded streams beside the checkout; always a skip where they are absent."""
    if not _SHARED.exists():
        print(f"require.shared: no {_SHARED}")
        pytest.skip(f"no {_SHARED}: not part of the project")
    return _SHARED
