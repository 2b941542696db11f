"""identity/machine.py: the machine's own addresses, and what only looks like one."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from firsthand.identity import machine

TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.0.0.0
        /24 link UNICAST
Local:
  +-- 0.0.0.0/0 2 0 2
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     |-- 10.0.0.5
        /32 host LOCAL
     |-- 10.0.0.255
        /32 link BROADCAST
     |-- 10.96.0.1
        /32 host LOCAL
"""
SIX = """fe8000000000000000fc00fffe000001 04 40 20 80     eth0
fd000000000000000000000000000002 04 40 00 82     eth0
fd000000000000000000000000000099 05 80 00 82     kube-ipvs0
00000000000000000000000000000001 01 80 10 80       lo
"""
ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t{gateway}\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t{network}\t00000000\t0001\t0\t0\t0\t{mask}\t0\t0\t0
"""


def _number(text: str) -> str:
    import struct

    return f"{struct.unpack('=L', socket.inet_aton(text))[0]:08X}"


def _proc(folder: Path, devices: str) -> Path:
    (folder / "fib_trie").write_text(TRIE)
    (folder / "if_inet6").write_text(SIX)
    words = {"gateway": _number("10.0.0.1"), "network": _number("10.0.0.0"), "mask": _number("255.255.255.0")}
    (folder / "route").write_text(ROUTES.format(**words))
    (folder / "dev").write_text(f"Inter-| Receive\n face |bytes\n    lo: 1 2\n{devices}")
    return folder


@pytest.mark.parametrize(
    ("devices", "found"),
    [
        ("  eth0: 1 2\n", {"10.0.0.5", "10.96.0.1", "fd00::2"}),
        ("  eth0: 1 2\nkube-ipvs0: 0 0\n", {"10.0.0.5", "fd00::2"}),
    ],
)
def test_own_addresses(tmp_path: Path, devices: str, found: set[str]) -> None:
    """Law: no loopback, link-local or broadcast address, and none of a service that kube-proxy balances by IPVS."""
    assert machine.addresses(_proc(tmp_path, devices)) == found


def test_without_a_protocol(tmp_path: Path) -> None:
    """Law: a kernel without IPv6, or without any network, has no such file and no such address."""
    assert machine.addresses(tmp_path) == set()


def test_this_machines() -> None:
    """Law: each one found here can be bound to, which only an own address can."""
    found = machine.addresses()
    for address in found:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            one.bind((address, 0))
