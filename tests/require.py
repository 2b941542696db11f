"""The only place that may skip a test. Each function prints why; under FIRSTHAND_REQUIRE=all (or a comma separated list of its
words: root, btf, bpf, folding, io_uring, containerd, docker, podman, image, qemu, kernels, fuzzing) a missing thing fails the test instead."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sysconfig
from pathlib import Path

import pytest

_SHARED = Path(__file__).parents[2] / "shared" / "data"
#: Where Debian puts the plugins of containernetworking-plugins.
_CNI = Path("/usr/lib/cni")
_BTF = Path("/sys/kernel/btf/vmlinux")
#: Of every architecture (include/uapi/asm-generic/unistd.h).
_IO_URING_SETUP = 425
#: Debian keeps runc and others outside of an ordinary user's path.
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _lacking(why: str, *words: str) -> None:
    """Skip, or fail where any of `words` is asked for: what needs root for bpf is missing under both names."""
    print(f"require.{words[-1]}: {why}")
    wanted = {word.strip() for word in os.environ.get("FIRSTHAND_REQUIRE", "").split(",")}
    if wanted & {"all", *words}:
        pytest.fail(f"FIRSTHAND_REQUIRE asks for {words[-1]}: {why}", pytrace=False)
    pytest.skip(why)


def root(*also: str) -> None:
    """Effective user 0; `also`: the words of what needs it."""
    if os.geteuid() != 0:
        _lacking("not root", "root", *also)


def btf(*also: str) -> None:
    """The kernel's own type information."""
    if not _BTF.exists():
        _lacking(f"no {_BTF}", "btf", *also)


def bpf() -> None:
    """What loading tp_btf programs takes: root and BTF."""
    root("bpf")
    btf("bpf")


def folding() -> None:
    """A kernel that takes what folding asks for (tests/kernel/sweeps.py)."""
    from tests.kernel import sweeps

    bpf()
    if why := sweeps.refusal():
        _lacking(why, "folding")


def processor_weights() -> str:
    """Root, and a cgroup hierarchy in which processors are shared by weight: the word that tests/cgroups.py has for it."""
    root("bpf")
    if Path("/sys/fs/cgroup/cpu/cpu.shares").exists():
        return "cpu"
    enabled = Path("/sys/fs/cgroup/cgroup.subtree_control")
    if not enabled.exists() or "cpu" not in enabled.read_text().split():
        _lacking("no cgroup below the root has the controller cpu", "bpf")
    return "unified"


def time_namespaces() -> None:
    """Root, and a kernel with CONFIG_TIME_NS."""
    bpf()
    if not Path("/proc/self/ns/time").exists():
        _lacking("this kernel has no time namespaces", "bpf")


def acls(path: Path) -> None:
    """Root, and a file system with POSIX ACLs at a path."""
    root()
    try:
        os.getxattr(path, "system.posix_acl_access")
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            _lacking(f"no ACLs at {path}", "root")


def io_uring() -> None:
    """A kernel that lets this user have io_uring (sysctl kernel.io_uring_disabled, a seccomp filter, or built without)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(_IO_URING_SETUP, 0, None)  # never succeeds: no entries are asked for
    if ctypes.get_errno() in (errno.ENOSYS, errno.EPERM):
        _lacking(f"no io_uring: {os.strerror(ctypes.get_errno())}", "io_uring")


def loop_devices() -> None:
    """Root, loop devices and ext4: filesystems of a test's own that can fail."""
    root()
    programs("root", "mkfs.ext4", "e2fsck", "findmnt")
    if not Path("/dev/loop-control").exists() or "ext4" not in Path("/proc/filesystems").read_text():
        _lacking("no loop devices, or no ext4 in this kernel", "root")


def processor_bounds(*files: Path) -> None:
    """A cgroup whose share of the processors can be bounded: one of these files, of v1's controller cpu or of v2's."""
    if not any(file.exists() for file in files):
        _lacking(f"no cgroup bounds processor time here: none of {', '.join(map(str, files))}", "root")


def programs(word: str, *names: str) -> None:
    """Executables on the path (sbin included)."""
    absent = [name for name in names if not shutil.which(name, path=_PATH)]
    if absent:
        _lacking(f"not installed: {', '.join(absent)}", word)


def containerd() -> None:
    """Root, containerd with ctr, runc, and a static busybox for images."""
    root("containerd")
    programs("containerd", "containerd", "ctr", "runc", "busybox")
    if not _static(Path(shutil.which("busybox", path=_PATH) or "")):
        _lacking("busybox is not static: install busybox-static", "containerd")


def pods() -> None:
    """What `containerd` wants, and the plugins that give pods their network."""
    containerd()
    absent = [name for name in ("bridge", "host-local", "loopback") if not (_CNI / name).exists()]
    if absent:
        _lacking(f"not in {_CNI}: {', '.join(absent)}; install containernetworking-plugins", "containerd")


def image() -> None:
    """What makes the OCI image."""
    programs("image", "mmdebstrap", "dpkg-deb", "git")


def packages(why: str) -> None:
    """Debian's and PyPI's packages for the image, which could not be had."""
    _lacking(why, "image")


def layouts(wanted: str) -> bool:
    """Cgroup v1, v2 or both, as the machine has them or, where it has both, as a mount namespace can show them; whether it can."""
    both = Path("/sys/fs/cgroup/unified/cgroup.procs").exists()
    alone = "v2" if Path("/sys/fs/cgroup/cgroup.procs").exists() else "v1"
    if not both and wanted != alone:
        print(f"require.layouts: this machine has cgroup {alone} alone, not {wanted}")
        pytest.skip(f"cgroup {alone} alone")
    return both


def engine(kind: str) -> None:
    """Root and the daemon of `docker` or `podman`."""
    root(kind)
    programs(kind, *{"docker": ("dockerd", "runc"), "podman": ("podman", "runc", "conmon")}[kind])
    programs(kind, "busybox")


def _static(binary: Path) -> bool:
    """Whether an ELF file asks for no interpreter, whose path would stand in its first page (elf(5), PT_INTERP)."""
    with binary.open("rb") as file:
        return b"/ld-" not in file.read(4096)


def fuzzing() -> None:
    """The fuzzer with its sanitizer runtimes, and the compiler that builds for it."""
    if not (Path(sysconfig.get_paths()["purelib"]) / "asan_with_fuzzer.so").exists():
        _lacking("atheris is not installed (pip has it for x86-64 Linux)", "fuzzing")
    programs("fuzzing", "clang")


def qemu() -> None:
    """A machine emulator and what packs an initramfs."""
    programs("qemu", "qemu-system-x86_64", "cpio", "zstd")


def kernel_packages() -> None:
    """What fetches and unpacks Debian's kernel packages; whether they could be had, `kernels` is told."""
    programs("kernels", "apt-get", "apt-cache", "dpkg-deb")


def kernels(found: bool, why: str) -> None:
    """Debian's kernel packages, which `found` says could be had."""
    if not found:
        _lacking(why, "kernels")


def shared() -> Path:
    """Published rules and recorded streams beside the checkout; always a skip where they are absent."""
    if not _SHARED.exists():
        print(f"require.shared: no {_SHARED}")
        pytest.skip(f"no {_SHARED}: not part of the project")
    return _SHARED
