"""ask/conversations.py: counts that do not depend on the limit and are never below none, and how sure a match is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.asking import ask, rows
from tests.scenes import Scene

BAD, EVIL, LOCAL = "known-bad.actorz.com", "203.0.113.66", "blocked.example.com"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pod whose curl asks for a bad name, its python that only connects; a DNS server; a name that a blocker answers with loopback."""
    scene = Scene()
    scene.observed(-1, 600)
    web = scene.pod("web-1", "10.244.0.6", 0, workload="shop/Deployment/web")
    dns = scene.pod("dns-1", "10.244.0.53", 0, namespace="kube-system")
    curl = scene.process(web, "/usr/bin/curl", [BAD], 1.0)
    python = scene.process(web, "/usr/bin/python3", ["app.py"], 1.0)
    server = scene.process(dns, "/coredns", [], 1.0)
    scene.ask(curl, BAD, [EVIL], 2.0)
    for event, way, at in (("question", "in", 2.001), ("answer", "out", 2.005)):
        more = (
            {"rcode": "NOERROR", "addresses": [EVIL], "records": [f"{BAD} 30 A {EVIL}"], "ttl": 30}
            if event == "answer"
            else {}
        )
        row = server.row | {"name": BAD, "type": "A", "query_id": 7, "direction": way, "transport": "udp"} | more
        scene.add("name", at, event=event, **row, peer_address="10.244.0.6", peer_port=4000)
    for number in range(5):
        scene.connect(curl, EVIL, 443, 3.0 + number)
        scene.connect(python, EVIL, 443, 20.0 + number)
    scene.connect(curl, EVIL, 443, 9.0, outcome="refused")
    scene.connect(server, EVIL, 443, 30.0)
    scene.ask(curl, "fine.example.com", [EVIL], 40.0)
    scene.ask(curl, LOCAL, ["127.0.0.1"], 50.0)
    scene.connect(python, "127.0.0.1", 8080, 51.0, flags=["LOOPBACK"])
    scene.connect(curl, "127.0.0.1", 80, 52.0, flags=["LOOPBACK"])
    return scene.write(tmp_path_factory.mktemp("history"))


@pytest.mark.parametrize("limit", ["1", "3", "1000"])
def test_the_sentence_does_not_depend_on_the_limit(history: Path, limit: str) -> None:
    """Law: numbers are of all, and none is below zero: of those that nobody asked for, one connection is left, the DNS server's."""
    found = ask(history, "connected", BAD, "--limit", limit)
    whole = ask(history, "connected", BAD)
    assert found["answer"] == whole["answer"] and found["truncated"] == (len(whole["rows"]) > int(limit))
    assert "(10 established, 1 refused), 5 of them by the lookup of another process alone" in found["answer"]
    assert "; 1 more went to addresses that it had" in found["answer"]


def test_a_dns_server_is_not_one_that_asks(history: Path) -> None:
    """Law: it is shown as what it is, and not counted among the questions; it has been given no address."""
    found = ask(history, "connected", BAD)
    assert "; asked for once; asked of a DNS server here once" in found["answer"]
    assert [(row["what"], row["exe"]) for row in found["rows"] if row["what"] in ("asked", "served")] == [
        ("asked", "/usr/bin/curl"),
        ("served", "/coredns"),
    ]
    assert "/coredns" not in {row["exe"] for row in found["rows"] if row["what"] == "connected"}


def test_how_sure_a_match_is(history: Path) -> None:
    """Law: a connection that only another process's lookup labels says so, and that another name gave the address too."""
    found = {row["exe"]: row["doubt"] for row in rows(history, "connected", BAD) if row["what"] == "connected"}
    assert found["/usr/bin/curl"] == ["shared with fine.example.com"]
    assert found["/usr/bin/python3"] == ["asked for by another process", "shared with fine.example.com"]


def test_loopback_is_labelled_by_its_own_process_alone(history: Path) -> None:
    """Law: a name that gave 127.0.0.1 labels the connection of the process that asked, as a loopback one, and no other's."""
    found = [(row["exe"], row["doubt"]) for row in rows(history, "connected", LOCAL) if row["what"] == "connected"]
    assert found == [("/usr/bin/curl", ["loopback"])]
