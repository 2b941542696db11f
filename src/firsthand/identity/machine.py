"""The machine's own addresses, from procfs: the follower may open no internet or netlink socket.

Sources: /proc/net/fib_trie (net/ipv4/fib_trie.c, fib_trie_seq_show), where an own address is a leaf `|-- A` with `/32 host LOCAL`;
/proc/net/if_inet6 (net/ipv6/addrconf.c, if6_seq_show): address, index, prefix, scope, flags, device; /proc/net/route
(fib_route_seq_show): device, destination and mask as hexadecimal in the machine's byte order.
"""

from __future__ import annotations

import re
import socket
import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

PROC = Path("/proc/net")
#: Of a container that has a network namespace of its own, and sees the machine's processes.
MACHINES = Path("/proc/1/net")
#: On it kube-proxy puts the addresses of services when it balances by IPVS: local to the machine, and not its own.
SERVICES = "kube-ipvs0"
_LEAF = re.compile(r"\|-- (\S+)")
_LOCAL = "/32 host LOCAL"
_LINK_SCOPE = "20"


def addresses(proc: Path = PROC) -> set[str]:
    """Addresses by which others may reach this network namespace: loopback and link-local ones are left out."""
    return _version_4(proc) | _version_6(proc)


def _version_4(proc: Path) -> set[str]:
    found, leaf = set(), ""
    for line in _lines(proc / "fib_trie"):
        if match := _LEAF.search(line):
            leaf = match[1]
        elif line.strip() == _LOCAL and not leaf.startswith("127."):
            found.add(leaf)
    networks = _networks(proc)
    return {one for one in found if networks is None or any(IPv4Address(one) in network for network in networks)}


def _networks(proc: Path) -> list[IPv4Network] | None:
    """The networks that the machine is in, where addresses of services are to be told from its own by them; None: nowhere else."""
    rows = [line.split() for line in _lines(proc / "route")[1:]]
    if not any(line.split(":")[0].strip() == SERVICES for line in _lines(proc / "dev")):
        return None
    direct = [row for row in rows if int(row[2], 16) == 0 and row[0] != SERVICES]
    return [IPv4Network((_address(row[1]), _address(row[7]))) for row in direct]


def _address(raw: str) -> str:
    return socket.inet_ntoa(struct.pack("=L", int(raw, 16)))


def _version_6(proc: Path) -> set[str]:
    rows = [line.split() for line in _lines(proc / "if_inet6")]
    own = [row for row in rows if row[3] != _LINK_SCOPE and row[5] not in ("lo", SERVICES)]
    return {str(IPv6Address(int(row[0], 16))) for row in own}


def _lines(path: Path) -> list[str]:
    """A file's lines; none where the kernel has no such protocol."""
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []
