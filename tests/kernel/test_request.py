"""Heads of TLS and HTTP as this kernel's packets tell them: real clients and servers in a namespace of the test's own."""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from firsthand.dissect import hello
from tests import packets, require
from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel.observed import Observed
from tests.kernel.pool import ObserverKind, Watch
from tests.network import NetworkNamespace
from tests.unit.dissect.test_dns import mutated

pytestmark = pytest.mark.xdist_group("pool of names")

_HERE = str(Path(__file__).parents[2])
#: Accepts, reads until nothing more comes, and answers nothing: ADDRESS PORT.
_SINK = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=512)
print('up', flush=True)
while True:
    peer, _ = server.accept()
    try:
        while peer.recv(65536): pass
    except OSError: pass
    peer.close()
"""
#: Sends parts, each in a segment of its own: PORT, then parts as hexadecimal lines on standard input.
_PARTS = """
import socket, sys
for line in sys.stdin.read().split('\\n'):
    with socket.create_connection(('127.0.0.1', int(sys.argv[1]))) as one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in line.split(','):
            one.sendall(bytes.fromhex(part))
"""


@pytest.fixture(scope="module")
def observer_kind() -> ObserverKind:
    """Cgroups in v2 alone."""
    return ObserverKind(hierarchies="unified")


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    """What these tests start."""
    require.programs("tls", "openssl", "curl", "ip")


def _requests(observed: Observed | Watch, where: str = "true") -> list[dict[str, Any]]:
    return observed.rows(f"SELECT * FROM request WHERE {where} ORDER BY ktime")


def _sink(cgroup: TestCgroup | Watch, namespace: NetworkNamespace, port: int) -> None:
    child = cgroup.run(namespace.command([sys.executable, "-c", _SINK, "127.0.0.1", str(port)]), stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"up\n"


def _tls_server(cgroup: TestCgroup | Watch, namespace: NetworkNamespace, folder: Path, port: int) -> None:
    """openssl s_server with a page at every path."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*words, "-subj", "/CN=test", "-days", "2"], check=True, capture_output=True)
    command = ["openssl", "s_server", "-www", "-port", str(port), "-key", str(key), "-cert", str(certificate)]
    child = cgroup.run(namespace.command(command), stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert any(b"ACCEPT" in line for line in child.stdout)


def _curl(cgroup: TestCgroup | Watch, namespace: NetworkNamespace, *words: str) -> None:
    child = cgroup.run(namespace.command(["curl", "-sk", "--max-time", "5", "-o", "/dev/null", *words]))
    child.wait()


def _parts(cgroup: TestCgroup | Watch, namespace: NetworkNamespace, port: int, streams: list[list[bytes]]) -> None:
    child = cgroup.run(namespace.command([sys.executable, "-c", _PARTS, str(port)]), stdin=subprocess.PIPE)
    child.communicate("\n".join(",".join(part.hex() for part in stream) for stream in streams).encode())
    assert child.returncode == 0


def test_tls_clients_by_name_and_fingerprint(
    watched: tuple[Watch, TestCgroup, NetworkNamespace], tmp_path: Path
) -> None:
    """curl, openssl with a name, and without one: each row of its own process, with the fingerprint that its bytes give."""
    cgroup, servers, namespace = watched
    _tls_server(servers, namespace, tmp_path, 8443)
    client = ["openssl", "s_client", "-connect", "127.0.0.1:8443"]
    with cgroup as observed:
        _curl(cgroup, namespace, "--resolve", "www.example:8443:127.0.0.1", "https://www.example:8443/a")
        for words in (["-servername", "Other.Example", "-alpn", "h2,x"], ["-noservername", "-tls1_2"]):
            cgroup.run(
                namespace.command([*client, *words]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ).wait()
    curl, named, bare = _requests(observed)
    assert (curl["event"], curl["sni"], curl["protocol"], curl["direction"]) == ("tls", "www.example", "tls", "out")
    assert curl["exe"].endswith("curl") and named["exe"].endswith("openssl") and curl["peer_port"] == 8443
    assert (named["sni"], named["alpn"], named["tls_version"], named["marks"]) == (
        "other.example",
        ["h2", "x"],
        "TLS 1.3",
        None,
    )
    assert (bare["sni"], bare["marks"], bare["tls_version"], bare["ech"]) == (None, "NO_SNI", "TLS 1.2", False)
    again = hello.read(
        packets.sent(
            ("openssl", "s_client", "-connect", "127.0.0.1:{port}", "-servername", "y.example", "-alpn", "h2,x")
        )
    )
    assert named["ja4"] == again.ja4
    joined = observed.rows(
        "SELECT count(*) AS n FROM request JOIN connection c USING (cookie) WHERE c.event = 'connect' AND c.transport = 'tcp'"
    )
    assert joined[0]["n"] == 3 and not observed.lost()


def test_the_servers_side_has_the_name_too(watched: tuple[Watch, TestCgroup, NetworkNamespace], tmp_path: Path) -> None:
    """Of an observed server: the ClientHello that came in."""
    servers, others, namespace = watched
    with servers as observed:
        _tls_server(servers, namespace, tmp_path, 8443)
        _curl(others, namespace, "--resolve", "www.example:8443:127.0.0.1", "https://www.example:8443/a")
    (row,) = _requests(observed)
    assert (row["sni"], row["direction"], row["local_port"]) == ("www.example", "in", 8443)
    assert row["exe"].endswith("openssl")


def test_heads_in_many_segments(watched: tuple[Watch, TestCgroup, NetworkNamespace]) -> None:
    """A ClientHello and an HTTP head cut at many places, into two, three and ten: one row each, the same as whole."""
    cgroup, servers, namespace = watched
    _sink(servers, namespace, 8080)
    wire, get = packets.hello(sni="cut.example"), b"GET /p?q HTTP/1.1\r\nHost: cut.example\r\nUser-Agent: x\r\n\r\n"
    cuts = [[1], [5], [6], [100], [len(wire) - 1], [3, 9], list(range(40, 400, 40))]
    streams = [_cut(wire, at) for at in cuts] + [_cut(get, [at for at in one if at < len(get)]) for one in cuts]
    with cgroup as observed:
        _parts(cgroup, namespace, 8080, streams)
    rows = _requests(observed)
    tls = [row for row in rows if row["event"] == "tls"]
    http = [row for row in rows if row["event"] == "http"]
    assert len(tls) == len(http) == len(cuts)
    assert {(row["sni"], row["ja4"], row["marks"]) for row in tls} == {("cut.example", hello.read(wire).ja4, None)}
    assert {(row["host"], row["url_path"], row["method"], row["marks"]) for row in http} == {
        ("cut.example", "/p", "GET", None)
    }


def _cut(wire: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *places, len(wire)]
    return [wire[a:b] for a, b in pairwise(bounds)]


def test_half_a_head_is_told_after_a_while(
    places: tuple[TestCgroup, TestCgroup, NetworkNamespace], history: Path
) -> None:
    """The rest never comes: what is there, TRUNCATED, by the process that sent it; also at the very end of observing."""
    cgroup, servers, namespace = places
    _sink(servers, namespace, 8080)
    with Observed(history, [cgroup.path]) as observed:
        _parts(cgroup, namespace, 8080, [[packets.hello()[:60]], [b"GET /half HTTP/1.1\r\nHost: half.example\r\n"]])
    tls, http = _requests(observed)
    assert (tls["event"], tls["marks"], tls["sni"], tls["ja4"], tls["ech"]) == ("tls", "TRUNCATED", None, None, None)
    assert (http["marks"], http["url_path"], http["host"]) == ("TRUNCATED", "/half", "half.example")
    assert tls["exe"] and tls["exec_tgid"] == http["exec_tgid"] is not None


def test_http_in_both_versions(
    places: tuple[TestCgroup, TestCgroup, NetworkNamespace],
    history: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Method, host, path, user agent; secrets in the path and the user agent are replaced; the query is kept where that is set."""
    cgroup, servers, namespace = places
    configured(tmp_path, monkeypatch, "[network]\nkeep_query = true\n")
    _sink(servers, namespace, 8080)
    with Observed(history, [cgroup.path]) as observed:
        _curl(
            cgroup,
            namespace,
            "--max-time",
            "1",
            "-X",
            "DELETE",
            "-A",
            "agent/1",
            "-H",
            "Host: Front.Example:99",
            "http://127.0.0.1:8080/a/b?c=d",
        )
        _curl(cgroup, namespace, "--max-time", "1", "http://127.0.0.1:8080/x?password=hunter22222&y=1")
        _curl(cgroup, namespace, "--max-time", "1", "--http2-prior-knowledge", "http://127.0.0.1:8080/two?z")
    one, secret, two = _requests(observed)
    assert (one["protocol"], one["method"], one["host"], one["url_path"], one["user_agent"]) == (
        "http/1.1",
        "DELETE",
        "front.example",
        "/a/b?c=d",
        "agent/1",
    )
    assert "hunter2" not in secret["url_path"] and "[redacted]" in secret["url_path"]
    assert (secret["redacted"], one["redacted"]) == (True, False) and secret["redaction"]
    assert two["protocol"] == "h2"
    kept = b"".join(path.read_bytes() for path in history.rglob("*") if path.is_file())
    assert b"hunter22222" not in kept


def test_other_protocols_leave_no_rows(watched: tuple[Watch, TestCgroup, NetworkNamespace]) -> None:
    """SSH, SMTP, Redis, bytes."""
    cgroup, servers, namespace = watched
    _sink(servers, namespace, 8080)
    with cgroup as observed:
        _parts(cgroup, namespace, 8080, [[b"SSH-2.0-x\r\n"], [b"EHLO mail\r\n"], [b"PING\r\n"], [bytes(range(256))]])
    assert not _requests(observed) and not observed.lost()
    assert len(observed.rows("SELECT 1 FROM connection WHERE event = 'connect' AND transport = 'tcp'")) == 4


def test_a_name_outside_and_another_inside(
    places: tuple[TestCgroup, TestCgroup, NetworkNamespace],
    history: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fronting, seen where libssl is looked at: the row of what went out encrypted is marked, and one that agrees is not."""
    cgroup, servers, namespace = places
    library = next(Path("/usr/lib").glob("*/libssl.so.3"), None)
    assert library is not None
    configured(tmp_path, monkeypatch, f'[network]\nplaintext = ["{library}"]\n')
    _tls_server(servers, namespace, tmp_path, 8443)
    with Observed(history, [cgroup.path]) as observed:
        common = ("--http1.1", "--resolve", "cdn.example:8443:127.0.0.1", "https://cdn.example:8443/a")
        _curl(cgroup, namespace, "-H", "Host: hidden.example", *common)
        _curl(cgroup, namespace, *common)
    rows = [(row["event"], row["sni"] or row["host"], row["marks"], row["within_tls"]) for row in _requests(observed)]
    assert rows == [
        ("tls", "cdn.example", None, False),
        ("http", "hidden.example", "FRONTED", True),
        ("tls", "cdn.example", None, False),
        ("http", "cdn.example", None, True),
    ]


@pytest.mark.landing("a thousand connections")
def test_a_thousand_mutated_hellos_never_hurt(
    places: tuple[TestCgroup, TestCgroup, NetworkNamespace], history: Path
) -> None:
    """Really sent, a connection each: nothing hangs, and what is sent after them is read."""
    cgroup, servers, namespace = places
    _sink(servers, namespace, 8080)
    chance, wire = random.Random(6), packets.hello()
    broken = [[one] for one in (mutated(chance, wire) for _ in range(1000)) if one]
    with Observed(history, [cgroup.path]) as observed:
        _parts(cgroup, namespace, 8080, [*broken, [packets.hello(sni="last.example")]])
    assert len(_requests(observed, "sni = 'last.example'")) == 1
    assert len(_requests(observed)) > 500
    assert not observed.rows("SELECT 1 FROM loss WHERE cause = 'dissector'")
