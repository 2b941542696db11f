"""Which cgroup hierarchy carries the containers, and what a scope's folder is in it.

v2 where no v1 controller is mounted; else the first mounted v1 controller of a fixed list, since runtimes make their
cgroups in every one of them and on hybrid machines `0::/` may be every process's v2 group. Source: cgroups(7),
/proc/self/cgroup, /proc/self/mountinfo (proc(5)).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from firsthand.errors import NotSupportedError, UsageError
from firsthand.host import machine

#: v1 controllers in order of preference; the place + 1 is enum controller in kernel/include/maps.h.
CONTROLLERS = ("memory", "pids", "cpu", "cpuacct", "cpuset", "blkio", "devices", "freezer")

#: The inode of a hierarchy's root: kernfs_create_root() of fs/kernfs/dir.c.
ROOT = 1
#: The same number on every architecture: include/uapi/asm-generic/unistd.h, include/uapi/linux/mount.h.
_FSOPEN, _FSCONFIG, _FSMOUNT, _CLOEXEC, _CREATE = 430, 431, 432, 1, 6


@dataclass(frozen=True)
class Hierarchy:
    """`number` as in /proc/self/cgroup (0: v2), `controller` empty for v2, `mount` its root's folder."""

    number: int
    controller: str
    mount: Path

    @property
    def code(self) -> int:
        """enum controller of kernel/include/maps.h."""
        return CONTROLLERS.index(self.controller) + 1 if self.controller else 0


def mounted(mountinfo: str, cgroup: str) -> list[Hierarchy]:
    """Usable hierarchies, best first, from the texts of /proc/self/mountinfo and /proc/self/cgroup."""
    numbers = _numbers(cgroup)
    version2: list[Hierarchy] = []
    version1: dict[str, Hierarchy] = {}
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        folder = Path(fields.split()[4].encode().decode("unicode_escape"))
        if kind == "cgroup2":
            version2.append(Hierarchy(0, "", folder))
        for name in set(options.split(",")) & set(CONTROLLERS) if kind == "cgroup" else ():
            version1.setdefault(name, Hierarchy(numbers.get(name, 0), name, folder))
    return [version1[name] for name in CONTROLLERS if name in version1] + version2


def _numbers(cgroup: str) -> dict[str, int]:
    found = {}
    for line in cgroup.splitlines():
        number, names, _ = line.split(":", 2)
        found.update({name: int(number) for name in names.split(",")})
    return found


def here() -> list[Hierarchy]:
    """This machine's usable hierarchies, best first. NotSupportedError where none is mounted."""
    found = mounted(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())
    if not found:
        raise NotSupportedError("no cgroup hierarchy is mounted; mount cgroup2 on /sys/fs/cgroup")
    return found


def open_version2() -> int:
    """A descriptor of the root of cgroup v2, to which every socket belongs; mounted for us alone where it is nowhere mounted.

    OSError where it cannot be had: no rights, or a cgroup namespace that shows a part of it.
    """
    for one in here():
        if not one.controller and one.mount.stat().st_ino == ROOT:
            return os.open(one.mount, os.O_RDONLY | os.O_DIRECTORY)
    root = _mounted_apart()
    if os.fstat(root).st_ino == ROOT:
        return root
    os.close(root)
    raise OSError(
        errno.ENOENT, "the root of cgroup v2 is not in sight: mount the host's cgroup2 on /sys/fs/cgroup or below it"
    )


def _mounted_apart() -> int:
    """The root of a mount in no folder, which goes with the descriptor; fsopen(2), fsconfig(2), fsmount(2) by number: older libc lack them."""
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.ExitStack() as stack:
        context = _called(libc.syscall(_FSOPEN, b"cgroup2", _CLOEXEC))
        stack.callback(os.close, context)
        _called(libc.syscall(_FSCONFIG, context, _CREATE, None, None, 0))
        mount = _called(libc.syscall(_FSMOUNT, context, _CLOEXEC, 0))
        stack.callback(os.close, mount)
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=mount)


def _called(found: int) -> int:
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(
            number,
            f"cgroup v2 is mounted nowhere and may not be mounted from here: {os.strerror(number)}; "
            "mount cgroup2 on the machine, below /sys/fs/cgroup, and start again",
        )
    return found


def choose(scopes: Sequence[Path], wanted: str = "auto") -> Hierarchy:
    """The hierarchy to observe by: the scopes' where there are any, else the wanted, else the best."""
    found = here()
    if scopes:
        return _of_scopes(found, scopes)
    if wanted == "auto":
        return found[0]
    for hierarchy in found:
        if wanted == (hierarchy.controller or "v2"):
            return hierarchy
    names = ", ".join(h.controller or "v2" for h in found)
    raise UsageError(f"hierarchy {wanted!r} is not mounted here; mounted are {names}, or use auto")


def _of_scopes(found: list[Hierarchy], scopes: Sequence[Path]) -> Hierarchy:
    holding = {_holder(found, scope) for scope in scopes}
    if len(holding) > 1:
        raise UsageError("all --scope folders must lie in one cgroup hierarchy")
    return holding.pop()


def _holder(found: list[Hierarchy], scope: Path) -> Hierarchy:
    folder = scope.resolve()
    if not (folder / "cgroup.procs").exists():
        raise UsageError(f"--scope {scope}: not a cgroup's folder; name one below {found[0].mount}")
    inside = [h for h in found if h.mount.resolve() == folder or h.mount.resolve() in folder.parents]
    if not inside:
        names = ", ".join(str(h.mount) for h in found)
        raise UsageError(f"--scope {scope}: its hierarchy has no usable controller; name a folder below {names}")
    return max(inside, key=lambda h: len(h.mount.parts))


def key(scope: Path) -> int:
    """The kernfs id of a cgroup's folder: its inode number."""
    return scope.stat().st_ino


def path_in(hierarchy: Hierarchy, scope: Path) -> str:
    """The cgroup's path below its hierarchy's root, as records name it."""
    return "/" + str(scope.resolve().relative_to(hierarchy.mount.resolve())).removeprefix(".")


def own(hierarchy: Hierarchy) -> Path | None:
    """The folder of this process's cgroup; None where the mount does not show it.

    In a cgroup namespace /proc names it as seen from there; then it is the one whose list holds our pid.
    """
    if machine.first("cgroup"):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        told = next((line.split(":", 2)[2] for line in lines if line.startswith(f"{hierarchy.number}:")), "")
        folder = hierarchy.mount / told.lstrip("/")
        if _holds(folder, os.getpid()):
            return folder
    folders = (Path(folder) for folder, _, _ in os.walk(hierarchy.mount))
    return next((folder for folder in folders if _holds(folder, os.getpid())), None)


def _holds(folder: Path, pid: int) -> bool:
    with contextlib.suppress(OSError):
        return str(pid) in (folder / "cgroup.procs").read_text().split()
    return False


def paths(hierarchy: Hierarchy, scopes: Sequence[Path]) -> dict[int, bytes]:
    """Paths below the hierarchy's root of every cgroup that is there now (and in a scope, where there are any), by kernfs id."""
    found: dict[int, bytes] = {}
    for top in scopes or [hierarchy.mount]:
        for folder, _, _ in os.walk(top):
            with contextlib.suppress(OSError):
                found[key(Path(folder))] = path_in(hierarchy, Path(folder)).encode()
    return found
