"""Runs in the guest: a server and a client inside the observed cgroup, which have one conversation of each kind and say what they did."""

import json
import os
import socket
import struct
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

SENT, ANSWERED = 100_000, 3
EQUAL = 8
NAME, ADDRESS = "www.guest.example", "192.0.2.7"
_COOKIE = 57  # SO_COOKIE
_DOOR = "/tmp/doors/door"
_ARP = 0x0806
Say = Callable[..., None]
Hear = Callable[[], dict[str, Any]]


def cause(scope: Path) -> dict[str, Any]:
    """All of it; what each end knows of its sockets: pids, cookies, ports, and moments in ns since boot."""
    Path(_DOOR).parent.mkdir()
    told, tell = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), "rw", strict=True))
    heard, hear = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), "rw", strict=True))
    server = _begin(scope, _serve, tell, heard)
    doors = json.loads(told.readline())
    client = _begin(scope, _ask, hear, told, doors)
    for pid in (client, server):
        assert os.waitpid(pid, 0)[1] == 0, "the server" if pid == server else "the client"
    known = {"server": server, "client": client, **doors}
    for pid in (client, server):
        known |= json.loads(Path(f"/tmp/known-{pid}").read_text())
    return known


def _begin(scope: Path, work: Callable[..., dict[str, Any]], to: Any, of: Any, *more: Any) -> int:
    """A child of ours in the cgroup that says by lines to the other end, and hears it; its pid."""
    child = os.fork()
    if child:
        return child
    try:
        (scope / "cgroup.procs").write_text(str(os.getpid()))
        known = work(
            lambda **what: print(json.dumps(what), file=to, flush=True), lambda: json.loads(of.readline()), *more
        )
        Path(f"/tmp/known-{os.getpid()}").write_text(json.dumps(known))
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _cookie(made: socket.socket) -> int:
    found: int = struct.unpack("Q", made.getsockopt(socket.SOL_SOCKET, _COOKIE, 8))[0]
    return found


def _serve(say: Say, hear: Hear) -> dict[str, Any]:
    listener, names, door = _doors()
    probed = socket.create_server(("127.0.0.1", 0))
    say(port=listener.getsockname()[1], listener=_cookie(listener), probed=probed.getsockname()[1])
    accepted = listener.accept()[0]
    known = {"accepted": _cookie(accepted), "accepted_by": time.clock_gettime_ns(time.CLOCK_BOOTTIME)}
    say(go="send")
    received = 0
    while received < SENT:
        received += len(accepted.recv(1 << 16))
    accepted.sendall(b"x" * ANSWERED)
    assert accepted.recv(1) == b""
    accepted.close()
    question, asker = names.recvfrom(512)
    names.sendto(_answer(question), asker)
    door.accept()[0].close()
    for _ in range(EQUAL):
        accepted = probed.accept()[0]
        assert accepted.recv(5, socket.MSG_WAITALL) == b"hello"
        accepted.sendall(b"x" * ANSWERED)
        accepted.close()
    known |= _handed(listener)
    assert hear() == {"done": True}
    return known | {"names": _cookie(names)}


def _handed(listener: socket.socket) -> dict[str, Any]:
    """A connection that its process accepts, and that a child alone reads."""
    accepted = listener.accept()[0]
    cookie, reader = _cookie(accepted), os.fork()
    if not reader:
        os._exit(accepted.recv(1) != b".")
    assert os.waitpid(reader, 0)[1] == 0
    accepted.close()
    return {"handed": cookie, "reader": reader}


def _doors() -> tuple[socket.socket, socket.socket, socket.socket]:
    """Listening: TCP on any port of loopback, UDP on the port of DNS, a unix socket by its path."""
    listener, names = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.1", 53))
    door = socket.socket(socket.AF_UNIX)
    door.bind(_DOOR)
    door.listen()
    return listener, names, door


def _ask(say: Say, hear: Hear, doors: dict[str, Any]) -> dict[str, Any]:
    made = socket.create_connection(("127.0.0.1", doors["port"]))
    known = {"connected": _cookie(made), "connected_port": made.getsockname()[1]}
    assert hear() == {"go": "send"}
    made.sendall(bytes(SENT))
    assert made.recv(ANSWERED, socket.MSG_WAITALL) == b"x" * ANSWERED
    made.close()
    known |= {"refused": _refused(), "asked": _asked(), "unix": _through_the_door()}
    for _ in range(EQUAL):
        _probe(doors["probed"])
    with socket.create_connection(("127.0.0.1", doors["port"])) as made:
        made.sendall(b".")
        assert made.recv(1) == b""
    known |= {"raw": _closed(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)}
    known |= {"packets": _closed(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ARP))}
    say(done=True)
    return known


def _probe(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as made:
        made.sendall(b"hello")
        assert made.recv(9, socket.MSG_WAITALL) == b"x" * ANSWERED


def _refused() -> int:
    made = socket.socket()
    assert made.connect_ex(("127.0.0.1", 9)) != 0
    return _cookie(made)


def _asked() -> int:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.connect(("127.0.0.1", 53))
    labels = b"".join(bytes([len(label)]) + label.encode() for label in NAME.split("."))
    made.send(struct.pack("!6H", 77, 0x100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, 1, 1))
    assert socket.inet_aton(ADDRESS) in made.recv(512)
    cookie = _cookie(made)
    made.close()
    return cookie


def _answer(question: bytes) -> bytes:
    """One address for the name asked for, which the record points back to (RFC 1035, 4.1.4)."""
    head = question[:2] + struct.pack("!5H", 0x8180, 1, 1, 0, 0)
    return head + question[12:] + struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(ADDRESS)


def _through_the_door() -> int:
    """By a path that only the kernel's own walk makes whole."""
    os.chdir("/tmp/doors")
    made = socket.socket(socket.AF_UNIX)
    made.connect("../doors/door")
    cookie = _cookie(made)
    made.close()
    return cookie


def _closed(family: int, kind: int, protocol: int) -> int:
    made = socket.socket(family, kind, protocol)
    cookie = _cookie(made)
    made.close()
    return cookie
