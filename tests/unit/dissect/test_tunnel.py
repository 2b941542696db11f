"""Names that carry data are told from names that people and programs give."""

from __future__ import annotations

import base64
import random

import pytest

from firsthand.dissect import tunnel
from firsthand.dissect.tunnel import Tunnels, domain_of, is_random

_ORDINARY = (
    "redis-master-0.redis-headless.production.svc.cluster.local",
    "prometheus-kube-prometheus-alertmanager.monitoring.svc.cluster.local",
    "ip-10-128-12-201.us-west-2.compute.internal",
    "ec2-203-0-113-25.compute-1.amazonaws.com",
    "my-production-database.c9akciq32.rds.amazonaws.com",
    "kafka-broker-1.kafka-headless.streaming.svc.cluster.local",
    "storage.googleapis.com.default.svc.cluster.local",
    "login.microsoftonline.com.ingress-nginx.svc.cluster.local",
    "elasticsearch-master-headless.logging-and-search.svc.cluster.local",
    "d1a2b3c4d5e6f7.cloudfront.net",
    "_ldap._tcp.default-first-site-name._sites.dc._msdcs.corp.example.com",
    "client-telemetry-ingestion.monitoring-frankfurt.example.com",
    "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
)


def _encoded(chance: random.Random, kind: str) -> str:
    raw = chance.randbytes(30)
    if kind == "hex":
        return raw.hex()
    return getattr(base64, kind)(raw).decode().lower().rstrip("=")


@pytest.mark.parametrize("kind", ["hex", "b32encode", "urlsafe_b64encode"])
def test_a_tunnel_is_marked_and_says_why(kind: str) -> None:
    """The first names pass, then each one is marked, until a quiet while has gone by."""
    chance, tunnels = random.Random(3), Tunnels()
    whys = [tunnels.asked("pod", f"{_encoded(chance, kind)}.t.example", second) for second in range(40)]
    assert whys[0] is None and whys[-1] is not None and "t.example" in whys[-1] and str(tunnel.MANY) in whys[-1]
    assert sum(why is None for why in whys) in range(tunnel.MANY - 1, tunnel.MANY + 6)
    assert tunnels.why("pod", "any.t.example", 40) and not tunnels.why("other", "any.t.example", 40)
    assert tunnels.asked("pod", f"{_encoded(chance, kind)}.t.example", 41 + tunnel.WINDOW) is None


@pytest.mark.parametrize("name", _ORDINARY)
def test_ordinary_names_do_not_count(name: str) -> None:
    """Services, machines, databases, reverse names."""
    domain = domain_of(name)
    assert domain is None or not is_random(name[: -len(domain) - 1])


def test_one_name_asked_for_often_is_no_tunnel() -> None:
    """A random-looking name that is always the same carries nothing."""
    tunnels, name = Tunnels(), f"{random.Random(1).randbytes(30).hex()}.elb.example"
    assert not any(tunnels.asked("pod", name, second) for second in range(200))


def test_what_is_watched_is_bounded() -> None:
    """Names of 5,000 domains: the longest quiet ones went."""
    chance, tunnels = random.Random(2), Tunnels()
    for number in range(5000):
        tunnels.asked("pod", f"{_encoded(chance, 'hex')}.d{number}.example", 1.0)
    assert len(tunnels) <= tunnel.DOMAINS
