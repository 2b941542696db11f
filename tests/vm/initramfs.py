"""The guest's whole system: this machine's Python, NumPy, Firsthand as built here, and a static busybox."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
_APPLETS = ("sh", "mount", "mkdir", "true", "cat", "poweroff", "stat", "id", "kill", "ip")
_LEFT_OUT = shutil.ignore_patterns(
    "__pycache__",
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "ensurepip",
    "lib2to3",
    "config-*",
    "site-packages",
    "dist-packages",
)
_INIT = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmp /tmp
for word in $(cat /proc/cmdline); do
    case $word in cgroups=*) MODE=${word#cgroups=};; work=*) WORK=${word#work=};; esac
done
if [ "$MODE" = v1 ] || [ "$MODE" = hybrid ]; then
    mount -t tmpfs cgroup /sys/fs/cgroup
    for name in memory pids; do mkdir /sys/fs/cgroup/$name; mount -t cgroup -o $name cgroup /sys/fs/cgroup/$name; done
else
    mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup # as systemd does
fi
if [ "$MODE" = hybrid ]; then mkdir /sys/fs/cgroup/unified; mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified; fi
ip link set lo up
PYTHONPATH=/site PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 /guest.py $WORK
poweroff -f
"""


def build(to: Path) -> Path:
    """Write the initramfs (zstd) to a folder and return its path."""
    tree = to / "tree"
    for name in ("proc", "sys", "dev", "tmp", "bin", "site", "usr/bin", "usr/lib", "root"):
        (tree / name).mkdir(parents=True)
    _busybox(tree)
    _python(tree)
    _site(tree)
    (tree / "init").write_text(_INIT)
    (tree / "init").chmod(0o755)
    for name in ("guest.py", "clock.py", "sockets.py"):
        shutil.copy(Path(__file__).with_name(name), tree / name)
    image = to / "initramfs"
    script = f"find . | cpio --quiet -o -H newc | zstd -q -1 -T0 -o {image}"
    subprocess.run(["bash", "-o", "pipefail", "-c", script], cwd=tree, check=True)
    return image


def _busybox(tree: Path) -> None:
    shutil.copy(shutil.which("busybox") or "/bin/busybox", tree / "bin/busybox")
    for applet in _APPLETS:
        (tree / "bin" / applet).symlink_to("busybox")


def _python(tree: Path) -> None:
    """The interpreter that runs this, with its library, where it expects them."""
    binary = Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    shutil.copy(binary, tree / "usr/bin/python3")
    target = tree / "usr/lib" / library.name
    shutil.copytree(library, target, ignore=_LEFT_OUT, symlinks=True)
    for shared in [binary, *target.rglob("*.so")]:
        _libraries(tree, shared)


def _site(tree: Path) -> None:
    import numpy

    packages = Path(numpy.__file__).parents[1]
    for name in ("numpy", "numpy.libs", "nanoarrow", "re2"):
        shutil.copytree(packages / name, tree / "site" / name, ignore=_LEFT_OUT)
    shutil.copytree(ROOT / "src/firsthand", tree / "site/firsthand", ignore=_LEFT_OUT)
    for shared in (tree / "site").rglob("*.so*"):
        _libraries(tree, shared)


def _libraries(tree: Path, binary: Path) -> None:
    """What the dynamic linker needs for a binary, at the same paths."""
    listed = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False).stdout
    for path in re.findall(r"(/[^ ]+) \(0x", listed):
        target = tree / path.lstrip("/")
        if not target.exists() and str(tree) not in path:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.realpath(path), target)
