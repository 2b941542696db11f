"""Which resolvers are the cluster's, where no setting says it: what this machine's own files name (resolv.conf(5), kubelet's
configuration). Read once, by the supervisor, at its start and when settings change."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

#: The host's; where a stub of systemd-resolved or dnsmasq stands in it, those behind the stub.
HOST = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
#: clusterDNS: what kubelet writes into its pods' resolv.conf.
KUBELET = (Path("/var/lib/kubelet/config.yaml"), Path("/var/lib/kubelet/config.json"))
LOOPBACK = ("127.0.0.0/8", "::1/128")
_CLUSTER = re.compile(r"""["']?clusterDNS["']?\s*:\s*\[?((?:\s*-?\s*["']?[0-9a-fA-F.:]+["']?\s*,?)+)""")
_MOST = 1 << 20


def found(host: Iterable[Path] = HOST, kubelet: Iterable[Path] = KUBELET) -> tuple[str, ...]:
    """Addresses and networks: nameservers of the host, the cluster's by kubelet, and every loopback address."""
    words = [word for path in host for word in nameservers(_text(path))]
    words += [word for path in kubelet for word in cluster(_text(path))]
    return (*dict.fromkeys(words), *LOOPBACK)


def nameservers(text: str) -> Iterator[str]:
    """The addresses behind `nameserver`, without an interface's name."""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            yield from _addresses([words[1].partition("%")[0]])


def cluster(text: str) -> Iterator[str]:
    """The addresses of clusterDNS in kubelet's configuration, YAML or JSON."""
    listed = _CLUSTER.search(text)
    if listed:
        yield from _addresses(re.findall(r"[0-9a-fA-F.:]+", listed[1]))


def _addresses(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        try:
            yield str(ipaddress.ip_address(word))
        except ValueError:
            continue


def _text(path: Path) -> str:
    """The file as far as it can be read; none is as an empty one."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_MOST)
    except OSError:
        return ""
