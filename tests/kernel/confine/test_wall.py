"""Law 9, as /proc shows it: what each process of ours may do, and that it cannot do more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from firsthand.confine import wall
from firsthand.schema import capability
from tests import disks, require
from tests.cgroups import TestCgroup
from tests.kernel import roles
from tests.kernel.observed import Observed

pytestmark = pytest.mark.xdist_group("users of the machine")

_ROLES = ("observer", "keeper", "follower")


def _status(task: Path) -> dict[str, str]:
    lines = (task / "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_each_role_has_its_own_user_no_capability_and_a_filter(cgroup: TestCgroup, open_place: Path) -> None:
    """Every thread of each: user, all five sets, no_new_privs, seccomp; no two write as one user."""
    history = open_place / "history"
    with Observed(history, [cgroup.path], "--runtime", str(open_place / "nobody.sock")) as observed:
        found = roles.pids(observed.process.pid)
        assert {*_ROLES, "dissector"} <= set(found)  # tests/kernel/test_dissector.py looks at that one
        for role in _ROLES:
            own = wall.identity(role, history)
            for task in Path(f"/proc/{found[role]}/task").iterdir():
                status = _status(task)
                assert status["Uid"].split() == [str(own.uid)] * 4, role
                assert status["Gid"].split() == [str(own.readers)] * 4, role
                for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                    assert int(status[name], 16) == 0, f"{role} {name} {capability.names(int(status[name], 16))}"
                assert status["NoNewPrivs"] == "1", role
                assert status["Seccomp"] == "2", role
        assert wall.identity("observer", history).uid != wall.identity("keeper", history).uid != 0
        while "loader" in roles.pids(observed.process.pid):  # it ends once it has handed over, in its own time
            assert observed.process.poll() is None
            os.sched_yield()
    assert observed.rows("SELECT event FROM observer WHERE event = 'stop'")


_TRIES = {
    "observer": {
        "execve": "os.execv('/bin/true', ['true'])",
        "socket": "socket.socket(socket.AF_UNIX)",
        "network": "socket.socket(socket.AF_INET)",
        "ptrace": "check(libc.ptrace(16, os.getppid(), 0, 0))",
        "mount": "check(libc.mount(b'x', b'/tmp', b'tmpfs', 0, None))",
        "unshare": "check(libc.unshare(0x10000000))",
        "setuid": "os.setuid(0)",
        "program": "check(libc.syscall(321, 5, 0, 0))",
        "clock": "time.clock_settime(time.CLOCK_REALTIME, time.time())",
        "outside": "open('/etc/firsthand-test', 'w')",
    },
    "keeper": {
        "execve": "os.execv('/bin/true', ['true'])",
        "network": "socket.socket(socket.AF_INET)",
        "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "bpf": "check(libc.syscall(321, 1, 0, 0))",
        "mount": "check(libc.mount(b'x', b'/tmp', b'tmpfs', 0, None))",
        "setuid": "os.setuid(0)",
        "log": "open('log/0000000000000001.log', 'r+b')",
        "outside": "open('/etc/firsthand-test', 'w')",
    },
    "reader": {
        "execve": "os.execv('/bin/true', ['true'])",
        "socket": "socket.socket(socket.AF_UNIX)",
        "network": "socket.socket(socket.AF_INET)",
        "bpf": "check(libc.syscall(321, 1, 0, 0))",
        "ptrace": "check(libc.ptrace(16, os.getppid(), 0, 0))",
        "setuid": "os.setuid(0)",
        "log": "open('log/0000000000000001.log', 'r+b')",
        "history": "open('new', 'w')",
        "outside": "open('/etc/firsthand-test', 'w')",
    },
    "checker": {
        "execve": "os.execv('/bin/true', ['true'])",
        "socket": "socket.socket(socket.AF_UNIX)",
        "network": "socket.socket(socket.AF_INET)",
        "bpf": "check(libc.syscall(321, 1, 0, 0))",
        "ptrace": "check(libc.ptrace(16, os.getppid(), 0, 0))",
        "mount": "check(libc.mount(b'x', b'/tmp', b'tmpfs', 0, None))",
        "setuid": "os.setuid(0)",
        "kill": "os.kill(os.getppid(), 0)",
        "handle": "check(libc.open_by_handle_at(-100, b'', 0))",
        "write": "os.open(mine, os.O_WRONLY)",
        "both": "os.open(mine, os.O_RDWR)",
        "truncate": "os.open(mine, os.O_RDONLY | os.O_TRUNC)",
        "cut": "os.truncate(mine, 0)",
        "make": "os.open(mine + '.new', os.O_RDONLY | os.O_CREAT)",
        "unnamed": "os.open(os.path.dirname(mine), os.O_TMPFILE | os.O_RDWR)",
        "openat2": "check(libc.syscall(437, -100, mine.encode(), bytes((1,)) + bytes(23), 24))",
        "chmod": "os.chmod(mine, 0o777)",
        "fchmod": "os.fchmod(os.open(mine, os.O_RDONLY), 0o777)",
        "chown": "os.chown(mine, 1, 1)",
        "times": "os.utime(mine)",
        "rename": "os.rename(mine, mine + '.new')",
        "link": "os.link(mine, mine + '.new')",
        "symlink": "os.symlink(mine, mine + '.new')",
        "unlink": "os.unlink(mine)",
        "mkdir": "os.mkdir(mine + '.new')",
        "attribute": "os.setxattr(mine, 'user.x', b'x')",
        "immutable": "fcntl.ioctl(os.open(mine, os.O_RDONLY), 0x40086602, (16).to_bytes(8, 'little'))",
    },
    "follower": {
        "execve": "os.execv('/bin/true', ['true'])",
        "network": "socket.socket(socket.AF_INET6)",
        "bpf": "check(libc.syscall(321, 1, 0, 0))",
        "log": "open('log/0000000000000001.log', 'r+b')",
        "chown": "os.chown('.', 1, 1)",
    },
}


@pytest.mark.parametrize("role", _TRIES)
def test_what_a_role_must_not_do_fails(role: str, open_place: Path) -> None:
    """Behind the wall, each attempt is refused; a thread that is started there has no more."""
    history = open_place / "history"
    wall.prepare(history)
    log = history / "log/0000000000000001.log"
    log.touch(mode=0o640)
    own = wall.identity("observer", history)
    os.chown(log, own.uid, own.readers)
    (open_place / "mine").touch(mode=0o666)
    attempts = "\n".join(f"attempt({name!r}, {code!r})" for name, code in _TRIES[role].items())
    (open_place / "attempts.py").write_text(f"""
import ctypes, fcntl, os, socket, threading, time
mine = {str(open_place / "mine")!r}
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), 'refused')
def attempt(name, code):
    try:
        exec(code)
    except OSError as error:
        assert error.errno in (1, 13), (name, error)
    else:
        print('DID', name)
def all_of_them():
{os.linesep.join("    " + line for line in attempts.splitlines())}
    print('tried')
all_of_them()
thread = threading.Thread(target=all_of_them)
thread.start()
thread.join()
""")
    environment = {**os.environ, "PYTHONPATH": str(open_place)}
    command = [sys.executable, "-m", "firsthand.confine.wall", role, str(history), "attempts"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.stdout.split() == ["tried", "tried"], result.stdout + result.stderr


def test_a_place_that_others_cannot_reach_keeps_root_without_capabilities(cgroup: TestCgroup, tmp_path: Path) -> None:
    """A history below a closed folder is written by root's user, which has no capability then."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with Observed(closed / "history", [cgroup.path]) as observed:
        status = _status(Path(f"/proc/{roles.pids(observed.process.pid)['observer']}"))
        assert status["Uid"].split()[0] == "0"
        assert int(status["CapEff"], 16) == 0
        assert status["Seccomp"] == "2"


def test_a_reader_of_the_group_reads_and_cannot_write(cgroup: TestCgroup, open_place: Path) -> None:
    """The readers' group may answer questions; it cannot change the record, and others cannot even read."""
    history = open_place / "history"
    with Observed(history, [cgroup.path]):
        cgroup.run(["/bin/true", "seen"]).wait()
    readers = wall.identity("keeper", history).readers
    program = "import os, sys; os.setgroups([{0}]); os.setgid({1}); os.setuid(65534); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    question = ["-m", "firsthand", "sql", "--history", str(history), "SELECT count(*) AS n FROM process", "-o", "csv"]
    mine = subprocess.run(
        [sys.executable, "-c", program.format(readers, 65534), *question], capture_output=True, text=True, check=False
    )
    assert int(mine.stdout.split()[1]) > 0, mine.stderr
    other = subprocess.run(
        [sys.executable, "-c", program.format(65534, 65534), *question], capture_output=True, text=True, check=False
    )
    assert other.returncode in (1, 2)
    assert not other.stdout
    assert str(history) in other.stderr
    for path in (history / "log/x", history / "x", history / "generations/x", history / "names/x"):
        tried = subprocess.run(
            [sys.executable, "-c", program.format(readers, 65534), "-c", f"open({str(path)!r}, 'w')"],
            capture_output=True,
            check=False,
        )
        assert b"PermissionError" in tried.stderr, path


def test_the_checker_needs_both_of_its_rights(open_place: Path) -> None:
    """With both it compares a file of root's that nobody else may read; without the one it cannot open it, without the other it is not told
    which of its pages are cached, and says so."""
    require.loop_devices()
    with disks.disk(open_place) as disk:
        path = disk.file("shadow", b"x" * 5_000, mode=0o600)
        path.read_bytes()
        (open_place / "compared.py").write_text(f"""
import sys
from firsthand.confine import rights
from firsthand.content.compare import Comparer, Unchecked
kept = sys.argv[1:]
rights.keep(kept)
try:
    print(Comparer("fowner" in kept, quiet=0.0).compare({str(path)!r}).resident)
except Unchecked as error:
    print(error)
""")

        def compared(*kept: str) -> str:
            environment = {**os.environ, "PYTHONPATH": str(open_place)}
            command = [sys.executable, "-m", "firsthand.confine.wall", "checker", str(open_place), "compared", *kept]
            return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout.strip()

        assert compared("dac_read_search", "fowner") == "5000"
        assert compared("fowner") == "it cannot be opened (Permission denied)"
        assert compared("dac_read_search") == "which of its pages are cached is not known: CAP_FOWNER is missing"
