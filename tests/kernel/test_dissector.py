"""The dissector as it really runs: behind the wall, able to do nothing but its work, and replaced when it dies or hangs."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from firsthand.confine import wall
from firsthand.dissect import frame
from firsthand.observe.line import Line
from firsthand.observe.packets import Packets
from tests import packets, require
from tests.cgroups import TestCgroup
from tests.kernel import roles
from tests.kernel.health.test_status import _status
from tests.kernel.observed import Observed
from tests.network import until
from tests.unit.dissect.test_dns import mutated

pytestmark = pytest.mark.xdist_group("users of the machine")


def _begun(place: Path, its: socket.socket) -> subprocess.Popen[bytes]:
    """A dissector's process behind the wall, with its end of a line."""
    options = json.dumps({"resolvers": [packets.RESOLVER], "keep_query": False})
    command = [
        sys.executable,
        "-m",
        "firsthand.confine.wall",
        "dissector",
        str(place),
        "firsthand.roles.dissector",
        options,
    ]
    return subprocess.Popen([*command, str(its.fileno())], stdin=subprocess.PIPE, pass_fds=[its.fileno()])


class Real:
    """A dissector's process behind the wall, and the observer's end of its line."""

    def __init__(self, place: Path) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with its, mine:
            self.process = _begun(place, its)
            socket.send_fds(ours, [b"1"], [mine.fileno()])
        ours.close()
        self.packets = Packets(Line(theirs, lambda line: None))
        assert self.packets.line.ready(30)

    def __enter__(self) -> Real:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def status(self) -> dict[str, str]:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _names(found: list[Any]) -> list[str]:
    return [one.columns["name"].row(i).decode() for one in found for i in range(one.length)]


def test_its_rights(open_place: Path) -> None:
    """A user and a group of its own, which read no history; no capability in any set; two filters; no core; nothing open but its line."""
    with Real(open_place) as real:
        assert _names(real.packets.read(packets.batch([packets.row(packets.question())]))) == ["www.example.org"]
        own, status = wall.identity("dissector", open_place), real.status()
        assert own.uid not in (0, *(wall.identity(role, open_place).uid for role in ("observer", "keeper")))
        assert status["Uid"].split() == [str(own.uid)] * 4 and status["Gid"].split() == [str(own.gid)] * 4
        assert status["Groups"].split() in ([], [str(own.gid)]) and own.gid != own.readers
        assert all(int(status[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
        assert (status["NoNewPrivs"], status["Seccomp"], status["Threads"]) == ("1", "2", "1")
        assert status.get("Seccomp_filters", "2") == "2"
        process = Path(f"/proc/{real.process.pid}")
        assert (process / "limits").read_text().count("Max core file size        0                    0") == 1
        opened = {os.readlink(fd).partition(":")[0] for fd in (process / "fd").iterdir() if int(fd.name) > 2}
        assert opened == {"socket"}, opened


_TRIES = {
    "open": "open('/etc/hostname')",
    "create": "open('/tmp/firsthand-test', 'w')",
    "listdir": "os.listdir('/')",
    "stat": "os.stat('/etc/passwd')",
    "socket": "socket.socket(socket.AF_UNIX)",
    "network": "socket.socket(socket.AF_INET)",
    "pair": "socket.socketpair()",
    "execve": "os.execv('/bin/true', ['true'])",
    "fork": "os.fork()",
    "pipe": "os.pipe()",
    "memfd": "os.memfd_create('x')",
    "kill": "os.kill(os.getppid(), 0)",
    "executable": "check(libc.mprotect(page, 4096, 7))",
    "setuid": "os.setuid(0)",
    "ioctl": "fcntl.ioctl(0, 0x5401, bytes(64))",
    "prctl": "check(libc.prctl(4, 1, 0, 0, 0))",
    "limits": "check(libc.prlimit(0, 4, None, page))",
    "chdir": "os.chdir('/tmp')",
    "ptrace": "check(libc.ptrace(16, os.getppid(), 0, 0))",
    "bpf": "check(libc.syscall(321, 1, 0, 0))",
    "io_uring": "check(libc.syscall(425, 1, 0))",
}


def test_what_it_must_not_do_fails(open_place: Path) -> None:
    """Once it has closed itself up each of these is refused, and it can still read and write what it has; a thread cannot be started."""
    attempts = "\n".join(f"attempt({name!r}, {code!r})" for name, code in _TRIES.items())
    (open_place / "attempts.py").write_text(f"""
import ctypes, fcntl, mmap, os, socket, threading
from firsthand.roles import dissector
libc = ctypes.CDLL(None, use_errno=True)
mapped = mmap.mmap(-1, 4096)
page = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(mapped)))
def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), 'refused')
def attempt(name, code):
    try:
        exec(code)
    except OSError as error:
        assert error.errno == 1, (name, error)
    else:
        os.write(1, f'DID {{name}}\\n'.encode())
thread = threading.Thread(target=print)
dissector.close_up()
{attempts}
try:
    thread.start()
    os.write(1, b'DID thread\\n')
except RuntimeError:
    pass
try:
    bytes(1 << 30)
    os.write(1, b'DID memory\\n')
except MemoryError:
    os.write(1, b'tried\\n')
os._exit(0)
""")
    command = [sys.executable, "-m", "firsthand.confine.wall", "dissector", str(open_place), "attempts"]
    environment = {**os.environ, "PYTHONPATH": str(open_place)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.stdout.split("\n")[:-1] == ["tried"], result.stdout + result.stderr


def test_ten_thousand_mutated_packets_through_the_real_process(open_place: Path) -> None:
    """DNS, ClientHellos and heads, broken in every way: it lives, each packet is read, and its memory stays what it was."""
    chance = random.Random(99)
    asked = packets.question(use_edns=0)
    seeds = [
        (asked, {}),
        (packets.answer(asked, ("www.example.org.", 5, "A", ["192.0.2.1"])), {"direction": "in"}),
        (packets.prefixed(asked, asked), {"transport": "tcp"}),
        (packets.hello(), {"transport": "tcp", "packet_kind": "head"}),
        (b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n", {"transport": "tcp", "packet_kind": "head"}),
    ]
    with Real(open_place) as real:
        before = None
        for part in range(20):
            rows = []
            for number in range(500):
                payload, values = seeds[chance.randrange(len(seeds))]
                made = mutated(chance, payload)[:4095]
                length = len(made) + chance.choice((0, 0, 0, 1000))
                rows.append(packets.row(made, **values, cookie=500 * part + number, payload_length=length))  # type: ignore[arg-type]
            real.packets._credit = 2.0  # the machine's other load is not what this is about
            found = real.packets.read(packets.batch(rows))
            assert sum(one.length for one in found) > 100
            assert not real.packets.losses()
            before = before or int(real.status()["VmRSS"].split()[0])
        assert real.process.poll() is None
        assert int(real.status()["VmRSS"].split()[0]) - before < 30_000


def _asking(cgroup: TestCgroup, count: int) -> subprocess.Popen[bytes]:
    """Questions to nobody, one socket each; it says when they are sent and ends with its standard input."""
    code = (
        "import socket, sys\nfrom tests import packets\n"
        f"for number in range({count}):\n"
        "    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:\n"
        "        one.sendto(packets.question(f'n{number}.example.', number=number), ('127.0.0.1', 53))\n"
        "print('sent', flush=True)\nsys.stdin.read()\n"
    )
    return cgroup.run(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=str(Path(__file__).parents[2])
    )


def _sent(cgroup: TestCgroup, count: int) -> None:
    child = _asking(cgroup, count)
    assert child.stdout is not None and child.stdin is not None
    assert child.stdout.readline() == b"sent\n"
    child.stdin.close()
    child.wait()


def _asked(observed: Observed) -> int:
    return int(observed.rows("SELECT count(*) AS n FROM name WHERE event = 'question'")[0]["n"])


def _lost(observed: Observed) -> list[dict[str, Any]]:
    return observed.rows("SELECT * FROM loss WHERE cause = 'dissector'")


@pytest.mark.landing("kills")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_its_death_costs_nothing(number: signal.Signals, history: Path) -> None:
    """Killed, or stopped where it never answers, with questions handed over and others that come while there is none: the next one
    reads them all, once, processes are recorded on, and nothing is lost."""
    require.bpf()
    with TestCgroup("unified") as cgroup, Observed(history, [cgroup.path]) as observed:
        _sent(cgroup, 10)
        observed.wait("SELECT 1 FROM name WHERE event = 'question'", 10)
        first = roles.pids(observed.process.pid)["dissector"]
        os.kill(first, number)
        _sent(cgroup, 20)
        until(lambda: roles.pids(observed.process.pid).get("dissector", first) != first, observed.process)
        _sent(cgroup, 5)
        observed.wait("SELECT 1 FROM name WHERE event = 'question'", 35)
    assert observed.process.returncode == 0
    assert _asked(observed) == 35
    assert not observed.rows("SELECT * FROM loss")
    assert "dissector" in "".join(observed.errors)


@pytest.mark.landing("kills")
def test_one_that_is_killed_with_a_question_in_hand(history: Path) -> None:
    """Stopped, so that the observer waits for its answer, and killed then: what it had been handed has its row from the next one."""
    require.bpf()
    with TestCgroup("unified") as cgroup, Observed(history, [cgroup.path]) as observed:
        _sent(cgroup, 1)
        observed.wait("SELECT 1 FROM name WHERE event = 'question'")
        pids = roles.pids(observed.process.pid)
        os.kill(pids["dissector"], signal.SIGSTOP)
        _sent(cgroup, 3)
        until(lambda: _waits_in_poll(pids["observer"]), observed.process)
        os.kill(pids["dissector"], signal.SIGKILL)
        observed.wait("SELECT 1 FROM name WHERE event = 'question'", 4)
    assert _asked(observed) == 4 and not observed.rows("SELECT * FROM loss")


def _waits_in_poll(pid: int) -> bool:
    """Whether it waits in poll(2), as the observer does for an answer alone: for the rings it waits in epoll_wait(2)."""
    where = Path(f"/proc/{pid}/wchan").read_text()
    return "poll" in where and not where.startswith(("ep_", "do_epoll"))


@pytest.mark.landing("waits until a dissector is overdue")
def test_nothing_of_names_is_proven_while_it_hangs(history: Path) -> None:
    """Supervisor and dissector stopped: a question asked meanwhile is not told, an answer on names says so, one on processes does not;
    `status` names both; afterwards the row is there."""
    require.bpf()
    with TestCgroup("unified") as cgroup, Observed(history, [cgroup.path]) as observed:
        _sent(cgroup, 1)
        observed.wait("SELECT 1 FROM name WHERE event = 'question'")
        pids = [roles.pids(observed.process.pid)["dissector"], observed.process.pid]
        began = datetime.now(UTC)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            _sent(cgroup, 2)
            observed.wait("""SELECT 1 FROM observer WHERE measures LIKE '%"packets_waiting": 2,%'""")
            reasons = observed.judged(began, datetime.now(UTC), ("name",))
            assert any("2 packets on" in reason and "wait for a dissector" in reason for reason in reasons), reasons
            assert not any("dissector" in reason for reason in observed.judged(began, datetime.now(UTC)))
            told = _status(history)[1]["reasons"]
            assert any("the dissector" in reason and "is stopped" in reason for reason in told), told
        finally:
            for pid in reversed(pids):
                with contextlib.suppress(
                    ProcessLookupError
                ):  # the supervisor goes on first, and may replace the dissector at once
                    os.kill(pid, signal.SIGCONT)
        observed.wait("SELECT 1 FROM name WHERE event = 'question'", 3)
        observed.until(
            "SELECT arg_max(measures, ktime) AS measures FROM observer WHERE event <> 'runtime'",
            lambda rows: '"packets_waiting": 0,' in rows[0]["measures"],
        )
        assert not any("dissector" in reason for reason in observed.judged(began, datetime.now(UTC), ("name",)))
    assert not observed.rows("SELECT * FROM loss")


class Relay:
    """Between the observer's end and a real dissector: one that is handed `poison` gets SIGKILL before it can answer."""

    def __init__(self, place: Path, poison: bytes) -> None:
        self._place, self._poison = place, poison
        self.control, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.packets = Packets(Line(its, lambda line: None))
        self.killed = 0
        self._threads: list[threading.Thread] = []

    def another(self) -> None:
        """A dissector's process, behind the wall, and its line."""
        mine, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        theirs, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with its, mine:
            process = _begun(self._place, its)
            socket.send_fds(self.control, [b"1"], [mine.fileno()])
        self._threads.append(threading.Thread(target=self._serve, args=(process, ours, theirs)))
        self._threads[-1].start()

    def _serve(self, process: subprocess.Popen[bytes], ours: socket.socket, theirs: socket.socket) -> None:
        with ours, theirs:
            while whole := _frame(theirs):
                ours.sendall(whole)
                if not (asked := _frame(ours)):
                    break
                theirs.sendall(asked)
                if self._poison in asked:
                    process.kill()
                    self.killed += 1
                    break
        assert process.stdin is not None
        process.stdin.close()
        process.wait()

    def close(self) -> None:
        self.packets.line._drop()
        for thread in self._threads:
            thread.join()
        self.control.close()


def _frame(peer: socket.socket) -> bytes:
    """The next whole frame; empty at the end."""
    try:
        head = peer.recv(frame.HEAD.size, socket.MSG_WAITALL)
        return head + peer.recv(frame.HEAD.unpack(head)[0] - 1, socket.MSG_WAITALL) if head else b""
    except ConnectionError:
        return b""


def test_a_packet_that_kills_two_is_set_aside(open_place: Path) -> None:
    """Real processes, killed each time that this one packet is in their hands: two die for it, the third reads the rest, and no packet
    but this one is lost."""
    relay = Relay(open_place, packets.question("poison.example.", number=50))
    try:
        found, rows = [], [packets.row(packets.question(f"n{n}.example.", number=n), cookie=n) for n in range(100)]
        rows[50] = packets.row(packets.question("poison.example.", number=50), cookie=50)
        for number in range(3):
            relay.another()
            assert relay.packets.line.ready(30)
            found += relay.packets.read(packets.batch(rows)) if number == 0 else relay.packets.late()
        assert relay.killed == 2 and not relay.packets.waiting
        assert sorted(_names(found)) == sorted(f"n{n}.example" for n in range(100) if n != 50)
        (loss,) = relay.packets.losses()
        assert (loss.cause, loss.table, loss.events) == ("dissector", "name", 1)
        assert loss.detail == "set aside after two dissectors were handed it: the dissector ended"
    finally:
        relay.close()


def test_no_packet_reaches_the_disk(history: Path) -> None:
    """What the messages held besides their names is nowhere below the history."""
    require.bpf()
    secret = b"\x07nobody-sees-this\x08"
    with TestCgroup("unified") as cgroup, Observed(history, [cgroup.path]) as observed:
        code = "import socket, sys\n"
        code += "with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s: s.sendto(bytes.fromhex(sys.argv[1]), ('127.0.0.1', 53))"
        wire = packets.question("seen.example.") + secret
        cgroup.run([sys.executable, "-c", code, wire.hex()]).wait()
        observed.wait("SELECT 1 FROM name WHERE name = 'seen.example'")
        everything = b"".join(path.read_bytes() for path in history.rglob("*") if path.is_file())
        assert b"seen.example" in everything and secret not in everything
    assert observed.rows("SELECT marks FROM name WHERE name = 'seen.example'")[0]["marks"].startswith("MALFORMED")
    kept = b"".join(path.read_bytes() for path in history.rglob("*") if path.is_file())
    assert secret not in kept and not list(history.rglob("packet*"))
