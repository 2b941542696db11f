"""A connection has the names that its own pod was given for the address, as they held when it began."""

from __future__ import annotations

from typing import Any

import numpy as np

from firsthand.identity import resolved
from firsthand.identity.resolved import Resolved
from firsthand.wire.batch import Batch

_S = 1_000_000_000
_A, _B = "pod-a", "pod-b"


def _given(name: str, *addresses: str, at: float = 0, ttl: int = 60, **values: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "event": "answer",
        "direction": "in",
        "name": name,
        "addresses": list(addresses),
        "ttl": ttl,
    }
    found |= {"ktime": int(at * _S), "ns_net": 1, "pod_uid": _A, "container": "c1", "marks": None}
    return found | values


def _learn(subject: Resolved, *rows: dict[str, Any]) -> None:
    subject.learn(Batch.from_rows("name", rows))


def _names(subject: Resolved, *rows: dict[str, Any]) -> list[list[str] | None]:
    common = {"event": "connect", "ns_net": 1, "pod_uid": _A, "container": "c1", "duration": None}
    batch = Batch.from_rows("connection", [common | row | {"ktime": int(row["ktime"] * _S)} for row in rows])
    subject.fill(batch)
    names: Any = batch.columns["names"]
    valid = np.ones(len(rows), dtype=bool) if names.valid is None else names.valid
    return [[name.decode() for name in names.row(i)] if valid[i] else None for i in range(len(rows))]


def _at(ktime: float, address: str = "192.0.2.1", **values: Any) -> dict[str, Any]:
    return {"ktime": ktime, "peer_address": address} | values


def test_the_name_holds_for_its_time_to_live() -> None:
    """Not before the answer, not after its end; a short one for the stated least."""
    subject = Resolved()
    _learn(subject, _given("a.example", "192.0.2.1", at=10, ttl=60), _given("b.example", "192.0.2.2", at=10, ttl=1))
    assert _names(subject, _at(9), _at(10), _at(69), _at(70)) == [None, ["a.example"], ["a.example"], None]
    late = 10 + resolved.LEAST
    assert _names(subject, _at(late - 1, "192.0.2.2"), _at(late, "192.0.2.2")) == [["b.example"], None]


def test_pods_never_mix() -> None:
    """One name with two addresses, one address with two names: each pod has its own; so do containers without a pod and the host."""
    subject = Resolved()
    _learn(
        subject,
        _given("shop.example", "192.0.2.1"),
        _given("shop.example", "192.0.2.2", pod_uid=_B, ns_net=2),
        _given("other.example", "192.0.2.1", pod_uid=_B, ns_net=2),
        _given("docker.example", "192.0.2.1", pod_uid=None, container="d1", ns_net=3),
        _given("host.example", "192.0.2.1", pod_uid=None, container=None, ns_net=4),
        _given("hostnet.example", "192.0.2.1", pod_uid="pod-h", ns_net=4),
    )
    found = _names(
        subject,
        _at(1),
        _at(1, "192.0.2.2"),
        _at(1, pod_uid=_B, ns_net=2),
        _at(1, pod_uid=_B, ns_net=1),
        _at(1, pod_uid=None, container="d1", ns_net=3),
        _at(1, pod_uid=None, container="d2", ns_net=3),
        _at(1, pod_uid=None, container=None, ns_net=4),
        _at(1, pod_uid="pod-h", container="x", ns_net=4),
    )
    assert found == [
        ["shop.example"],
        None,
        ["other.example"],
        None,
        ["docker.example"],
        None,
        ["host.example"],
        ["hostnet.example"],
    ]


def test_another_container_and_process_of_the_pod_has_the_name() -> None:
    """The pod asked, whoever of it connects."""
    subject = Resolved()
    _learn(subject, _given("a.example", "192.0.2.1", container="resolver"))
    assert _names(subject, _at(1, container="client")) == [["a.example"]]


def test_all_that_fit_the_newest_first() -> None:
    """Twelve names for one address: eight, and that there were more."""
    subject = Resolved()
    _learn(subject, *(_given(f"n{i}.example", "192.0.2.1", at=i) for i in range(12)))
    batch = Batch.from_rows(
        "connection",
        [{"ktime": 20 * _S, "ns_net": 1, "pod_uid": _A, "container": "c", "peer_address": "192.0.2.1"}] * 2,
    )
    subject.fill(batch)
    names: Any = batch.columns["names"]
    assert [name.decode() for name in names.row(1)] == [f"n{i}.example" for i in range(11, 3, -1)]
    assert batch.columns["names_cut"].values.tolist() == [1, 1]  # type: ignore[union-attr]
    assert _names(subject, _at(3.5)) == [[f"n{i}.example" for i in range(3, -1, -1)]]


def test_the_end_of_a_connection_has_the_name_it_began_with() -> None:
    """Hours after its time to live."""
    subject = Resolved()
    _learn(subject, _given("a.example", "192.0.2.1", at=10))
    assert _names(subject, _at(9000, event="close", duration=8980 * _S), _at(9000, event="close")) == [
        ["a.example"],
        None,
    ]


def test_a_name_that_is_given_again_goes_on() -> None:
    """One span: a connection between both answers keeps it, and it stands there once."""
    subject = Resolved()
    _learn(subject, _given("a.example", "192.0.2.1", at=0), _given("a.example", "192.0.2.1", at=50))
    assert _names(subject, _at(10), _at(100), _at(111)) == [["a.example"], ["a.example"], None]


def test_what_teaches_nothing() -> None:
    """Questions, answers that others were given, that nobody asked for, or that are broken."""
    subject = Resolved()
    _learn(
        subject,
        _given("a.example", "192.0.2.1", event="question"),
        _given("a.example", "192.0.2.1", direction="out"),
        _given("a.example", "192.0.2.1", marks="UNASKED,FOREIGN_RESOLVER"),
        _given("a.example", "192.0.2.1", marks="MALFORMED"),
        _given("a.example"),
    )
    assert not len(subject) and _names(subject, _at(1)) == [None]
    _learn(subject, _given("a.example", "192.0.2.1", marks="FOREIGN_RESOLVER"))
    assert _names(subject, _at(1)) == [["a.example"]]


def test_it_is_bounded() -> None:
    """Addresses beyond the bound: the longest unheard went, and were counted."""
    subject = Resolved(100)
    _learn(subject, *(_given("a.example", f"10.0.{i // 256}.{i % 256}") for i in range(300)))
    assert (len(subject), subject.forgotten) == (100, 200)
    assert _names(subject, _at(1, "10.0.0.0"), _at(1, "10.0.1.43")) == [None, ["a.example"]]


def test_many_rows_at_once() -> None:
    """20,000 connections to 500 addresses of which half are known: each has its own."""
    subject = Resolved()
    _learn(subject, *(_given(f"n{i}.example", f"10.0.{i // 256}.{i % 256}") for i in range(0, 500, 2)))
    numbers = np.random.default_rng(1).integers(0, 500, 20_000).tolist()
    found = _names(subject, *(_at(1, f"10.0.{i // 256}.{i % 256}") for i in numbers))
    assert found == [[f"n{i}.example"] if i % 2 == 0 else None for i in numbers]
