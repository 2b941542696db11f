"""A filter on a process's own system calls, by libseccomp (seccomp(2), seccomp_rule_add(3)): what a role never does, it cannot do.

Calls are refused with EPERM and named by libseccomp, so the list is the same on every architecture; a name that a machine's
libseccomp does not know yet is told, not passed over.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import termios
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from firsthand.errors import FirsthandError

_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | errno.EPERM
_NOT_EQUAL, _MASKED_EQUAL = 1, 7  # enum scmp_compare
_UNKNOWN = -1  # __NR_SCMP_ERROR

#: What none of us ever does once it has begun.
NEVER = (
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "mount",
    "umount2",
    "pivot_root",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsmount",
    "chroot",
    "unshare",
    "setns",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "swapon",
    "swapoff",
    "keyctl",
    "add_key",
    "request_key",
    "userfaultfd",
    "perf_event_open",
    "open_by_handle_at",
    "personality",
    "acct",
    "quotactl",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "sethostname",
    "setdomainname",
    "io_uring_setup",
    "setuid",
    "setgid",
    "setreuid",
    "setregid",
    "setresuid",
    "setresgid",
    "setgroups",
    "mknodat",
    "pidfd_getfd",
)
PROGRAMS = ("execve", "execveat")
#: What changes a file, its name, its attributes or its mode. `openat2` takes its flags in memory, which no filter sees.
CHANGES = (
    "open",
    "creat",
    "openat2",
    "truncate",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "mkdirat",
    "mknod",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "fchown",
    "lchown",
    "fchownat",
    "utime",
    "utimes",
    "futimesat",
    "utimensat",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
    "fsync",
    "fdatasync",
    "sync",
    "syncfs",
    "sync_file_range",
    "copy_file_range",
    "kill",
    "tkill",
    "tgkill",
)
SOCKETS = ("socket", "socketpair", "connect", "bind", "listen", "accept", "accept4")


class _Compare(ctypes.Structure):
    """struct scmp_arg_cmp of seccomp.h."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


#: What a process needs that only reads and writes descriptors which it has, and computes.
COMPUTING = (
    "read",
    "write",
    "recvfrom",
    "recvmsg",
    "sendto",
    "sendmsg",
    "poll",
    "ppoll",
    "close",
    "brk",
    "mmap",
    "munmap",
    "mremap",
    "madvise",
    "futex",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    "restart_syscall",
    "clock_gettime",
    "getpid",
    "gettid",
    "exit",
    "exit_group",
)


@dataclass(frozen=True)
class Filter:
    """Calls that are refused; with `unix_only`, sockets of any family but AF_UNIX as well; with `reads_only`, to open a file for writing,
    to make one, and every ioctl but that by which Python sets O_NONBLOCK. `only`: all others are refused."""

    calls: Sequence[str]
    unix_only: bool = False
    only: bool = False
    reads_only: bool = False


OBSERVER = Filter((*NEVER, *PROGRAMS, *SOCKETS))
KEEPER = Filter((*NEVER, *PROGRAMS, "bpf"), unix_only=True)
FOLLOWER = KEEPER
#: It accepts alone.
READER = Filter((*NEVER, *PROGRAMS, *(call for call in SOCKETS if not call.startswith("accept")), "bpf"))
CHECKER = Filter((*NEVER, *PROGRAMS, *SOCKETS, *CHANGES, "bpf"), reads_only=True)
#: The dissector, before it has begun and after.
DISSECTOR = Filter((*NEVER, *PROGRAMS, *SOCKETS, "bpf"))
DISSECTING = Filter(COMPUTING, only=True)


def apply(filter: Filter) -> None:
    """Put the filter on every thread of this process, for good. FirsthandError where it cannot be.

    no_new_privs must be set, or CAP_SYS_ADMIN held.
    """
    library = _library()
    context = library.seccomp_init(_REFUSE if filter.only else _ALLOW)
    if not context:
        raise FirsthandError("libseccomp gives no filter: out of memory?")
    try:
        for name in filter.calls:
            _rule(library, context, name, None, _ALLOW if filter.only else _REFUSE)
        if filter.unix_only:
            _rule(library, context, "socket", _Compare(0, _NOT_EQUAL, socket.AF_UNIX, 0), _REFUSE)
        if filter.reads_only:
            _rule(
                library, context, "ioctl", _Compare(1, _NOT_EQUAL, termios.FIONBIO, 0), _REFUSE
            )  # FS_IOC_SETFLAGS and others
            for flag in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC):
                _rule(library, context, "openat", _Compare(2, _MASKED_EQUAL, flag, flag), _REFUSE)
        _check(library.seccomp_load(context), "put its filter of system calls in force")
    finally:
        library.seccomp_release(context)


def _rule(library: ctypes.CDLL, context: int, name: str, compare: _Compare | None, action: int) -> None:
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number == _UNKNOWN:
        raise FirsthandError(f"libseccomp does not know the system call {name}: install a newer libseccomp2")
    count = 0 if compare is None else 1
    pointer = None if compare is None else ctypes.byref(compare)
    _check(library.seccomp_rule_add_array(context, action, number, count, pointer), f"have a rule for {name}")


def _check(result: int, what: str) -> None:
    if result < 0:
        raise FirsthandError(f"the process could not {what}: {errno.errorcode.get(-result, result)}")


def _library() -> ctypes.CDLL:
    path = Path(__file__).parents[1] / "probe/lib/libseccomp.so.2"
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise FirsthandError(f"{path}: {error}; run `make setup` or install the wheel again") from error
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_release.argtypes = library.seccomp_load.argtypes = [ctypes.c_void_p]
    library.seccomp_syscall_resolve_name.argtypes = [ctypes.c_char_p]
    library.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Compare),
    ]
    return library
