"""ask/held.py: who held an address at a moment, and what is not certain."""

from __future__ import annotations

from pathlib import Path

import pytest

from firsthand.ask.answer import iso
from firsthand.errors import UsageError
from tests.asking import ask, rows
from tests.scenes import Scene

SHARED, BOTH, EVIL = "10.244.0.9", "10.244.0.8", "203.0.113.66"
SCENE = Scene()


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An address that is taken over within a second, one that two may have, a node's, and one that names stand for."""
    scene = Scene()
    scene.observed(-1, 300)
    scene.node_address("192.168.7.2")
    scene.pod("agent", "192.168.7.2", 0, host_network=True)
    scene.pod("old", SHARED, 0, 10.0, workload="shop/Deployment/old")
    scene.pod("new", SHARED, 10.4, workload="shop/Deployment/new")
    scene.pod("one", BOTH, 0)
    scene.pod("other", BOTH, 5.0, namespace=None)  # type: ignore[arg-type]
    client = scene.process(scene.pod("web", "10.244.0.5", 0), "/usr/bin/python3")
    scene.ask(client, "known-bad.actorz.com", [EVIL], 20.0, ttl=30)
    scene.ask(client, "cdn.example.com", [EVIL, "203.0.113.67"], 40.0, ttl=30)
    return scene.write(tmp_path_factory.mktemp("history"), kept=True)


def _at(history: Path, address: str, seconds: float) -> str:
    return str(ask(history, "address", address, "--at", iso(SCENE.at(seconds)))["answer"])


@pytest.mark.parametrize(
    ("address", "seconds", "said"),
    [
        (SHARED, 9.9, f"{SHARED} was pod shop/old at"),
        (SHARED, 10.2, f"Nobody is known to have held {SHARED} at"),
        (SHARED, 10.5, f"{SHARED} was pod shop/new at"),
        (BOTH, 3.0, f"{BOTH} was pod shop/one at"),
        (BOTH, 6.0, f"Not certain: {BOTH} may have been any of 2 at"),
        ("192.168.7.2", 6.0, "192.168.7.2 was node node-1 at"),
        ("127.0.0.1", 6.0, "it is loopback"),
        ("203.0.113.99", 6.0, "it is external"),
    ],
)
def test_who_held_it(history: Path, address: str, seconds: float, said: str) -> None:
    """Law: the one of the very moment, both where that is not certain, nobody where nobody is known."""
    assert said in _at(history, address, seconds)


@pytest.mark.parametrize(
    ("seconds", "names"),
    [
        (19.0, []),
        (25.0, ["known-bad.actorz.com"]),
        (45.0, ["cdn.example.com", "known-bad.actorz.com"]),
        (60.0, ["cdn.example.com"]),
        (90.0, []),
    ],
)
def test_names_that_stand_for_it(history: Path, seconds: float, names: list[str]) -> None:
    """Law: from an answer on until its time to live is over, each name; who asked is told."""
    found = rows(history, "address", EVIL, "--at", iso(SCENE.at(seconds)))
    assert sorted(row["who"] for row in found if row["held"]) == names
    assert all(row["asked_by"] == ["shop/web"] for row in found)


def test_over_time(history: Path) -> None:
    """Law: without a moment, all of the window with their spans, the present one first."""
    found = rows(history, "address", SHARED)
    assert [(row["held"], row["who"], row["until"] is None) for row in found] == [
        (True, "shop/new", True),
        (False, "shop/old", False),
    ]
    assert found[1]["until"] == iso(SCENE.at(10)).replace(".000Z", ".000000Z")


def test_a_moment_that_nobody_observed(history: Path) -> None:
    """Law: before the record begins nothing is known, and that is not `nobody`."""
    found = ask(history, "address", SHARED, "--at", iso(SCENE.at(-500)))
    assert not found["completeness"]["complete"] and found["answer"].startswith("Not recorded")


def test_wrong_words(history: Path) -> None:
    """Law: a name is no address; other questions have no moment."""
    with pytest.raises(UsageError, match="one address"):
        ask(history, "address", "example.com")
    with pytest.raises(UsageError, match="--at is not for `ask pods`, but for `ask address`"):
        ask(history, "pods", "--at", "1h")
