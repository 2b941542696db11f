"""What is to be brought into the kernel: subjects, their hooks best first, and the blind spot that a missing one leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class AtCgroup:
    """enum bpf_prog_type and bpf_attach_type of include/uapi/linux/bpf.h, for sections whose names this libbpf does not know."""

    program: int = 0
    attach: int = 0


KNOWN = AtCgroup()
#: 6.7 (859051dd165e), libbpf 1.3: BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_UNIX_CONNECT.
UNIX_CONNECT = AtCgroup(18, 49)


@dataclass(frozen=True)
class Hook:
    """One thing to observe. `programs` are ways to do it, best first; the first that loads and attaches is taken."""

    name: str
    object: str
    programs: tuple[str, ...]
    table: str
    blind_spot: str
    #: Those of `programs` that are attached at the root of cgroup v2 and not at a place in the kernel's code, by their type.
    at_cgroup: Mapping[str, AtCgroup] = field(default_factory=dict)
    #: Those of `programs` that are in another object.
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    #: Whether an answer from `table` is not complete without it; else what it does not see is only said.
    needed: bool = True

    def object_of(self, program: str) -> str:
        """The object, kernel/probes/NAME.bpf.c, that has this one of `programs`."""
        return self.elsewhere.get(program, self.object)


_ASKED = (
    "to which {} address a datagram was sent, where the socket is connected to another or the address was translated"
)
HOOKS: tuple[Hook, ...] = (
    Hook("cgroup_create", "cgroup", ("cgroup_create",), "container", "creation of cgroups"),
    Hook("cgroup_remove", "cgroup", ("cgroup_remove",), "container", "removal of cgroups"),
    Hook("cgroup_move", "cgroup", ("cgroup_move",), "container", "moves of processes between cgroups"),
    Hook("process_exit", "exit", ("process_exit",), "process", "when and how processes end"),
    Hook("process_fork", "process", ("process_fork",), "process", "forks, and the parents of processes"),
    Hook(
        "process_prepare",
        "process",
        ("process_prepare", "process_prepare_fentry"),
        "process",
        "credentials before an exec: set-uid gains are judged by the file's mode alone (flag GAIN_UNSURE)",
    ),
    Hook("process_exec", "process", ("process_exec",), "process", "executed programs"),
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
    Hook("datagram_to4", "datagram", ("datagram_to4",), "connection", _ASKED.format("IPv4"), {"datagram_to4": KNOWN}),
    Hook("datagram_to6", "datagram", ("datagram_to6",), "connection", _ASKED.format("IPv6"), {"datagram_to6": KNOWN}),
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
        {"unix_connect_raw": UNIX_CONNECT},
        {"unix_connect_raw": "unix_raw"},
    ),
)

#: What no hook meets, on any kernel: sentences of docs/network.md, Sockets of every kind.
STANDING = (
    "datagrams over unix sockets, socketpairs, and what passes any unix socket",
    "netlink sockets",
    "sockets of other families, where the kernel refuses fentry",
    "what raw, packet and AF_XDP sockets, TUN and TAP devices and sockets of other families carry",
    "a TUN device that was made to persist, attached to once more",
    "MPTCP's further subflows, and the peers of SCTP, DCCP and L2TP sockets",
    "a TCP connection that a peer has opened, until a process accepts it (fentry), or reads, writes or closes it",
    "names and requests in QUIC, in DTLS, and in what IPsec of the machine itself encrypts",
)
#: Without these an answer is complete and a machine healthy.
UNNEEDED = frozenset(hook.name for hook in HOOKS if not hook.needed)
#: Hooks that nothing but the root of cgroup v2 can carry.
AT_ROOT = tuple(hook for hook in HOOKS if set(hook.at_cgroup) == set(hook.programs))

#: Iterators, run once at the start in this order.
EXISTING: tuple[Hook, ...] = (
    Hook("existing_host", "existing", ("existing_host",), "process", "which namespaces are the host's"),
    Hook("existing_processes", "existing", ("existing_processes",), "process", "processes that ran already"),
    Hook(
        "existing_sockets",
        "existing",
        ("existing_sockets",),
        "connection",
        "whose the sockets are that were there already",
    ),
)

_UNFOLDED = "short connections do not fold: each has its own rows"
#: Iterators over one map each, begun again each second where short processes or connections fold: without all, none does.
SWEEPS: tuple[Hook, ...] = (
    Hook("fold_late", "fold", ("fold_late",), "process", "short processes do not fold: each has its own rows"),
    Hook("fold_tell", "fold", ("fold_tell",), "process", "short processes do not fold: each has its own rows"),
    Hook("fold_connection_late", "fold", ("fold_connection_late",), "connection", _UNFOLDED),
    Hook("fold_connection_tell", "fold", ("fold_connection_tell",), "connection", _UNFOLDED),
)
#: The maps that they go over.
SWEPT = {
    "fold_late": "withheld_forks",
    "fold_tell": "folds",
    "fold_connection_late": "withheld_connections",
    "fold_connection_tell": "connection_folds",
}

#: Maps that all objects share, pinned under these names.
SHARED = (
    "ring",
    "urgent",
    "control",
    "produced",
    "failures",
    "records",
    "paths",
    "host",
    "processes",
    "cgroups",
    "scopes",
    "sockets",
    "flows",
    "sweepers",
    "plains",
    "fold_words",
    "fold_secret",
    "withheld_forks",
    "withheld_execs",
    "folds",
    "withheld_connections",
    "connection_folds",
    "closed_sockets",
    "attempts",
)

#: Uprobes on libssl, attached in each library that a user names.
PLAIN = Hook("plain_write", "plain", ("plain_write",), "request", "what the named TLS libraries are given to encrypt")
PLAIN_FUNCTIONS = ("SSL_write", "SSL_write_ex")


def needed() -> dict[str, str]:
    """The table of each hook without which an answer from that table is not complete."""
    return {hook.name: hook.table for hook in (*HOOKS, *EXISTING) if hook.needed}
