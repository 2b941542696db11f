"""An agent in a mount namespace of its own, from which nothing goes back to the machine's: all its mounts end with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.cgroups import TestCgroup
from tests.kernel.agent import Agent

#: Numbers of system calls that are the same on every machine, and of those that are not, by machine.
_SAME = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "mount_setattr": 442,
    "open_tree_attr": 467,
}
_OWN = {
    "x86_64": {"pivot_root": 155, "chroot": 161, "mount": 165, "umount": 166, "unshare": 272, "setns": 308},
    "aarch64": {"umount": 39, "mount": 40, "pivot_root": 41, "chroot": 51, "unshare": 97, "setns": 268},
}
_PROGRAM = """
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(name, *words):
    "The result, or minus errno."
    told = [ctypes.c_long(one) if isinstance(one, int) else os.fsencode(one) if isinstance(one, str) else one for one in words]
    result = libc.syscall(ctypes.c_long(numbers[name]), *told)
    return -ctypes.get_errno() if result < 0 else result
def sure(name, *words):
    result = call(name, *words)
    assert result >= 0, (name, words, os.strerror(-result))
    return result
MS = dict(RDONLY=1, NOSUID=2, NODEV=4, NOEXEC=8, REMOUNT=32, BIND=4096, MOVE=8192, REC=16384, PRIVATE=1 << 18, SLAVE=1 << 19,
    SHARED=1 << 20)
def flags(*names): return sum(MS[name] for name in names)
def mountinfo(): return [line.split(" ") for line in open("/proc/self/mountinfo", errors="surrogateescape").read().splitlines()]
"""
_ALONE = """
sure('unshare', 0x20000)
sure('mount', 'none', '/', None, flags('REC', 'PRIVATE'), None)
"""


class Mounter(Agent):
    """`folder` is a tmpfs of its own, that no other namespace has."""

    def __init__(self, cgroup: TestCgroup, folder: Path) -> None:
        super().__init__(cgroup)
        self.folder = folder
        self.do(f"numbers = {_SAME | _OWN[os.uname().machine]!r}{_PROGRAM}")
        self.do(_ALONE)
        self.do(f"sure('mount', 'mine', {str(folder)!r}, 'tmpfs', 0, None); os.chdir({str(folder)!r})")

    def call(self, name: str, *words: Any) -> int:
        """The result of a system call by its name, or minus its errno."""
        result: int = self.do(f"call({name!r}, {', '.join(map(repr, words))})")
        return result

    @property
    def namespace(self) -> int:
        """Inode number of its mount namespace."""
        number: int = self.do("os.stat('/proc/self/ns/mnt').st_ino")
        return number

    def mounted(self, target: str) -> dict[str, Any]:
        """The newest mount at a target, of its own /proc/self/mountinfo."""
        line: list[str] = self.do(f"[line for line in mountinfo() if line[4] == {target!r}][-1]")
        behind = line.index("-")
        return {
            "mount_id": int(line[0]),
            "device": line[2],
            "root": line[3],
            "filesystem": line[behind + 1],
            "source": line[behind + 2],
        }
