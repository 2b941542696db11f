"""What observing costs connections: real servers and clients, both in the observed cgroup, in pairs with and without the observer.

The measure is the processor time of server and client for each request (or byte), which other work on the machine moves less than
the time that passes. Both ends on one machine is the worst case: each packet is seen twice. Requests on connections that stay leave
no row, so that there the observer has nothing to do: the programs alone are attached and detached, several times a second while
one client runs, for a virtual machine's speed moves within seconds by more than what is looked for.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from firsthand.history.keep.keeper import Keeper
from firsthand.history.store import manifest
from firsthand.probe import hierarchy, libbpf, load, stats
from firsthand.probe.options import LoadOptions
from firsthand.probe.ring import Ring
from firsthand.schema.layout import installed
from firsthand.settings import Settings
from firsthand.settings.sections.folding import Folding
from firsthand.settings.sections.top import Top
from firsthand.wire import _drain
from tests import require
from tests.bench.machine import machine
from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel.observed import Observed

pytestmark = pytest.mark.bench
PAIRS, BLOCK = 24, 4
SLICES, SLICE = 500, 0.2
#: What runs for each request on a connection that stays, and where it is attached (enum bpf_attach_type).
EACH_REQUEST = {"packet_in": 0, "packet_out": 1, "connection_use": 23, "connection_read": 23}
NGINX = """daemon off; worker_processes 1; error_log /dev/null; pid {folder}/pid;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 "hello"; }} location = /counted {{ stub_status; }} }} }}
"""


@pytest.fixture
def cgroup() -> Iterator[TestCgroup]:
    require.bpf()
    require.programs("bench", "nginx", "redis-server", "redis-benchmark", "iperf3", "wrk")
    with TestCgroup() as made:
        yield made


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def _answers(port: int) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            assert time.monotonic() < until, f"nobody listens on {port}"


def _spent(cgroup: TestCgroup) -> int:
    """Nanoseconds of processor time of the cgroup (cpuacct.usage, or usage_usec of cgroup v2's cpu.stat)."""
    for folder in cgroup.folders:
        if (folder / "cpuacct.usage").exists():
            return int((folder / "cpuacct.usage").read_text())
    for folder in cgroup.folders:
        if (folder / "cpu.stat").exists():
            return int((folder / "cpu.stat").read_text().split()[1]) * 1000
    raise AssertionError("no cgroup counts processor time here")


def _output(cgroup: TestCgroup, *argv: str) -> str:
    child = cgroup.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return child.communicate()[0].decode()


def _pairs(cgroup: TestCgroup, folder: Path, run: Callable[[], float]) -> list[tuple[float, float]]:
    """(observed, not observed) of each pair; blocks take turns in coming first."""
    pairs: list[tuple[float, float]] = []
    run()
    for block in range(PAIRS // BLOCK):
        sides: dict[bool, list[float]] = {}
        for observing in (block % 2 == 0, block % 2 == 1):
            if observing:
                with Observed(folder / str(block), [cgroup.path]):
                    run()
                    sides[True] = [run() for _ in range(BLOCK)]
            else:
                sides[False] = [run() for _ in range(BLOCK)]
        pairs += list(zip(sides[True], sides[False], strict=True))
    return pairs


def _show(what: str, unit: str, pairs: list[tuple[float, float]]) -> None:
    logs = [math.log(on / off) for on, off in pairs]
    middle, half = statistics.fmean(logs), 1.96 * statistics.stdev(logs) / math.sqrt(len(logs))
    off = statistics.median(value for _, value in pairs)
    print(
        f"\n{machine()}\n{what}: {math.exp(middle):.4f}x (95%: {math.exp(middle - half):.4f} to "
        f"{math.exp(middle + half):.4f}; {len(pairs)} pairs; unobserved median {off:,.2f} {unit})"
    )


class _Switch:
    """The programs that each request runs, attached and detached at will; the others stay."""

    def __init__(self, cgroup: TestCgroup) -> None:
        options = LoadOptions(
            installed(),
            hierarchy.choose([cgroup.path]),
            [hierarchy.key(cgroup.path)],
            Settings(Top(instance=f"bench-{os.getpid()}")),
        )
        self.loaded = load.bring_in(options)
        self.programs = [one for one in self.loaded.programs if one.name in EACH_REQUEST]
        self.root = hierarchy.open_version2()
        libbpf.library().bpf_link_create.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p]

    def turn(self, *, on: bool) -> None:
        """Attach or detach them."""
        for program in self.programs:
            if on and program.link < 0:
                kind = EACH_REQUEST[program.name]
                target = self.root if program.name.startswith("packet") else 0
                program.link = libbpf.call("bpf_link_create", program.fd, target, kind, None)
            elif not on and program.link >= 0:
                (self.loaded.folder / f"link_{program.name}").unlink(missing_ok=True)
                os.close(program.link)
                program.link = -1

    def close(self) -> None:
        os.close(self.root)
        self.loaded.close()


def _slices(cgroup: TestCgroup, counted: Callable[[], int], *client: str) -> list[tuple[float, float]]:
    """(observed, not observed) nanoseconds a request, of slices beside each other while the client runs."""
    switch = _Switch(cgroup)
    running = cgroup.run(client, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while counted() < 100_000:  # so that each connection's head was seen
            time.sleep(SLICE)
        pairs = []
        for turn in range(SLICES):
            sides: dict[bool, float] = {}
            for on in (turn % 2 == 0, turn % 2 == 1):
                switch.turn(on=on)
                begun, spent = counted(), _spent(cgroup)
                time.sleep(SLICE)
                sides[on] = (_spent(cgroup) - spent) / (counted() - begun)
            pairs.append((sides[True], sides[False]))
        return pairs
    finally:
        running.terminate()
        running.wait()
        switch.close()


@contextmanager
def _server(cgroup: TestCgroup, port: int, *argv: str) -> Iterator[None]:
    child = cgroup.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _answers(port)
        yield
    finally:
        child.terminate()
        child.wait()


def _per(cgroup: TestCgroup, run: Callable[[], float]) -> float:
    """Nanoseconds of processor time for each of what `run` counts."""
    before = _spent(cgroup)
    counted = run()
    return (_spent(cgroup) - before) / counted


def test_redis_get(cgroup: TestCgroup, tmp_path: Path) -> None:
    """redis GET, 20 connections, without pipelining."""
    port = _free_port()
    with _server(cgroup, port, "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""):
        told = socket.create_connection(("127.0.0.1", port))

        def counted() -> int:
            told.sendall(b"INFO stats\r\n")
            answer = b""
            while b"total_commands_processed" not in answer or not answer.endswith(b"\r\n"):
                answer += told.recv(65536)
            return int(answer.split(b"total_commands_processed:")[1].split()[0])

        client = ("redis-benchmark", "-p", str(port), "-t", "get", "-n", "2000000000", "-c", "20", "-q")
        _show("redis GET, programs alone", "ns a request", _slices(cgroup, counted, *client))
        told.close()


@contextmanager
def _nginx(cgroup: TestCgroup, folder: Path) -> Iterator[int]:
    port = _free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port))
    folder.chmod(0o755)
    with _server(cgroup, port, "nginx", "-p", str(folder), "-c", str(config)):
        yield port


def _wrk(cgroup: TestCgroup, port: int, *more: str) -> float:
    told = _output(cgroup, "wrk", "-t1", "-c8", "-d2s", *more, f"http://127.0.0.1:{port}/")
    return float(next(line.split()[0] for line in told.splitlines() if "requests in" in line))


def test_nginx_keep_alive(cgroup: TestCgroup, tmp_path: Path) -> None:
    """nginx, 8 connections that stay."""
    with _nginx(cgroup, tmp_path) as port:

        def counted() -> int:
            with urlopen(f"http://127.0.0.1:{port}/counted") as answer:
                return int(answer.read().decode().splitlines()[2].split()[2])

        client = ("wrk", "-t1", "-c8", "-d3600s", f"http://127.0.0.1:{port}/")
        _show("nginx keep-alive, programs alone", "ns a request", _slices(cgroup, counted, *client))


def test_nginx_connections(cgroup: TestCgroup, tmp_path: Path) -> None:
    """nginx, a connection for each request."""
    with _nginx(cgroup, tmp_path) as port:
        run = lambda: _per(cgroup, lambda: _wrk(cgroup, port, "-H", "Connection: close"))  # noqa: E731
        _show("nginx connection per request", "ns a request", _pairs(cgroup, tmp_path, run))


def test_iperf(cgroup: TestCgroup, tmp_path: Path) -> None:
    """iperf3, one TCP stream."""
    port = _free_port()
    with _server(cgroup, port, "iperf3", "-s", "-p", str(port), "-B", "127.0.0.1"):

        def run() -> float:
            told = json.loads(_output(cgroup, "iperf3", "-c", "127.0.0.1", "-p", str(port), "-n", "4G", "-J"))
            return float(told["end"]["sum_received"]["bytes"]) / 1e6

        _show("iperf3", "ns a megabyte", _pairs(cgroup, tmp_path, lambda: _per(cgroup, run)))


@pytest.mark.parametrize("fold", [False, True], ids=("", "folding"))
def test_bytes_of_a_row(cgroup: TestCgroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fold: bool) -> None:
    """At most 60 bytes for each row of `connection`, from nginx with a connection for each request; and how many rows folding leaves."""
    history, config = tmp_path / "history", tmp_path / "config.toml"
    config.write_text(f"[folding]\nconnections = {str(fold).lower()}\n")
    monkeypatch.setenv("FIRSTHAND_CONFIG", str(config))
    with Observed(history, [cgroup.path]), _nginx(cgroup, tmp_path) as port:
        made = sum(_wrk(cgroup, port, "-H", "Connection: close") for _ in range(4))
    keeper = Keeper(history, linger=0, many=2)
    keeper.pass_once(last=True)
    keeper.tidy()
    keeper.close()
    segments = [one for one in manifest.load(history).segments if one.table == "connection"]
    rows, size = sum(one.rows for one in segments), sum(one.bytes for one in segments)
    print(f"\n{machine()}\n{made:,.0f} connections: {rows:,} rows, {size:,} bytes, {size / rows:.1f} a row")
    assert fold or size / rows <= 60


#: Writes through libssl with nothing behind it but memory.
_WRITES = """
import ssl, sys, time
COUNT, folder = 200_000, sys.argv[1]
ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
ours.check_hostname, ours.verify_mode = False, ssl.CERT_NONE
theirs.load_cert_chain(folder + "/certificate.pem", folder + "/key.pem")
there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
client, server = ours.wrap_bio(back, there), theirs.wrap_bio(there, back, server_side=True)
for step in (client, server, client, server):
    try:
        step.do_handshake()
    except ssl.SSLWantReadError:
        pass
begun = time.process_time_ns()
for _ in range(COUNT):
    client.write(b"x" * 100)
    there.read()
print((time.process_time_ns() - begun) / COUNT)
"""


def test_plaintext_of_a_write(cgroup: TestCgroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `network.plaintext` costs each write of 100 bytes through libssl, observed with it against not observed."""
    library = next(Path("/usr/lib").glob("*/libssl.so.3"))
    configured(tmp_path, monkeypatch, f'[network]\nplaintext = ["{library}"]\n')
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-days", "2"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "certificate.pem")]
    subprocess.run([*words, *files], check=True, capture_output=True)
    run = lambda: float(_output(cgroup, "/usr/bin/python3", "-c", _WRITES, str(tmp_path)))  # noqa: E731
    pairs = _pairs(cgroup, tmp_path, run)
    _show("write through libssl, its plaintext looked at", "ns a write", pairs)
    print(f"more: {statistics.median(on - off for on, off in pairs) / 1000:.2f} us a write")


@pytest.mark.parametrize("fold", [False, True], ids=("", "folding"))
def test_program_time_of_connections(cgroup: TestCgroup, tmp_path: Path, fold: bool) -> None:
    """The kernel's own measure of the programs, and what is left in the ring: for a connection with a request (both ends), and for a
    request on one that stays."""
    chosen, keys = hierarchy.choose([cgroup.path]), [hierarchy.key(cgroup.path)]
    given = Settings(Top(instance=f"bench-{os.getpid()}"), Folding(connections=fold))
    options = LoadOptions(installed(), chosen, keys, given)
    loaded = load.bring_in(options)
    try:
        ring = Ring(loaded.maps["ring"], options.sizes["ring"])
        with _nginx(cgroup, tmp_path) as port:
            for what, more in (("connection", ("-H", "Connection: close")), ("request", ())):
                measuring = stats.enable()
                before = {p.name: p.run_time for p in stats.programs(loaded)}
                count = _wrk(cgroup, port, *more)
                after = {p.name: p.run_time for p in stats.programs(loaded)}
                stats.disable(measuring)
                left = (_drain.position(ring.producer_page) - ring.consumed) / count
                _drain.release(ring.consumer_page, _drain.position(ring.producer_page))
                each = {name: (after[name] - before[name]) / count / 1000 for name in after}
                shown = ", ".join(f"{name} {value:.2f}" for name, value in each.items() if value > 0.01)
                print(f"\nprogram time of a {what}: {sum(each.values()):.2f} us ({shown}); {left:.0f} bytes of ring")
    finally:
        loaded.close()
