"""Changes of a mount tree that the guest causes: by the calls of its own machine, and by a 32-bit one."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from firsthand.subjects.mount import _CANARY_WORD

#: int call(int number, int a, int b, int c, int d, int e), by int 0x80.
INT80 = bytes.fromhex("53 89f8 89f3 4189ca 89d1 4489d2 4489c6 4489cf cd80 5b c3")
_PRIVATE, _BIND, _DETACH = 1 << 18 | 1 << 14, 1 << 12, 2
_FSOPEN, _FSCONFIG, _FSMOUNT, _MOVE_MOUNT = 430, 431, 432, 429


def cause(scope: Path) -> int:
    """In a child, which is returned: in the scope's cgroup and a mount namespace of its own."""
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        return child
    (scope / "cgroup.procs").write_text(str(os.getpid()))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    libc.unshare(0x20000)
    libc.mount(b"none", b"/", None, _PRIVATE, None)
    for name in "abc":
        os.mkdir(f"/tmp/mounts-{name}")
    os.symlink("mounts-b", "/tmp/mounts-link")
    libc.mount(b"named", b"/tmp/mounts-a", b"tmpfs", 0, None)
    libc.mount(b"/tmp/mounts-a", b"/tmp/mounts-link", None, _BIND, None)
    libc.mount(b"x", b"/nowhere", b"tmpfs", 0, None)
    new = libc.syscall(_FSOPEN, b"tmpfs", 0)
    libc.syscall(_FSCONFIG, new, 6, None, None, 0)
    made = libc.syscall(_FSMOUNT, new, 0, 0)
    libc.syscall(_MOVE_MOUNT, made, b"", -100, b"/tmp/mounts-c", 4)
    libc.umount2(b"/tmp/mounts-b", _DETACH)
    for word in (_CANARY_WORD, 1):  # by the call's own number on x86-64
        libc.syscall(ctypes.c_long(140), ctypes.c_long(word), *[ctypes.c_long(0)] * 4)
    call_32(52, b"/tmp/mounts-c", _DETACH)
    os._exit(0)


def call_32(number: int, word: bytes, second: int) -> int:
    """A 32-bit system call of x86 whose first argument is a string."""
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    page = libc.mmap(None, 4096, 7, 0x62, -1, 0)  # below 4 GiB (MAP_32BIT), for code and string
    ctypes.memmove(page, INT80.ljust(64, b"\0") + word + b"\0", 65 + len(word))
    called: int = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int] * 6)(page)(number, page + 64, second, 0, 0, 0)
    return called
