"""Sockets beside TCP, UDP and unix streams: each has a row, or a name among what is not recorded."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kernel.agent import EXE, RefusedCall
from tests.kernel.live import Live, flags

pytestmark = pytest.mark.xdist_group("pool of sockets")

_UDPLITE, _MPTCP, _XDP = 136, 262, 44
#: struct ifreq with IFF_TUN | IFF_NO_PI, and TUNSETIFF (linux/if_tun.h).
_TUN = "import fcntl; t = os.open('/dev/net/tun', os.O_RDWR); fcntl.ioctl(t, 0x400454ca, struct.pack('16sH22x', b'', 0x1001))"


def _of(live: Live, pid: int, transport: str, least: int = 1) -> list[dict[str, Any]]:
    query = f"SELECT * FROM connection WHERE pid = {pid} AND transport = '{transport}' ORDER BY ktime"
    return live.observed.wait(query, least)


@pytest.mark.parametrize(
    ("family", "protocol", "to"), [("AF_INET", 1, "10.9.1.2"), ("AF_INET6", 58, "fd09:1::2")], ids=["IPv4", "IPv6"]
)
def test_ping_sockets(live: Live, family: str, protocol: int, to: str) -> None:
    """Made by anyone, and able to carry anything in an echo: who made one, and whom it talked to, as a flow without ports."""
    live.near.set("net.ipv4.ping_group_range", "0 2147483647")
    client = live.agent()
    kind = 8 if protocol == 1 else 128
    cookie = client.do(
        f"""
        u = socket.socket(socket.{family}, socket.SOCK_DGRAM, {protocol})
        u.sendto(bytes([{kind}, 0, 0, 0, 0, 0, 0, 1]) + b'carried', ('{to}', 0)); u.settimeout(20); u.recv(99)
        n = cookie(u); u.close(); n
        """
    )
    opened, flow, closed = live.life(cookie, "open", "close", "close")
    for row in (opened, flow, closed):
        assert (row["transport"], row["protocol"], row["pid"], row["exe"]) == ("icmp", protocol, client.pid, str(EXE))
        assert (row["peer_port"], row["family"]) == (None, None)
    assert (flow["peer_address"], flow["bytes_sent"], flow["bytes_received"]) == (to, 7, 7)
    assert (flow["segments_sent"], flow["segments_received"], flags(flow)) == (1, 1, set())
    assert opened["peer_address"] is closed["peer_address"] is None


def test_udp_lite(live: Live) -> None:
    """Its flows are as UDP's, and the protocol is said, at both ends."""
    server, client = live.agent(live.far), live.agent()
    port, theirs = server.do(
        f"u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, {_UDPLITE}); u.bind(('', 0)); (u.getsockname()[1], cookie(u))"
    )
    ours = client.do(
        f"""
        u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, {_UDPLITE}); u.connect(('{live.there}', {port}))
        u.send(b'12345'); cookie(u)
        """
    )
    server.do("assert u.recv(9) == b'12345'; u.close()")
    client.do("u.close()")
    for cookie in (ours, theirs):
        opened, flow, closed = live.life(cookie, "open", "close", "close")
        assert {(row["transport"], row["protocol"]) for row in (opened, flow, closed)} == {("other", _UDPLITE)}
        assert flow["bytes_sent"] + flow["bytes_received"] == 5 and port in (flow["peer_port"], flow["local_port"])


def test_another_protocol(live: Live) -> None:
    """Of one whose packets are not read: who made a socket for it, and its end."""
    client = live.agent()
    cookie = client.do(f"m = socket.socket(socket.AF_INET, socket.SOCK_STREAM, {_MPTCP}); n = cookie(m); m.close(); n")
    for row in live.life(cookie, "open", "close"):
        assert (row["transport"], row["protocol"], row["pid"]) == ("other", _MPTCP, client.pid)


def test_af_xdp(live: Live) -> None:
    """It takes and sends whole frames past the network's own way: who made one."""
    client = live.agent()
    client.do(f"x = socket.socket({_XDP}, socket.SOCK_RAW, 0); x.close()")
    (row,) = _of(live, client.pid, "other")
    assert (row["event"], row["family"], row["protocol"], row["exe"]) == ("open", "xdp", None, str(EXE))
    assert flags(row) <= {"ALLOWED"} and row["ns_net"] == live.near.inode


def test_a_tun_device(live: Live) -> None:
    """By it a program makes packets of any address itself: who made one; one that is refused has no row."""
    refused, client = live.agent(), live.agent()
    refused.do("os.chmod; os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)")
    with pytest.raises(RefusedCall, match="PermissionError"):
        refused.do(_TUN)
    client.do(f"{_TUN}; os.close(t)")
    (row,) = _of(live, client.pid, "tun")
    assert (row["event"], row["exe"], row["ns_net"], flags(row)) == ("open", str(EXE), live.near.inode, {"ALLOWED"})
    assert live.observed.rows(f"SELECT * FROM connection WHERE pid = {refused.pid}") == []
