"""The connection subject, live: TCP against what both ends, /proc and ss know of it."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from tests.cgroups import TestCgroup
from tests.kernel.agent import EXE, Agent, RefusedCall, connected, listening
from tests.kernel.live import Live, flags
from tests.networks import Namespace

pytestmark = pytest.mark.xdist_group("pool")


def _portrait(agent: Agent) -> dict[str, Any]:
    """What /proc says of an agent now."""
    return agent.do(
        """
        status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
        {"pid": os.getpid(), "exe": os.readlink("/proc/self/exe"), "net": os.stat("/proc/self/ns/net").st_ino,
         "uid": [int(n) for n in status["Uid"].split()[:2]], "caps": [int(status[c], 16) for c in ("CapPrm", "CapEff")]}
        """
    )


def _names_its_process(row: dict[str, Any], portrait: dict[str, Any]) -> None:
    assert (row["pid"], row["exec_tgid"], row["exe"]) == (portrait["pid"], portrait["pid"], portrait["exe"])
    assert [row["uid"], row["euid"]] == portrait["uid"] and row["ns_net"] == portrait["net"]
    assert [row["cap_permitted"], row["cap_effective"]] == portrait["caps"]
    assert row["parent_tgid"] == os.getpid()


@pytest.mark.parametrize(
    ("listens", "connects", "here", "there", "mapped"),
    [
        ("AF_INET", "AF_INET", "10.9.1.1", "10.9.1.2", ({""}, {""})),
        ("AF_INET6", "AF_INET6", "fd09:1::1", "fd09:1::2", ({""}, {""})),
        ("AF_INET6", "AF_INET6", "10.9.1.1", "10.9.1.2", ({"MAPPED"}, {"MAPPED"})),
        ("AF_INET6", "AF_INET", "10.9.1.1", "10.9.1.2", ({""}, {"MAPPED"})),
    ],
    ids=["IPv4", "IPv6", "mapped", "IPv4 to a listener of IPv6"],
)
def test_a_whole_life(
    live: Live, listens: str, connects: str, here: str, there: str, mapped: tuple[set[str], set[str]]
) -> None:
    """Both ends' rows name their process as /proc does, with its own ends; listen, connect, accept, close join by cookie."""
    server, client = live.agent(live.far), live.agent()
    client.do("os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)")
    port, listener = listening(server, listens)
    target = f"::ffff:{there}" if (listens, connects, ":" in there) == ("AF_INET6", "AF_INET6", False) else there
    ours = client.do(
        f"s = socket.socket(socket.{connects}); s.connect(('{target}', {port})); s.sendall(b'hello'); cookie(s)"
    )
    theirs = server.do("c = l.accept()[0]; assert c.recv(9) == b'hello'; c.sendall(b'abc'); cookie(c)")
    local = client.do("assert s.recv(9) == b'abc'; n = s.getsockname()[1]; s.close(); n")
    server.do("assert c.recv(9) == b''; c.close(); l.close()")
    rows = live.rows({listener: 2, ours: 2, theirs: 2})
    assert [[row["event"] for row in rows[cookie]] for cookie in (listener, ours, theirs)] == [
        ["listen", "close"],
        ["connect", "close"],
        ["accept", "close"],
    ]
    clients, servers = _portrait(client), _portrait(server)
    for row in rows[ours]:
        _names_its_process(row, clients)
        assert (row["local_address"], row["local_port"]) == (here, local)
        assert (row["peer_address"], row["peer_port"]) == (there, port)
        assert row["opener_tgid"] is None and flags(row) == mapped[0] - {""}
    for row in rows[theirs]:
        _names_its_process(row, servers)
        assert (row["local_address"], row["local_port"]) == (there, port)
        assert (row["peer_address"], row["peer_port"]) == (here, local)
        assert row["opener_tgid"] == server.pid and flags(row) == mapped[1] - {""} | {"INCOMING"}
    for row in rows[listener]:
        _names_its_process(row, servers)
        assert (row["local_address"], row["local_port"]) == ("::" if listens == "AF_INET6" else "0.0.0.0", port)
        assert (row["peer_address"], row["peer_port"], row["outcome"]) == (None, None, None)
    assert [(row[-1]["bytes_sent"], row[-1]["bytes_received"]) for row in (rows[ours], rows[theirs])] == [
        (5, 3),
        (3, 5),
    ]
    for begun, ended in (rows[ours], rows[theirs]):
        assert (begun["outcome"], ended["outcome"]) == ("established", "closed")
        assert ended["rtt"] > 0 and ended["retransmits"] == 0 and ended["segments_sent"] >= 3
        assert ended["duration"] >= ended["ktime"] - begun["ktime"]
    assert {row["transport"] for told in rows.values() for row in told} == {"tcp"}


def test_loopback_is_marked(live: Live) -> None:
    """By a loopback address, or by an address of the socket's own; a neighbour's is neither."""
    server, client = live.agent(), live.agent()
    port, _ = listening(server, "AF_INET6")
    counts = {}
    for target in ("127.0.0.1", "::1", live.here):
        counts[connected(client, target, port)] = 2
        counts[server.do("c = l.accept()[0]; cookie(c)")] = 2
        client.do("s.close()")
        server.do("c.close()")
    assert all("LOOPBACK" in flags(row) for rows in live.rows(counts).values() for row in rows)


def test_refused(live: Live) -> None:
    """Nobody listens: one row, with the error that the caller got."""
    client = live.agent()
    with pytest.raises(RefusedCall, match="ConnectionRefusedError"):
        client.do(f"s = socket.socket(); s.connect(('{live.there}', 9))")
    (row,) = live.life(client.do("cookie(s)"), "connect")
    assert (row["outcome"], row["error"], row["pid"]) == ("refused", 111, client.pid)
    assert (row["peer_address"], row["peer_port"]) == (live.there, 9)


def test_timed_out(live: Live) -> None:
    """Nobody answers: `started` once the first segment was sent again, `timed_out` when the kernel gives up."""
    client = live.agent()
    live.far.run("iptables", "-A", "INPUT", "-p", "tcp", "--dport", "7777", "-j", "DROP")
    client.do("s = socket.socket(); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)")
    client.begin(f"s.connect(('{live.there}', 7777))")
    (cookie,) = {row["cookie"] for row in live.observed.wait("SELECT cookie FROM connection WHERE outcome = 'started'")}
    with pytest.raises(RefusedCall, match="TimeoutError"):
        client.end()
    started, ended = live.life(cookie, "connect", "connect")
    assert client.do("cookie(s)") == cookie
    assert [(row["outcome"], row["error"]) for row in (started, ended)] == [("started", None), ("timed_out", 110)]
    assert started["duration"] > 900_000_000 and ended["duration"] > started["duration"]


def test_unreachable(live: Live) -> None:
    """No neighbour has the address."""
    client = live.agent()
    live.near.set("net.ipv4.neigh.to-1.mcast_solicit", "1")
    live.near.set("net.ipv4.neigh.to-1.retrans_time_ms", "100")
    with pytest.raises(RefusedCall, match="No route to host"):
        client.do("s = socket.socket(); s.connect(('10.9.1.77', 7))")
    query = f"SELECT * FROM connection WHERE cookie = {client.do('cookie(s)')} AND outcome <> 'started'"
    (row,) = live.observed.wait(query)
    assert (row["event"], row["outcome"], row["error"]) == ("connect", "unreachable", 113)
    assert (row["peer_address"], row["peer_port"]) == ("10.9.1.77", 7)


def test_aborted(live: Live) -> None:
    """Given up before there was an answer."""
    client = live.agent()
    live.far.run("iptables", "-A", "INPUT", "-p", "tcp", "--dport", "7778", "-j", "DROP")
    cookie = client.do(
        f"s = socket.socket(); s.setblocking(False); s.connect_ex(('{live.there}', 7778)); n = cookie(s); s.close(); n"
    )
    (row,) = live.life(cookie, "connect")
    assert (row["outcome"], row["error"], row["peer_port"]) == ("aborted", None, 7778)


def test_reset_by_the_peer(live: Live) -> None:
    """One end's reset is the other's outcome; who sends it has closed."""
    server, client = live.agent(live.far), live.agent()
    port, _ = listening(server)
    ours = connected(client, live.there, port)
    theirs = server.do(
        "c = l.accept()[0]; c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); n = cookie(c); c.close(); n"
    )
    with pytest.raises(RefusedCall, match="ConnectionResetError"):
        client.do("s.recv(1)")
    assert [row["outcome"] for row in live.life(ours, "connect", "close")] == ["established", "reset"]
    _, closed = live.life(theirs, "accept", "close")
    assert (closed["outcome"], closed["pid"], flags(closed)) == ("closed", server.pid, {"INCOMING"})


_SENDS = """
    def send(to, length):
        block = bytes(1 << 20)
        while length:
            length -= to.send(block[:length])
    """
_RECEIVES = """
    def receive(of, length):
        block = bytearray(1 << 20)
        while length:
            length -= of.recv_into(block, min(length, len(block)))
    """


def _pair(live: Live, host: str = "", near: bool = False) -> tuple[Agent, Agent, int, int]:
    """A client's `s` connected with a server's `c`, both able to `send` and `receive`; and their cookies."""
    server, client = live.agent(live.near if near else live.far), live.agent()
    for agent in (server, client):
        agent.do(_SENDS)
        agent.do(_RECEIVES)
    port, _ = listening(server)
    ours = connected(client, host or live.there, port)
    theirs: int = server.do("c = l.accept()[0]; cookie(c)")
    return client, server, ours, theirs


def _counted(live: Live, where: Namespace, cookie: int) -> dict[str, int]:
    """What `ss` says that a socket has counted."""
    told = where.run("ss", "-tinHe").replace("\n\t", " ").splitlines()
    (line,) = [line for line in told if f"sk:{cookie:x} " in line]
    return {name: int(number) for name, number in re.findall(r"(\w+):(\d+)", line)}


@pytest.mark.parametrize("length", [1, 1 << 20, 1 << 30], ids=["1 B", "1 MiB", "1 GiB"])
def test_bytes_are_what_was_sent(live: Live, length: int) -> None:
    """Over loopback, at both ends, each way by itself; and what ss shows just before."""
    client, server, ours, theirs = _pair(live, "127.0.0.1", near=True)
    server.begin(f"receive(c, {length}); send(c, 3)")
    client.do(f"send(s, {length}); receive(s, 3)")
    server.end()
    shown = {cookie: _counted(live, live.near, cookie) for cookie in (ours, theirs)}
    client.do("s.close()")
    server.do("c.close()")
    rows = live.rows({ours: 2, theirs: 2})
    for cookie, sent, received in ((ours, length, 3), (theirs, 3, length)):
        row, ss = rows[cookie][-1], shown[cookie]
        assert (row["bytes_sent"], row["bytes_received"]) == (sent, received)
        assert sent == ss["bytes_sent"] - ss.get("bytes_retrans", 0) and received == ss["bytes_received"]
        assert row["segments_sent"] >= ss["segs_out"] > 0 and row["segments_received"] >= ss["segs_in"] > 0


def test_bytes_sent_again_count_once(live: Live) -> None:
    """On a link that drops every twentieth segment: the payload as it was, the segments sent again beside it."""
    client, server, ours, theirs = _pair(live)
    lose = ["INPUT", "-p", "tcp", "-m", "statistic", "--mode", "nth", "--every", "20", "--packet", "0", "-j", "DROP"]
    live.far.run("iptables", "-A", *lose)
    server.begin(f"receive(c, {4 << 20})")
    client.do(f"send(s, {4 << 20})")
    server.end()
    live.far.run("iptables", "-D", *lose)
    shown = _counted(live, live.near, ours)
    client.do("s.close()")
    server.do("c.close()")
    rows = live.rows({ours: 2, theirs: 2})
    sent, received = rows[ours][-1], rows[theirs][-1]
    assert sent["bytes_sent"] == received["bytes_received"] == 4 << 20
    assert shown["bytes_sent"] - shown["bytes_retrans"] == 4 << 20 and shown["bytes_retrans"] > 0
    assert sent["retransmits"] > 0 and received["retransmits"] == 0


def test_a_socket_outlives_its_process(live: Live) -> None:
    """Who sends much and ends at once: the end comes later and names it, with its binary."""
    client, server, ours, theirs = _pair(live)
    server.do("c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)")
    client.do("s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)")
    client.do(f"send(s, {2 << 20})")
    client.leave()
    live.observed.wait(f"SELECT 1 FROM process WHERE event = 'exit' AND pid = {client.pid}")
    assert [row["event"] for row in live.rows({ours: 1})[ours]] == ["connect"]
    server.do(f"receive(c, {2 << 20}); assert c.recv(1) == b''; c.close()")
    begun, ended = live.life(ours, "connect", "close")
    assert (ended["pid"], ended["exe"], ended["exec_id"]) == (client.pid, str(EXE), begun["exec_id"])
    assert ended["bytes_sent"] == live.rows({theirs: 2})[theirs][-1]["bytes_received"] == 2 << 20


def test_nothing_of_others_is_told(live: Live) -> None:
    """A process outside the scope leaves no row, also of what it has with one inside, whichever connects."""
    with TestCgroup() as elsewhere:
        inside, outside = live.agent(), live.agent(cgroup=elsewhere)
        ports = [listening(agent)[0] for agent in (inside, outside)]
        cookies = [connected(outside, "127.0.0.1", ports[1]), connected(outside, "127.0.0.1", ports[0])]
        cookies += [outside.do("c = l.accept()[0]; c.close(); s.close(); cookie(l)")]
        accepted = inside.do("c = l.accept()[0]; assert c.recv(1) == b''; n = cookie(c); c.close(); n")
        ours = connected(inside, "127.0.0.1", ports[1])
        outside.do("l.accept()[0].close()")
        inside.do("assert s.recv(1) == b''; s.close()")
        rows = live.rows({accepted: 2, ours: 2})
        assert {row["pid"] for told in rows.values() for row in told} == {inside.pid}
        strange = f"pid = {outside.pid} OR opener_tgid = {outside.pid} OR cookie IN ({', '.join(map(str, cookies))})"
        assert live.observed.everything(f"SELECT * FROM connection WHERE {strange}") == []


def test_an_unaccepted_connection_is_its_listeners(live: Live) -> None:
    """Never taken from the queue: the end is told of the listener's process, and says so."""
    server, client = live.agent(live.far), live.agent()
    port, _ = listening(server)
    ours = connected(client, live.there, port)
    local = client.do("s.sendall(b'into the queue'); s.getsockname()[1]")
    server.do("l.close()")
    with pytest.raises(RefusedCall, match="ConnectionResetError"):
        client.do("s.recv(1)")
    live.life(ours, "connect", "close")
    query = f"SELECT * FROM connection WHERE peer_port = {local} AND local_port = {port}"
    (row,) = live.observed.wait(query)
    assert (row["event"], row["pid"], flags(row)) == ("close", server.pid, {"INCOMING", "LISTENER"})
    assert (row["opener_tgid"], row["bytes_received"]) == (server.pid, 14)


def test_who_only_closes_has_accepted(live: Live) -> None:
    """An acceptance is told also where nothing was read or written, with bytes unread or without."""
    server, client = live.agent(live.far), live.agent()
    port, _ = listening(server)
    for sends in ("pass", "s.sendall(b'unread')"):
        connected(client, live.there, port)
        client.do(sends)
        theirs = server.do("c = l.accept()[0]; n = cookie(c); c.close(); n")
        accepted, closed = live.life(theirs, "accept", "close")
        assert (accepted["pid"], flags(accepted), flags(closed)) == (server.pid, {"INCOMING"}, {"INCOMING"})
        client.do("s.close()")


def test_one_listener_many_clients_by_mptcp(live: Live) -> None:
    """A listener that offers MPTCP, as Go's do: a client of plain TCP is told as any other."""
    server, client = live.agent(live.far), live.agent()
    port, _ = server.do(
        "l = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262); l.bind(('', 0)); l.listen(); (l.getsockname()[1], cookie(l))"
    )
    ours = connected(client, live.there, port)
    client.do("s.sendall(b'hello'); n = s.getsockname()[1]")
    server.do("c = l.accept()[0]; assert c.recv(9) == b'hello'; c.sendall(b'abc'); c.close()")
    local = client.do("assert s.recv(9) == b'abc'; s.close(); n")
    live.life(ours, "connect", "close")
    rows = live.observed.wait(f"SELECT * FROM connection WHERE peer_port = {local} ORDER BY ktime", 2)
    assert [(row["event"], row["pid"]) for row in rows] == [("accept", server.pid), ("close", server.pid)]
    assert (rows[1]["bytes_sent"], rows[1]["bytes_received"]) == (3, 5)
