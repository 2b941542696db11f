"""Sockets that are older than the observer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cgroups import TestCgroup
from tests.kernel.agent import EXE, Agent, connected, listening
from tests.kernel.live import flags
from tests.kernel.observed import Observed
from tests.networks import TestNetworks


def _of_socket(observed: Observed, cookie: int) -> list[dict[str, Any]]:
    return observed.rows(f"SELECT * FROM connection WHERE cookie = {cookie} ORDER BY ktime")


def test_older_sockets(cgroup: TestCgroup, history: Path) -> None:
    """Listeners, connections, datagram, raw and packet sockets have a row `seen`; what comes of them is told with BEFORE, bytes whole.

    A listener's later connections are as any other's; a socket that is connected to nothing yet is not told of.
    """
    with TestNetworks() as networks:
        near = networks.add("near")
        server, client = Agent(cgroup, near), Agent(cgroup, near)
        port, listener = listening(server)
        ours = connected(client, "127.0.0.1", port)
        theirs = server.do("c = l.accept()[0]; cookie(c)")
        client.do("s.sendall(b'before')")
        server.do("assert c.recv(9) == b'before'")
        flow, to = server.do(
            "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', 0)); (cookie(u), u.getsockname()[1])"
        )
        raw = server.do("r = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP); cookie(r)")
        sniffer = server.do("p = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x806)); cookie(p)")
        idle = server.do("i = socket.socket(); cookie(i)")
        with Observed(history, [cgroup.path]) as observed:
            client.do("s.sendall(b' and after'); v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)")
            server.do("assert c.recv(20) == b' and after'")
            client.do(f"v.connect(('127.0.0.1', {to})); v.send(b'datagram')")
            server.do("u.recv(20); u.close(); r.close(); i.close(); c.close()")
            client.do("s.close(); v.close()")
            connected(client, "127.0.0.1", port)
            later = server.do("c = l.accept()[0]; n = cookie(c); c.close(); l.close(); n")
            client.do("s.close()")
            observed.wait(f"SELECT 1 FROM connection WHERE cookie = {later} AND event = 'close'")
            server.leave()
            client.leave()
    told = {
        name: _of_socket(observed, cookie) for name, cookie in (("listener", listener), ("ours", ours), ("flow", flow))
    }
    assert [row["event"] for row in told["listener"]] == ["seen", "close"]
    assert flags(told["listener"][0]) == flags(told["listener"][1]) == {"BEFORE", "LISTENING"}
    assert [row["event"] for row in told["ours"]] == ["seen", "close"]
    assert told["ours"][1]["bytes_sent"] == 16 and told["ours"][1]["outcome"] == "closed"
    assert {row["pid"] for row in told["ours"]} == {client.pid} and told["ours"][0]["exe"] == str(EXE)
    accepted = _of_socket(observed, theirs)
    assert [(row["event"], row["pid"]) for row in accepted] == [("seen", server.pid), ("close", server.pid)]
    assert (accepted[0]["peer_port"], accepted[1]["bytes_received"]) == (told["ours"][0]["local_port"], 16)
    assert [(row["event"], row["local_port"]) for row in told["flow"]] == [("seen", to), ("close", to)]
    assert (told["flow"][1]["bytes_received"], told["flow"][1]["segments_received"]) == (8, 1)
    assert told["flow"][0]["peer_address"] is None
    for row in (*told["ours"], *told["flow"], *accepted):
        assert "BEFORE" in flags(row)
    assert [(row["event"], row["transport"], row["protocol"], row["pid"]) for row in _of_socket(observed, raw)] == [
        ("seen", "raw", 1, server.pid),
        ("close", "raw", 1, server.pid),
    ]
    (packets, *_) = _of_socket(observed, sniffer)
    assert (packets["event"], packets["transport"], packets["protocol"]) == ("seen", "packet", 0x806)
    assert (packets["pid"], packets["local_port"], packets["local_address"]) == (server.pid, None, None)
    assert [(row["event"], flags(row) & {"BEFORE"}) for row in _of_socket(observed, later)] == [
        ("accept", {"BEFORE"}),
        ("close", {"BEFORE"}),
    ]
    assert _of_socket(observed, idle) == [] and observed.lost() == 0
