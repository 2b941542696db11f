"""The dissector as it really runs: behind the wall, able to do nothing but its work, and replaced when it dies or hangs."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firsthand import wall
from firsthand.packets import Line, Packets
from tests import packets, require
from tests.cgroups import TestCgroup
from tests.kernel import roles
from tests.kernel.observed import Observed
from tests.network import until
from tests.unit.dissect.test_dns import mutated


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every user can reach, as /var/lib is."""
    require.root()
    place = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:8]}"
    place.mkdir(mode=0o755)
    yield place
    shutil.rmtree(place)


class Real:
    """A dissector's process behind the wall, and the observer's end of its line."""

    def __init__(self, place: Path) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        options = json.dumps({"resolvers": [packets.RESOLVER], "keep_query": False})
        command = [sys.executable, "-m", "firsthand.wall", "dissector", str(place), "firsthand.dissecting", options]
        with its, mine:
            self.process = subprocess.Popen(
                [*command, str(its.fileno())], stdin=subprocess.PIPE, pass_fds=[its.fileno()]
            )
            socket.send_fds(ours, [b"1"], [mine.fileno()])
        ours.close()
        self.packets = Packets(Line(theirs, lambda line: None))

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
from firsthand import dissecting
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
dissecting.close_up()
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
    command = [sys.executable, "-m", "firsthand.wall", "dissector", str(open_place), "attempts"]
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


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGKILL, "the dissector ended"), (signal.SIGSTOP, "did not answer within")]
)
def test_its_death_costs_its_packets_and_nothing_else(number: signal.Signals, words: str, history: Path) -> None:
    """Killed, or stopped where it never answers: what it had is a row of loss, processes are recorded on, and another one goes on."""
    require.bpf()
    with TestCgroup("unified") as cgroup, Observed(history, [cgroup.path]) as observed:
        _sent(cgroup, 10)
        until(lambda: _asked(observed) == 10, observed.process)
        first = roles.pids(observed.process.pid)["dissector"]
        os.kill(first, number)
        _sent(cgroup, 20)
        until(lambda: roles.pids(observed.process.pid).get("dissector", first) != first, observed.process)
        until(lambda: _lost(observed) or _asked(observed) == 30, observed.process)

        def again() -> bool:
            _sent(cgroup, 1)
            return (
                bool(
                    observed.rows(
                        "SELECT 1 FROM name WHERE time > (SELECT max(until) FROM loss WHERE cause = 'dissector')"
                    )
                )
                or _asked(observed) > 30
            )

        until(again, observed.process)
    assert observed.process.returncode == 0
    lost = sum(int(row["events"]) for row in _lost(observed))
    sent = observed.rows("SELECT count(*) AS n FROM process WHERE event = 'exec' AND exe LIKE '%python%'")[0]["n"]
    assert _asked(observed) + lost == 30 + (sent - 2), "every question is a row or counted"
    assert {row["table_name"] for row in _lost(observed)} <= {"name"}
    assert not observed.rows("SELECT * FROM loss WHERE cause <> 'dissector'")
    if number == signal.SIGSTOP:
        assert any(words in row["detail"] for row in _lost(observed))
    assert "dissector" in "".join(observed.errors)


def test_no_packet_reaches_the_disk(history: Path) -> None:
    """What the messages held besides their names is nowhere below the history."""
    require.bpf()
    secret = b"\x07nobody-sees-this\x08"
    with TestCgroup("unified") as cgroup, Observed(history, [cgroup.path]) as observed:
        code = "import socket, sys\n"
        code += "with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s: s.sendto(bytes.fromhex(sys.argv[1]), ('127.0.0.1', 53))"
        wire = packets.question("seen.example.") + secret
        cgroup.run([sys.executable, "-c", code, wire.hex()]).wait()
        until(lambda: observed.rows("SELECT 1 FROM name WHERE name = 'seen.example'"), observed.process)
        everything = b"".join(path.read_bytes() for path in history.rglob("*") if path.is_file())
        assert b"seen.example" in everything and secret not in everything
    assert observed.rows("SELECT marks FROM name WHERE name = 'seen.example'")[0]["marks"].startswith("MALFORMED")
    kept = b"".join(path.read_bytes() for path in history.rglob("*") if path.is_file())
    assert secret not in kept and not list(history.rglob("packet*"))
