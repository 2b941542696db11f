"""Translated addresses (DNAT), live: the address that was asked for and the one that answered, as conntrack tells them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests import require
from tests.cgroups import TestCgroup
from tests.kernel.agent import Agent, connected
from tests.kernel.live import Live, configured_live
from tests.networks import Namespace, TestNetworks

pytestmark = pytest.mark.xdist_group("translation")

SERVICE, SERVICE6 = "10.96.0.10", "fd96::10"
#: What the service's port 80 is translated to: a pod's.
POD, POD6, PORT = "10.9.2.2", "fd09:2::2", 8080


class TranslatedCluster:
    """A pod `near`, a host, and a pod `far`; the host's PREROUTING sends what is for the service to `far`, as kube-proxy does."""

    def __init__(self, networks: TestNetworks) -> None:
        self.host, self.near, self.far = (networks.add(word) for word in ("host", "pod1", "pod2"))
        networks.link(self.host, self.near, 1)
        networks.link(self.host, self.far, 2)
        for number, pod in ((1, self.near), (2, self.far)):
            pod.ip("route", "add", "default", "via", f"10.9.{number}.1")
            pod.ip("-6", "route", "add", "default", "via", f"fd09:{number}::1")
        self.host.set("net.ipv4.ip_forward", "1")
        self.host.set("net.ipv6.conf.all.forwarding", "1")
        self.host.ip("-6", "route", "add", f"{SERVICE6}/128", "dev", "to-2")
        self.host.ip("route", "add", f"{SERVICE}/32", "dev", "to-2")  # as a node's default route leads somewhere
        for chain in ("PREROUTING", "OUTPUT"):
            translate(self.host, chain, SERVICE, f"{POD}:{PORT}")
            translate(self.host, chain, SERVICE6, f"[{POD6}]:{PORT}")


def translate(where: Namespace, chain: str, service: str, to: str) -> None:
    """Port 80 of a service, by TCP and UDP."""
    for protocol in ("tcp", "udp"):
        rule = ["-d", service, "-p", protocol, "--dport", "80", "-j", "DNAT", "--to-destination", to]
        where.run("ip6tables" if ":" in service else "iptables", "-t", "nat", "-A", chain, *rule)


@pytest.fixture(scope="module")
def networks() -> Iterator[TestNetworks]:
    """Those that are there before the observer."""
    require.bpf()
    with TestNetworks() as made:
        yield made


@pytest.fixture(scope="module")
def cluster(networks: TestNetworks) -> TranslatedCluster:
    """One for the module."""
    return TranslatedCluster(networks)


@pytest.fixture(scope="module")
def early(cluster: TranslatedCluster) -> Iterator[TestCgroup]:
    """What is connected through the service before the observer runs."""
    with TestCgroup() as made:
        yield made


@pytest.fixture(scope="module")
def shared(cluster: TranslatedCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One observer for the module, which hears the host's conntrack."""
    heard = json.dumps(str(cluster.host.path))
    settings = f"[network]\ntranslated_namespaces = [{heard}]\nflow_idle_seconds = 2\n"
    with configured_live(tmp_path_factory.mktemp("live"), settings) as made:
        yield made


@pytest.fixture
def live(shared: Live) -> Iterator[Live]:
    """The module's; the processes that a test starts in it end with the test."""
    yield shared
    shared.part()


def _served(agent: Agent) -> None:
    """A TCP listener `l` and a datagram socket `u` on the pod's port, of both families."""
    agent.do(
        f"""
        l = socket.create_server(('', {PORT}), family=socket.AF_INET6, dualstack_ipv6=True)
        u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.bind(('', {PORT}))
        """
    )


def _ends(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["peer_address"], row["peer_port"], row["nat_address"], row["nat_port"]


@pytest.mark.parametrize("where", ["near", "host"], ids=["from a pod", "from the host"])
@pytest.mark.parametrize(("service", "pod"), [(SERVICE, POD), (SERVICE6, POD6)], ids=["IPv4", "IPv6"])
def test_a_connection_to_a_service(live: Live, cluster: TranslatedCluster, where: str, service: str, pod: str) -> None:
    """The client's rows have the service's address and the pod's; the pod's rows the client's, and no other."""
    server, client = live.agent(cluster.far), live.agent(getattr(cluster, where))
    _served(server)
    ours = connected(client, service, 80)
    client.do("s.sendall(b'hello')")
    theirs = server.do("c = l.accept()[0]; assert c.recv(9) == b'hello'; n = cookie(c); c.close(); n")
    local = client.do("assert s.recv(1) == b''; n = s.getsockname()[1]; s.close(); n")
    rows = live.rows({ours: 2, theirs: 2})
    assert {_ends(row) for row in rows[ours]} == {(service, 80, pod, PORT)}
    for row in rows[theirs]:
        assert (row["local_address"], row["local_port"], row["peer_port"]) == (pod, PORT, local)
        assert (row["nat_address"], row["nat_port"]) == (None, None)


@pytest.mark.parametrize(
    ("where", "connects"),
    [("near", True), ("near", False), ("host", True)],
    ids=["from a pod, connected", "from a pod, by sendto", "from the host, connected"],
)
@pytest.mark.parametrize(("service", "pod"), [(SERVICE, POD), (SERVICE6, POD6)], ids=["IPv4", "IPv6"])
def test_a_flow_to_a_service(
    live: Live, cluster: TranslatedCluster, where: str, connects: bool, service: str, pod: str
) -> None:
    """One flow, question and answer, with the address that was asked; also where the packets leave translated already."""
    server, client = live.agent(cluster.far), live.agent(getattr(cluster, where))
    _served(server)
    client.do(f"u = socket.socket(socket.{'AF_INET6' if ':' in service else 'AF_INET'}, socket.SOCK_DGRAM)")
    client.do(
        f"u.connect(('{service}', 80)); u.send(b'question')"
        if connects
        else f"u.sendto(b'question', ('{service}', 80))"
    )
    server.do("question, peer = u.recvfrom(20)[:2]; u.sendto(b'answer', peer)")
    ours = client.do(
        f"answer, peer = u.recvfrom(20); assert (answer, peer[0]) == (b'answer', '{service}'); n = cookie(u); u.close(); n"
    )
    (row,) = live.life(ours, "close")
    assert _ends(row) == (service, 80, pod, PORT)
    assert (row["bytes_sent"], row["segments_sent"], row["bytes_received"], row["segments_received"]) == (8, 1, 6, 1)


def test_what_is_not_translated(live: Live, cluster: TranslatedCluster) -> None:
    """Straight to the pod through the same host: no address beside the peer's."""
    server, client = live.agent(cluster.far), live.agent(cluster.near)
    _served(server)
    ours = connected(client, POD, PORT)
    client.do("s.close()")
    assert {_ends(row) for row in live.rows({ours: 2})[ours]} == {(POD, PORT, None, None)}


@pytest.mark.parametrize("writes", [True, False], ids=["writes first", "reads first"])
def test_a_port_that_is_redirected_at_the_server(live: Live, cluster: TranslatedCluster, writes: bool) -> None:
    """Translated in the server's own namespace, as a sidecar does: its rows have the port that it listens on."""
    server, client = live.agent(cluster.far), live.agent(cluster.near)
    cluster.far.run("iptables", "-t", "nat", "-F", "PREROUTING")
    translate(cluster.far, "PREROUTING", POD, f"{POD}:{PORT}")
    _served(server)
    ours = connected(client, POD, 80)
    client.do("s.sendall(b'.')")
    theirs = server.do(
        f"c = l.accept()[0]; {'c.sendall(bytes(9)); ' if writes else ''}c.recv(9); n = cookie(c); c.close(); n"
    )
    client.do("s.recv(9); s.close()")
    rows = live.rows({ours: 2, theirs: 2})
    assert {(row["local_address"], row["local_port"]) for row in rows[theirs]} == {(POD, PORT)}
    assert {(row["peer_address"], row["peer_port"]) for row in rows[ours]} == {(POD, 80)}
