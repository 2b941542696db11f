"""Asked at once, an answer has what happened until then: no "No" because the record was some milliseconds behind."""

from __future__ import annotations

import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from firsthand.ask.answer import Answer, Request
from firsthand.ask.answering import answer
from firsthand.history.store.connection import History
from tests import require
from tests.cgroups import TestCgroup
from tests.kernel.pool import ObserverKind, Watch
from tests.network import DnsServer, NetworkNamespace

pytestmark = pytest.mark.xdist_group("pool of names")

ROUNDS = 12
#: Asks for each name that it reads, and says that it has the answer.
_LOOK_UP = """
import sys, dns.message, dns.query
for line in sys.stdin:
    dns.query.udp(dns.message.make_query(line.strip(), "A"), "127.0.0.1", timeout=5)
    print("done", flush=True)
"""
#: Sends a datagram to an address, connected to it or not, and keeps the socket until its input ends.
_SEND = """
import socket, sys
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if sys.argv[2] == "True": one.connect((sys.argv[1], 9)); one.send(b"x")
else: one.sendto(b"x", (sys.argv[1], 9))
print("sent", flush=True)
sys.stdin.read()
"""

#: Begins to connect, and keeps the socket until its input ends.
_TRY = """
import socket, sys
one = socket.socket()
one.setblocking(False)
one.connect_ex((sys.argv[1], 9))
print("tried", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def observer_kind() -> ObserverKind:
    """As of test_name, with which it shares an observer."""
    return ObserverKind(hierarchies="unified")


def _asked(watch: Watch, since: datetime, question: str, *arguments: str) -> Answer:
    """Of this moment; the record is to be whole until then, whatever else is not known."""
    found = answer(History(watch.history), Request(question, arguments, since=since))
    assert not any("recorded from" in reason or "observed from" in reason for reason in found.completeness.reasons)
    return found


def test_programs_that_ran_a_moment_ago(watch: Watch) -> None:
    """One after another, each asked for when it has ended; and the one that did not run is not there."""
    began = datetime.now(UTC)
    for number in range(ROUNDS):
        with watch:
            watch.run(["/bin/true", f"ran-{number}"]).wait()
            found = _asked(watch, began, "processes", f"args~ran-{number}")
            assert found.sentence.startswith("Yes: 1 of "), (number, found.sentence)
            assert _asked(watch, began, "processes", f"args~ran-{number + 1}").sentence.startswith("No")


def test_connections_and_names_of_a_moment_ago(watch: Watch, tmp_path: Path) -> None:
    """A connection that was made here, and a question that a DNS server has answered."""
    require.programs("dns", "dnsmasq")
    began = datetime.now(UTC)
    with TestCgroup("unified") as servers, NetworkNamespace() as namespace, watch:
        DnsServer(servers, namespace, tmp_path, "--address=/example/192.0.2.7")
        child = watch.run(namespace.command([sys.executable, "-c", _LOOK_UP]), stdin=-1, stdout=-1)
        assert child.stdin is not None and child.stdout is not None
        for number in range(ROUNDS // 2):
            name = f"at-once-{number}.example"
            child.stdin.write(f"{name}\n".encode())
            child.stdin.flush()
            assert child.stdout.readline() == b"done\n"
            assert _asked(watch, began, "connected", name).sentence.startswith("Yes"), number
        child.communicate()
        with socket.create_server(("127.0.0.77", 0)) as server:
            port = server.getsockname()[1]
            code = f"import socket; socket.create_connection(('127.0.0.77', {port})).close()"
            watch.run([sys.executable, "-c", code]).wait()
            assert _asked(watch, began, "connected", "127.0.0.77").sentence.startswith("Yes")


def test_attempts_that_nobody_has_answered(watch: Watch) -> None:
    """The first segment is on its way, and comes to nobody: the attempt is asked for when it is some milliseconds old."""
    began = datetime.now(UTC)
    with NetworkNamespace() as namespace, watch:
        for words in (
            "link add nowhere type veth peer name silent",
            "address add 198.51.100.1/24 dev nowhere",
            "link set nowhere up",
            "link set silent up",
            "neighbour add 198.51.100.7 dev nowhere lladdr 02:00:00:00:00:07 nud permanent",  # else it is unreachable after 3 s
        ):
            subprocess.run(namespace.command(["ip", *words.split()]), check=True)
        child = watch.run(namespace.command([sys.executable, "-c", _TRY, "198.51.100.7"]), stdin=-1, stdout=-1)
        assert child.stdout is not None and child.stdout.readline() == b"tried\n"
        found = _asked(watch, began, "connected", "198.51.100.7")
        late = [reason for reason in found.completeness.reasons if reason.startswith("attempts to connect")]
        assert found.sentence.startswith("Yes: 1 of ") or late, (found.sentence, found.completeness)
        child.communicate()
        found = _asked(watch, began, "connected", "198.51.100.7")
        assert found.sentence.startswith("Yes: 1 of ") and found.found.rows[0]["outcome"] == "aborted"


def test_flows_that_go_on(watch: Watch) -> None:
    """A datagram was sent, and its socket is open: the flow has no end, and is not too young for a row of its beginning."""
    began = datetime.now(UTC)
    for number, connects in enumerate((False, True)):
        peer = f"127.0.1.{number + 1}"
        with watch:
            child = watch.run([sys.executable, "-c", _SEND, peer, str(connects)], stdin=-1, stdout=-1)
            assert child.stdout is not None and child.stdout.readline() == b"sent\n"
            found = _asked(watch, began, "connected", peer)
            assert found.sentence.startswith("Yes: 1 of "), found.sentence
            assert not any("flows" in reason for reason in found.completeness.reasons)
            child.communicate()
            assert _asked(watch, began, "connected", peer).sentence.startswith("Yes: 1 of "), "it counts once"
