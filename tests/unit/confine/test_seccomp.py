"""confine/seccomp.py: what a filter refuses, tried in a process of its own. tests/kernel/confine/test_wall.py has the roles' walls."""

from __future__ import annotations

import subprocess
import sys

import pytest

from firsthand.confine import seccomp
from firsthand.confine.seccomp import Filter

#: Puts a filter in force and tries each of these: the errno of each, 0 where it went well.
_TRY = """
import ctypes, os, socket, sys, fcntl, termios
from firsthand.confine import seccomp
from firsthand.confine.seccomp import Filter
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
found = []
def tried(act):
    try:
        act()
        found.append(0)
    except OSError as error:
        found.append(error.errno)
{before}
seccomp.apply({filter})
{tries}
os.write(1, repr(found).encode())
os._exit(0)
"""


def _tried(filter_: str, *acts: str, before: str = "") -> list[int]:
    tries = "\n".join(f"tried(lambda: {act})" for act in acts)
    text = _TRY.format(filter=filter_, tries=tries, before=before)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: list[int] = eval(done.stdout)
    return found


def test_named_calls_are_refused_and_others_are_not() -> None:
    """With EPERM, in the process and not as its end."""
    acts = ("os.mkdir('/tmp/firsthand-never')", "os.getpid()", "os.kill(os.getpid(), 0)", "os.stat('/')")
    assert _tried("Filter(('mkdir', 'mkdirat', 'kill'))", *acts) == [1, 0, 1, 0]


def test_of_sockets_only_unix_ones() -> None:
    """Neither of the internet nor netlink's; a pair is AF_UNIX by itself."""
    acts = [
        f"socket.socket({family})"
        for family in ("socket.AF_UNIX", "socket.AF_INET", "socket.AF_INET6", "socket.AF_NETLINK")
    ]
    assert _tried("Filter((), unix_only=True)", *acts) == [0, 1, 1, 1]


def test_files_are_read_alone() -> None:
    """No flag by which an open writes, makes or empties; no ioctl but that which makes a descriptor wait for nothing."""
    acts = [
        f"os.open('/dev/null', os.{flag})"
        for flag in ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_RDONLY | os.O_CREAT", "O_RDONLY | os.O_TRUNC")
    ]
    acts += ["os.set_blocking(pipe[0], False)", "fcntl.ioctl(pipe[0], termios.FIONREAD, bytes(4))"]
    assert _tried("Filter((), reads_only=True)", *acts, before="pipe = os.pipe()") == [0, 1, 1, 1, 1, 0, 1]


def test_only_what_is_named() -> None:
    """All else is refused, also what no list of ours has."""
    acts = ("os.write(2, b'')", "os.getpid()", "os.stat('/')", "os.open('/dev/null', os.O_RDONLY)", "os.fork()")
    assert _tried("seccomp.DISSECTING", *acts) == [0, 0, 1, 1, 1]


def test_a_call_that_libseccomp_does_not_know_is_told() -> None:
    """And not passed over: the filter would have a hole."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from firsthand.confine import seccomp; seccomp.apply(seccomp.Filter(('no_such_call',)))",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "libseccomp does not know the system call no_such_call" in done.stderr


@pytest.mark.parametrize("name", ["OBSERVER", "KEEPER", "FOLLOWER", "READER", "CHECKER", "DISSECTOR"])
def test_every_role_is_denied_what_none_of_us_does(name: str) -> None:
    """Programs, mounts, modules, other processes' memory, becoming somebody else."""
    found: Filter = getattr(seccomp, name)
    assert {*seccomp.NEVER, *seccomp.PROGRAMS} <= set(found.calls) and not found.only


def test_no_way_around_a_refused_call_is_left() -> None:
    """Each list has the newer forms of its calls beside the older ones."""
    for older, newer in (
        ("execve", "execveat"),
        ("accept", "accept4"),
        ("rename", "renameat2"),
        ("open", "openat2"),
        ("chmod", "fchmodat"),
    ):
        lists = [calls for calls in (seccomp.PROGRAMS, seccomp.SOCKETS, seccomp.CHANGES) if older in calls]
        assert lists and all(newer in calls for calls in lists), older
    assert not {*seccomp.COMPUTING} & {*seccomp.NEVER, *seccomp.PROGRAMS, *seccomp.SOCKETS, *seccomp.CHANGES}
