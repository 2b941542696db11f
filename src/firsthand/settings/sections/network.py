"""What is recorded of connections, and what is the cluster's own."""

from __future__ import annotations

from typing import Annotated

from firsthand.settings.declare import Section, section, setting
from firsthand.settings.kinds import HOSTS, RANGES, paths


@section("network", role="observer")
class Network(Section, frozen=True):
    """Also the kernel side's `struct network_settings` (kernel/include/maps.h)."""

    names: Annotated[
        bool,
        setting(
            "Whether DNS messages are read (table name). Without them and `requests`, connections are recorded by address alone.",
            kernel=True,
        ),
    ] = True
    requests: Annotated[
        bool, setting("Whether the first bytes of TLS and HTTP connections are read (table request).", kernel=True)
    ] = True
    plaintext: Annotated[
        tuple[str, ...],
        setting(
            "Files of libssl (OpenSSL), * for any name, in which what programs encrypt is searched for the head of a request: opt in, as "
            'each write then costs some 20 microseconds. A container\'s files lie below its root, as in "/run/containerd/*/*/*/rootfs/...".',
            kind=paths("/usr/lib/x86_64-linux-gnu/libssl.so.3"),
            kernel=True,
        ),
    ] = ()
    flow_idle_seconds: Annotated[
        int,
        setting(
            "Seconds without a datagram after which a UDP flow is recorded as ended; 1 to 3600. A flow also ends when its socket is closed.",
            "seconds",
            least=1,
            most=3600,
            kernel=True,
        ),
    ] = 30
    translations: Annotated[
        bool,
        setting(
            "Whether the kernel's connection tracking is read for what an address was translated to (a service's pod)."
        ),
    ] = True
    translated_namespaces: Annotated[
        tuple[str, ...],
        setting(
            'In which network namespaces it is read beside the own one: files such as "/run/netns/NAME".',
            kind=paths("/run/netns/NAME"),
        ),
    ] = ()
    resolvers: Annotated[
        tuple[str, ...],
        setting(
            "Addresses and networks of the cluster's resolvers: rows of `name` to and from any other are marked FOREIGN_RESOLVER. None: "
            "the nameservers of this machine's resolv.conf, clusterDNS of kubelet's configuration, and loopback.",
            kind=HOSTS,
        ),
    ] = ()
    keep_query: Annotated[
        bool, setting("Whether the query of an HTTP request's path is kept, redacted; else it is cut.")
    ] = False
    cluster: Annotated[
        tuple[str, ...],
        setting(
            "The cluster's own ranges. `ask exposed` shows who came from elsewhere, `ask beacons` and `ask exfiltration` what goes "
            "elsewhere. Addresses that a pod, a service or a node is known to hold are the cluster's as well.",
            kind=RANGES,
            role="",
        ),
    ] = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10")
    expected: Annotated[
        tuple[str, ...],
        setting(
            'Names ("*.example.com" for all below), addresses and ranges elsewhere to which regular traffic is expected: `ask beacons` '
            "and `ask exfiltration` leave them out, and say so.",
            role="",
        ),
    ] = ()

    @property
    def packets(self) -> bool:
        """Whether there is anything for a dissector to read."""
        return self.names or self.requests or bool(self.plaintext)

    @property
    def translated(self) -> tuple[str, ...] | None:
        """Network namespaces whose conntrack is read beside the own one; None: none at all."""
        return self.translated_namespaces if self.translations else None
