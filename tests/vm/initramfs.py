"""The guest's whole system: this machine's Python, NumPy, Firsthand as built here, and a static busybox.

Emulation makes each instruction dear (docs/performance.md, A boot in QEMU), so the guest compiles no source and unpacks little: what is
the same for every checkout is made once (tests/caches.py); the rest is a second archive behind the first, which the kernel unpacks
likewise (Documentation/driver-api/early-userspace/buffer-format.rst).
"""

from __future__ import annotations

import compileall
import importlib.metadata
import os
import py_compile
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path

import pyarrow as pa

from tests import caches

ROOT = Path(__file__).parents[2]
GUEST = ("guest.py", "clock.py", "sockets.py", "mounts.py")
_PACKAGES = ("numpy", "nanoarrow", "re2", "msgspec")
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
    "include",
    "f2py",
    "*.pyi",
    "*.pyx",
    "*.pxd",
    "*.a",
    "*.c",
    "*.cpp",
    "*.h",
)
#: What `init` says first: where a console lacks it, the machine did not come to us.
REACHED = "firsthand: init"
_INIT = (
    f"""#!/bin/sh
echo {REACHED}
"""
    + """mount -t proc proc /proc
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
)
#: The first bytes of an archive of blocks of 8 MiB (lz4_Frame_format.md, Legacy frame), which is what the kernel reads.
_LZ4, _BLOCK = 0x184C2102, 8 << 20


def build(to: Path) -> Path:
    """Write the initramfs to a folder and return its path."""
    tree = to / "tree"
    shutil.copytree(ROOT / "src/firsthand", tree / "site/firsthand", ignore=_LEFT_OUT)
    for shared in (tree / "site").rglob("*.so*"):
        _libraries(tree, shared)
    for name in GUEST:
        shutil.copy(Path(__file__).with_name(name), tree / name)
    _compile(tree)
    image = to / "initramfs"
    image.write_bytes((_system() / "system.cpio.lz4").read_bytes() + _pack(tree))
    return image


def _system() -> Path:
    """The folder with the archive of what no checkout changes."""
    versions = [f"{name} {importlib.metadata.version(_NAMES.get(name, name))}" for name in _PACKAGES]
    made_from = [Path(__file__), Path(shutil.which("busybox") or "/bin/busybox"), Path(sys.executable).resolve()]
    return caches.folder("guests", caches.key(sys.version, *versions, files=made_from), _fill)


#: Distributions that are named otherwise than their package.
_NAMES = {"re2": "google-re2"}


def _fill(folder: Path) -> None:
    tree = folder / "tree"
    for name in ("proc", "sys", "dev", "tmp", "bin", "site", "usr/bin", "usr/lib", "root"):
        (tree / name).mkdir(parents=True)
    _busybox(tree)
    _python(tree)
    _site(tree)
    (tree / "init").write_text(_INIT)
    (tree / "init").chmod(0o755)
    _compile(tree)
    (folder / "system.cpio.lz4").write_bytes(_pack(tree))
    shutil.rmtree(tree)


def _compile(tree: Path) -> None:
    """Bytecode beside each source, which the guest takes as it is (PEP 552, unchecked)."""
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(tree, maxlevels=20, quiet=2, stripdir=str(tree), invalidation_mode=mode)


def _pack(tree: Path) -> bytes:
    """A folder as a cpio archive, compressed by LZ4, which emulation unpacks in the least time."""
    find = "find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0"
    archive = subprocess.run(
        ["bash", "-o", "pipefail", "-c", find], cwd=tree, check=True, stdout=subprocess.PIPE
    ).stdout
    codec, parts = pa.Codec("lz4_raw"), [struct.pack("<I", _LZ4)]
    for start in range(0, len(archive), _BLOCK):
        block = codec.compress(archive[start : start + _BLOCK], asbytes=True)
        parts += [struct.pack("<I", len(block)), block]
    return b"".join(parts)


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
    for name in (*_PACKAGES, "numpy.libs"):
        shutil.copytree(packages / name, tree / "site" / name, ignore=_LEFT_OUT)
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
