"""A node's network and what lies beyond it, as two namespaces of the test's own, joined by a veth pair.

Pods are routed through the node's (tests/pods/containerd.py, `network`), so what happens there (its addresses, PREROUTING) is what
happens on a node; nothing leaves the two.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from tests.cgroups import TestCgroup
from tests.network import NetworkNamespace
from tests.pods.containerd import SUBNET

#: The node's own, by which others reach it; the resolvers that it runs for its pods; and somebody outside (RFC 5737).
NODE, RESOLVERS, OUTSIDE = "192.0.2.1", ("10.213.90.53", "10.213.90.54"), "198.51.100.7"
_GATEWAY = "192.0.2.2"
#: Listens on ADDRESS at each PORT; reads each connection to its end and answers with so many BYTES.
_SERVE = """
import select, socket, sys
address, answer, *ports = sys.argv[1:]
listeners = [socket.create_server((address, int(port))) for port in ports]
print('up', flush=True)
while True:
    for one in select.select(listeners, [], [])[0]:
        peer, _ = one.accept()
        while peer.recv(65536): pass
        peer.sendall(b'x' * int(answer))
        peer.close()
"""


class NodeNetwork:
    """`node` and `outside`, with addresses and routes, until the block ends."""

    def __enter__(self) -> NodeNetwork:
        with ExitStack() as stack:
            self.node, self.outside = stack.enter_context(NetworkNamespace()), stack.enter_context(NetworkNamespace())
            self._join()
            self._stack = stack.pop_all()
        return self

    def _join(self) -> None:
        near, far = self.node.name, self.outside.name
        ip = NetworkNamespace.ip
        ip("link", "add", "out", "netns", near, "type", "veth", "peer", "name", "in", "netns", far)
        for name, link, address in ((near, "out", NODE), (far, "in", _GATEWAY)):
            ip("-n", name, "addr", "add", f"{address}/30", "dev", link)
            ip("-n", name, "link", "set", link, "up")
        for name, address in ((far, OUTSIDE), *((near, one) for one in RESOLVERS)):
            ip("-n", name, "addr", "add", f"{address}/32", "dev", "lo")
        ip("-n", near, "route", "add", "default", "via", _GATEWAY)
        ip("-n", far, "route", "add", SUBNET, "via", NODE)

    def within(self, argv: Sequence[str], namespace: NetworkNamespace | None = None) -> list[str]:
        """The same command in the node's network, or in the other one, and in nothing else of it: /sys stays the machine's."""
        return ["nsenter", f"--net=/run/netns/{(namespace or self.node).name}", *argv]

    def serve(
        self, cgroup: TestCgroup, address: str, *ports: int, answer: int = 0, namespace: NetworkNamespace | None = None
    ) -> None:
        """A process that listens, reads to the end and answers with so many bytes."""
        words = [sys.executable, "-c", _SERVE, address, str(answer), *map(str, ports)]
        child = cgroup.run(self.within(words, namespace), stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline() == b"up\n"

    def translate(self, address: str, port: int, to: str) -> None:
        """What kube-proxy writes for a service: packets from pods to it go to `to` (ADDRESS:PORT)."""
        rule = [
            "-A",
            "PREROUTING",
            "-d",
            address,
            "-p",
            "tcp",
            "--dport",
            str(port),
            "-j",
            "DNAT",
            "--to-destination",
            to,
        ]
        subprocess.run(self.within(["iptables", "-t", "nat", *rule]), check=True, capture_output=True)

    def popen(self, command: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Stands in for the subprocess.Popen of an Observed: it runs in the node's network."""
        return subprocess.Popen(self.within(command), **options)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
