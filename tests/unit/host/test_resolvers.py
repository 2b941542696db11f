"""The cluster's resolvers by this machine's own files."""

from __future__ import annotations

from pathlib import Path

import pytest

from firsthand.host import resolvers


def test_nameservers_clusters_and_loopback(tmp_path: Path) -> None:
    """Of every file that is there, each address once; comments, options and interfaces are no addresses."""
    host = tmp_path / "resolv.conf"
    host.write_text(
        "# nameserver 9.9.9.9\nsearch a b\nnameserver 10.0.0.2\nnameserver fe80::1%eth0\nnameserver x\noptions ndots:5\n"
    )
    kubelet = tmp_path / "config.yaml"
    kubelet.write_text(
        "kind: KubeletConfiguration\nclusterDNS:\n- 10.96.0.10\n- fd00::a\nclusterDomain: cluster.local\n"
    )
    found = resolvers.found([host, tmp_path / "none", host], [kubelet])
    assert found == ("10.0.0.2", "fe80::1", "10.96.0.10", "fd00::a", "127.0.0.0/8", "::1/128")


@pytest.mark.parametrize(
    "text",
    [
        '{"clusterDNS": ["10.96.0.10"], "x": "1.2.3.4"}',
        "clusterDNS: [10.96.0.10]\n",
        'clusterDNS:\n  - "10.96.0.10"\nother:\n  - 1.2.3.4\n',
    ],
)
def test_kubelets_configuration_in_every_writing(text: str) -> None:
    """YAML in both styles, JSON."""
    assert list(resolvers.cluster(text)) == ["10.96.0.10"]


def test_nothing_there() -> None:
    """No file: loopback alone."""
    assert resolvers.found([], []) == resolvers.LOOPBACK
