"""Sockets: with whom processes talk, and how much."""

from __future__ import annotations

import contextlib
import socket

from firsthand.subjects.column import Column
from firsthand.subjects.columns import CGROUP, CLAIMED, OUTSIDE, OWNER_NAMES, WHO
from firsthand.subjects.declare import (
    FOLD,
    KNOWN,
    NAMED,
    OWNER,
    TRANSLATED,
    AtCgroup,
    Canary,
    CanaryEvent,
    Hook,
    Subject,
    SubjectTable,
    Switch,
    TimelineRow,
)

#: 6.7 (859051dd165e), libbpf 1.3: BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_UNIX_CONNECT.
_UNIX_CONNECT = AtCgroup(18, 49)
_TABLE = SubjectTable(
    "connection",
    "Sockets: who connected, accepted and listened, with whom, how it ended and what it carried",
    (
        Column(
            "event",
            "text",
            "connect: an attempt and its outcome; accept; listen; close, with what was carried; taken: another process uses it "
            "now; seen: it was there when observing began; open: a raw or packet socket was made; folded: equal short connections in one row",
        ),
        *CGROUP,
        *OWNER_NAMES,
        CLAIMED,
        Column("folded_until", "time", "when the last one of a folded row was made; `time` is the first one's"),
        Column("names", "list", "names that this pod had asked for and that gave peer_address, newest first"),
        Column("names_cut", "bool", "there were more names than fit into `names`"),
        Column("nat_address", "text", "the peer's address after translation (DNAT), where it differs"),
        Column("nat_port", "int32", "the peer's port after translation"),
        Column(
            "peer_kind",
            "text",
            "who held the peer's address (after translation) at that moment: pod, container (in no pod), service, node; where that is "
            "not known, what the address is by itself: loopback, multicast, private or external",
        ),
        Column("peer_pod", "text", "pod that held the peer's address (after translation) at that moment"),
        Column("peer_namespace", "text", "its Kubernetes namespace"),
        Column("peer_workload", "text", "its workload; of a service namespace/Service/name"),
        Column("peer_name", "text", "name of the node, or of the container in no pod, that held it"),
    ),
    roles={"exe": OWNER, "peer_address": TRANSLATED, "names": NAMED, "folded_last": FOLD},
    fills={"folded_until": ("folded",)},
    summary=(*WHO, "event", "opener_start", "peer_address", "nat_address", "local_address", "names"),
    facts=OUTSIDE | {"unread": ("names_cut",)},
    line=TimelineRow(
        phrase=(
            *("event", "transport", "flag_names", "local_address", "local_port", "peer_address", "peer_port", "path"),
            *("outcome", "nat_address", "nat_port", "peer_kind", "peer_pod", "peer_namespace", "peer_workload"),
            *("peer_name", "names", "bytes_sent", "bytes_received", "folded_count", "folded_until"),
        )
    ),
)

_ASKED = (
    "to which {} address a datagram was sent, where the socket is connected to another or the address was translated"
)
_UNFOLDED = "short connections do not fold: each has its own rows"
#: Sentences of docs/network.md, Sockets of every kind.
_STANDING = (
    "datagrams over unix sockets, socketpairs, and what passes any unix socket",
    "netlink sockets",
    "sockets of other families, where the kernel refuses fentry",
    "what raw, packet and AF_XDP sockets, TUN and TAP devices and sockets of other families carry",
    "a TUN device that was made to persist, attached to once more",
    "MPTCP's further subflows, and the peers of SCTP, DCCP and L2TP sockets",
    "attempts that the machine itself refuses (no route, no free port, a security module), and datagrams that it drops",
    "the address that was asked for, where a cgroup's BPF program changes it (load balancing at sockets, as Cilium's)",
    "a TCP connection that a peer has opened, until a process accepts it (fentry), or reads, writes or closes it",
    "names and requests in QUIC, in DTLS, in heads with urgent data (MSG_OOB), and in what the machine's IPsec encrypts",
)


def _cause(token: str) -> None:
    """To ourselves: a TCP connection, a datagram, a connect to a unix socket. What cannot be had here does not answer."""
    with (
        contextlib.suppress(OSError),
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as one,
        listener.accept()[0] as other,
    ):
        one.sendall(b".")
        other.recv(1)
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.connect(one.getsockname())
        one.send(b".")
        one.recv(1)
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as one:
        listener.bind(f"\0firsthand-canary-{token}")
        listener.listen()
        one.connect(listener.getsockname())


SUBJECT = Subject(
    "connection",
    (_TABLE,),
    hooks=(
        Hook("connection_state", "socket", ("connection_state",), "connection", "TCP connections"),
        Hook(
            "connection_retry",
            "socket",
            ("connection_retry",),
            "connection",
            "attempts that nobody answers, until they end",
        ),
        Hook(
            "connection_accept",
            "socket",
            ("connection_accept", "connection_use"),
            "connection",
            "which process accepted, where it closes or writes nothing",
        ),
        Hook(
            "connection_read",
            "socket",
            ("connection_read",),
            "connection",
            "which process reads a connection that it has from another, until it writes to it or closes it",
        ),
        Hook(
            "packet_out",
            "packet",
            ("packet_out",),
            "connection",
            "UDP, DNS and the heads of TLS and HTTP that are sent",
            {"packet_out": KNOWN},
        ),
        Hook(
            "packet_in",
            "packet",
            ("packet_in",),
            "connection",
            "UDP, DNS and the heads of TLS and HTTP that are received",
            {"packet_in": KNOWN},
        ),
        Hook(
            "socket_open",
            "datagram",
            ("socket_open",),
            "connection",
            "raw sockets, and who made a UDP socket",
            {"socket_open": KNOWN},
        ),
        Hook(
            "socket_release",
            "datagram",
            ("socket_release",),
            "connection",
            "the end of raw sockets, and of UDP flows until they have been idle for flow_idle_seconds",
            {"socket_release": KNOWN},
        ),
        Hook(
            "datagram_to4", "datagram", ("datagram_to4",), "connection", _ASKED.format("IPv4"), {"datagram_to4": KNOWN}
        ),
        Hook(
            "datagram_to6", "datagram", ("datagram_to6",), "connection", _ASKED.format("IPv6"), {"datagram_to6": KNOWN}
        ),
        Hook(
            "sniff_open",
            "sniff",
            ("sniff_open", "sniff_allowed"),
            "connection",
            "packet sockets (AF_PACKET, AF_XDP) that are made, as sniffers do",
            needed=False,
        ),
        Hook(
            "tunnel_open",
            "sniff",
            ("tunnel_open", "tunnel_allowed"),
            "connection",
            "TUN and TAP devices that are made, by which a program makes and takes packets itself",
            needed=False,
        ),
        Hook("sniff_close", "sniff", ("sniff_close",), "connection", "when packet sockets are closed", needed=False),
        Hook(
            "unix_connect",
            "unix",
            ("unix_connect", "unix_connect_raw"),
            "connection",
            "connects to unix sockets, such as a container runtime's",
            {"unix_connect_raw": _UNIX_CONNECT},
            {"unix_connect_raw": "unix_raw"},
        ),
    ),
    existing=(
        Hook(
            "existing_sockets",
            "existing",
            ("existing_sockets",),
            "connection",
            "whose the sockets are that were there already",
        ),
    ),
    sweeps={
        "withheld_connections": Hook(
            "fold_connection_late", "fold", ("fold_connection_late",), "connection", _UNFOLDED
        ),
        "connection_folds": Hook("fold_connection_tell", "fold", ("fold_connection_tell",), "connection", _UNFOLDED),
    },
    standing=_STANDING,
    page="docs/network.md, Sockets of every kind",
    canary=Canary(
        (
            CanaryEvent("connection", "listen", ("connection_state",), "tcp"),
            CanaryEvent("connection", "accept", ("connection_accept",), "tcp"),
            CanaryEvent("connection", "close", ("packet_out", "packet_in", "socket_open", "socket_release"), "udp"),
            CanaryEvent("connection", "connect", ("unix_connect",), "unix"),
            CanaryEvent("connection", "connect", transport="tcp"),
            CanaryEvent("connection", "close", transport="tcp", times=3),
        ),
        _cause,
    ),
    switches=(
        Switch(
            ("translations",),
            "connection",
            "what services' addresses were translated to was not recorded",
            "network.translations",
        ),
    ),
    rank=30,
)
