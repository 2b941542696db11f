"""Flows of datagrams and raw sockets, live."""

from __future__ import annotations

import pytest

from tests.kernel.agent import EXE, Agent, RefusedCall
from tests.kernel.live import Live, flags
from tests.kernel.pool import ObserverKind

pytestmark = pytest.mark.xdist_group("pool of flows")

IDLE = 2
CAP_NET_RAW = 13


@pytest.fixture(scope="module")
def observer_kind() -> ObserverKind:
    """Flows that have been idle for two seconds have ended."""
    return ObserverKind(f"[network]\nflow_idle_seconds = {IDLE}\n")


def _bound(agent: Agent, family: str = "AF_INET") -> tuple[int, int]:
    """Port and cookie of a new datagram socket `u`, bound on every address."""
    told = f"u = socket.socket(socket.{family}, socket.SOCK_DGRAM); u.bind(('', 0)); (u.getsockname()[1], cookie(u))"
    port, cookie = agent.do(told)
    return port, cookie


@pytest.mark.parametrize(
    ("family", "host", "shown", "mapped"),
    [
        ("AF_INET", "10.9.1.2", "10.9.1.2", False),
        ("AF_INET6", "fd09:1::2", "fd09:1::2", False),
        ("AF_INET6", "::ffff:10.9.1.2", "10.9.1.2", True),
    ],
    ids=["IPv4", "IPv6", "mapped"],
)
def test_a_flow_is_told_when_its_socket_closes(live: Live, family: str, host: str, shown: str, mapped: bool) -> None:
    """Payload and datagrams each way, at once; one row for a short one, at each end."""
    server, client = live.agent(live.far), live.agent()
    port, theirs = _bound(server, family)
    ours = client.do(
        f"""
        u = socket.socket(socket.{family}, socket.SOCK_DGRAM); u.connect(('{host}', {port}))
        for length in (0, 1, 1400, 20000): u.send(bytes(length))
        cookie(u)
        """
    )
    server.do("[u.recv(1 << 16) for _ in range(4)]")
    local = client.do("u.getsockname()[1]")
    here = client.do("u.getsockname()[0]")
    server.do(f"u.sendto(b'answer', ('{here}', {local}))")
    client.do("assert u.recv(9) == b'answer'; u.close()")
    server.do("u.close()")
    rows = live.rows({ours: 1, theirs: 1})
    (sent,), (received,) = rows[ours], rows[theirs]
    assert (sent["event"], sent["outcome"], sent["transport"], sent["pid"]) == ("close", "closed", "udp", client.pid)
    assert (sent["peer_address"], sent["peer_port"], sent["local_port"]) == (shown, port, local)
    assert (sent["bytes_sent"], sent["segments_sent"]) == (21401, 4)
    assert (sent["bytes_received"], sent["segments_received"]) == (6, 1)
    assert (received["event"], received["pid"], received["local_port"]) == ("close", server.pid, port)
    assert (received["bytes_received"], received["segments_received"], received["bytes_sent"]) == (21401, 4, 6)
    assert received["local_address"] == shown and received["peer_address"] == sent["local_address"]
    base = {"MAPPED"} if mapped else set()
    assert flags(sent) == base and flags(received) == base | {"INCOMING"}
    assert sent["ns_net"] == live.near.inode and received["ns_net"] == live.far.inode


def test_one_flow_for_each_peer(live: Live) -> None:
    """Without connect: each peer has a row of its own, and all end with the socket."""
    servers, client = [live.agent(live.far) for _ in range(3)], live.agent()
    ports = [_bound(server)[0] for server in servers]
    _, cookie = _bound(client)
    for number, port in enumerate(ports, 1):
        client.do(f"[u.sendto(b'12345', ('{live.there}', {port})) for _ in range({number})]")
    client.do("u.close()")
    query = f"SELECT * FROM connection WHERE cookie = {cookie} AND event = 'close'"
    rows = {row["peer_port"]: row for row in live.observed.wait(query, 3)}
    assert [(rows[port]["bytes_sent"], rows[port]["segments_sent"]) for port in ports] == [(5, 1), (10, 2), (15, 3)]
    assert [flags(rows[port]) for port in ports] == [set(), set(), set()]
    assert {(row["event"], row["pid"], row["peer_address"]) for row in rows.values()} == {
        ("close", client.pid, live.there)
    }


def test_an_idle_flow_ends_and_may_begin_anew(live: Live) -> None:
    """After the setting's seconds without a datagram; what comes later is another flow of the same socket.

    While it may still go on, one that has begun is told after a second, however little it carried.
    """
    server, client = live.agent(live.far), live.agent()
    port, _ = _bound(server)
    cookie = client.do(
        f"u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect(('{live.there}', {port})); u.send(b'one'); cookie(u)"
    )
    began, ended = live.life(cookie, "connect", "close")
    assert flags(began) == set() and flags(ended) == {"IDLE", "BEGUN"}
    assert ended["bytes_sent"] == 3 and ended["segments_sent"] == 1
    assert ended["ktime"] - ended["duration"] == began["ktime"] - began["duration"]  # when it began
    assert began["duration"] == 0 < ended["duration"] < 1_000_000_000  # when nothing came is no part of it
    client.do("u.send(b'three'); u.close()")
    *_, second = live.life(cookie, "connect", "close", "close")
    assert flags(second) == set() and second["bytes_sent"] == 5  # too short for a row of its beginning


def test_a_long_flow_is_told_when_it_begins(live: Live) -> None:
    """`connect` where this end sent first, `accept` where the peer did; the end comes later, with all that it carried."""
    server, client = live.agent(live.far), live.agent()
    port, theirs = _bound(server)
    server.do(
        """
        import threading
        taking = threading.Thread(target=lambda: [*iter(lambda: u.recv(9), b'end')])
        taking.start()
        """
    )
    ours = client.do(
        f"""
        import threading
        u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect(('{live.there}', {port}))
        enough, sent = threading.Event(), 0
        def go_on():  # far more often than a flow is idle by this observer's setting
            global sent
            while True:
                u.send(b'.'); sent += 1
                if enough.wait(0.1): break
        sending = threading.Thread(target=go_on); sending.start()
        cookie(u)
        """
    )
    both = f"SELECT * FROM connection WHERE cookie IN ({ours}, {theirs})"
    live.observed.until(both, lambda found: len(found) == 2)
    sent = client.do("enough.set(); sending.join(); u.send(b'end'); u.close(); sent + 1")
    server.do("taking.join(); u.close()")
    began, ended = live.life(ours, "connect", "close")
    assert (began["pid"], ended["pid"], ended["segments_sent"], flags(ended)) == (
        client.pid,
        client.pid,
        sent,
        {"BEGUN"},
    )
    assert ended["duration"] > 1_000_000_000 and ended["ktime"] - ended["duration"] <= began["ktime"]
    began, ended = live.life(theirs, "accept", "close")
    assert (began["pid"], ended["segments_received"], ended["peer_address"]) == (server.pid, sent, live.here)


def test_who_sends_is_a_flows_process(live: Live) -> None:
    """A socket that a child inherited: what the child begins is the child's."""
    server, client = live.agent(live.far), live.agent()
    port, _ = _bound(server)
    _, cookie = _bound(client)
    child = client.do(
        f"""
        child = os.fork()
        if not child:
            u.sendto(b'.', ('{live.there}', {port}))
            os._exit(0)
        os.waitpid(child, 0)
        child
        """
    )
    client.do("u.close()")
    (row,) = live.life(cookie, "close")
    assert (row["pid"], row["parent_tgid"]) == (child, client.pid)


def test_nobody_there(live: Live) -> None:
    """A datagram to a closed port is a flow as any other: the network's answer is the caller's to know."""
    client = live.agent()
    cookie = client.do(
        f"u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect(('{live.there}', 9)); u.send(b'.'); cookie(u)"
    )
    with pytest.raises(RefusedCall, match="ConnectionRefusedError"):
        client.do("u.recv(1)")
    client.do("u.close()")
    (row,) = live.life(cookie, "close")
    assert (row["bytes_sent"], row["segments_received"], row["outcome"]) == (1, 0, "closed")


@pytest.mark.parametrize("protocol", ["IPPROTO_ICMP", "IPPROTO_TCP", "IPPROTO_UDP", "IPPROTO_RAW"])
@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_a_raw_socket_is_told_when_it_is_opened_and_closed(live: Live, family: str, protocol: str) -> None:
    """Whatever protocol it is for, which is told; what it sends is not."""
    client = live.agent()
    cookie = client.do(f"r = socket.socket(socket.{family}, socket.SOCK_RAW, socket.{protocol}); cookie(r)")
    client.do(
        "r.sendto(bytes(40), ('127.0.0.1', 0)) if r.proto != 255 and r.family == 2 else None; n = r.proto; r.close()"
    )
    opened, closed = live.life(cookie, "open", "close")
    for row in (opened, closed):
        assert (row["transport"], row["pid"], row["ns_net"]) == ("raw", client.pid, live.near.inode)
        assert (row["local_address"], row["peer_address"], row["local_port"]) == (None, None, None)
        assert row["protocol"] == client.do("n") and row["exe"] == str(EXE)
    assert closed["duration"] >= closed["ktime"] - opened["ktime"] > 0 and closed["outcome"] == "closed"


def test_a_raw_socket_is_closed_by_its_last_holder(live: Live) -> None:
    """A child inherits it and lives on: the end comes with the child's, and names who opened it."""
    client = live.agent()
    cookie = client.do("r = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP); cookie(r)")
    client.do(
        """
        wait, go = os.pipe()
        child = os.fork()
        if not child:
            os.close(go)
            os.read(wait, 1)
            os._exit(0)
        r.close()
        """
    )
    assert len(live.rows({cookie: 1})[cookie]) == 1
    client.do("os.close(go); os.waitpid(child, 0)")
    assert {row["pid"] for row in live.life(cookie, "open", "close")} == {client.pid}


@pytest.mark.parametrize(("kind", "ether_type"), [("SOCK_RAW", 3), ("SOCK_DGRAM", 0x0806)])
def test_a_packet_socket_is_told(live: Live, kind: str, ether_type: int) -> None:
    """Who made it, and for what; its cookie and its end too, where the kernel side meets it and not only the call for it."""
    client = live.agent()
    cookie = client.do(f"p = socket.socket(socket.AF_PACKET, socket.{kind}, socket.htons({ether_type})); cookie(p)")
    client.do("p.close()")
    rows = live.observed.wait(
        f"SELECT * FROM connection WHERE pid = {client.pid} AND transport = 'packet' ORDER BY ktime"
    )
    allowed = flags(rows[0]) == {"ALLOWED"}
    assert (
        [row["cookie"] for row in rows] == [0]
        if allowed
        else [row["event"] for row in live.life(cookie, "open", "close")]
    )
    for row in rows:
        assert (row["pid"], row["exe"], row["ns_net"], row["protocol"]) == (
            client.pid,
            str(EXE),
            live.near.inode,
            ether_type,
        )
        assert (row["local_address"], row["peer_address"], row["local_port"]) == (None, None, None)
    assert rows[0]["event"] == "open" and rows[0]["cap_effective"] & 1 << CAP_NET_RAW


def test_no_packet_socket_without_the_right(live: Live) -> None:
    """An attempt that is refused is none, nor is another use of the same right."""
    refused, other = live.agent(), live.agent()
    refused.do("os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)")
    with pytest.raises(RefusedCall, match="PermissionError"):
        refused.do("socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))")
    cookie = other.do(
        "r = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); r.setsockopt(1, 25, b'lo'); n = cookie(r); r.close(); n"
    )
    live.life(cookie, "open", "close")
    strange = f"transport = 'packet' AND pid IN ({refused.pid}, {other.pid})"
    assert live.observed.everything(f"SELECT * FROM connection WHERE {strange}") == []
