"""ask/listening.py: doors that stood open at a moment, and who came in from elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from firsthand.ask.answer import iso
from tests.asking import ask, rows
from tests.configured import configured
from tests.samples import ALL
from tests.scenes import Scene

SCENE = Scene()


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended, and one that goes on: listeners that come, go, were there before; guests from in and outside."""
    scene = Scene()
    scene.observed(-500, -100)
    ghost = scene.process(None, "/usr/bin/ghost", at=-490.0)
    scene.listen(ghost, "0.0.0.0", 4444, -480.0)  # its end fell between the runs
    scene.observed(-1, 600)
    scene.node_address("192.168.7.2")
    scene.pod("client", "100.64.1.9", 0)
    web = scene.pod("web-1", "10.244.0.6", 0, workload="shop/Deployment/web")
    nginx = scene.process(web, "/usr/sbin/nginx", ["-g", "daemon off;"], 1.0, capabilities=ALL)
    scene.listen(nginx, "0.0.0.0", 80, 2.0)
    scene.listen(nginx, "127.0.0.1", 9000, 3.0)
    scene.listen(nginx, "::", 8443, 4.0, until=50.0)
    sshd = scene.process(None, "/usr/sbin/sshd", ["-D"], 0.0, event="seen")
    ends = scene._ends(sshd, None, None, "192.168.7.2", 22, "tcp")
    scene.add("connection", 0.5, event="seen", flag_names="BEFORE,LISTENING", **(sshd.row | ends))
    tcpdump = scene.process(None, "/usr/bin/tcpdump", [], 5.0)
    scene.add("connection", 5.5, event="open", **(tcpdump.row | {"cookie": 99, "transport": "packet"}))
    for number, peer in enumerate(
        ("203.0.113.5", "203.0.113.6", "203.0.113.5", "10.244.0.7", "100.64.1.9", "192.168.7.2", "127.0.0.1")
    ):
        scene.accept(nginx, peer, 80, 10.0 + number, sent=100, received=10, capabilities=ALL)
    scene.accept(sshd, "198.51.100.4", 22, 30.0)
    scene.connect(nginx, "203.0.113.9", 443, 31.0)
    dns = scene.process(web, "/usr/bin/coredns", at=1.0)
    scene.flow(dns, "203.0.113.44", 51_000, 32.0, incoming=True, local_port=53)
    return scene.write(tmp_path_factory.mktemp("history"), kept=True)


def test_what_listens(history: Path) -> None:
    """Law: each socket that listens and whose end was not told, with its process and since when; none of a run before."""
    found = rows(history, "listening")
    assert [(row["exe"], row["listens"], row["open_to"]) for row in found] == [
        ("/usr/sbin/sshd", "192.168.7.2:22", "this address"),
        ("/usr/sbin/nginx", "0.0.0.0:80", "every address"),
        ("/usr/sbin/nginx", "127.0.0.1:9000", "itself alone"),
        ("/usr/bin/tcpdump", "whatever passes", ""),
    ]
    assert [row["before"] for row in found] == [True, False, False, False]
    assert found[1]["args"] == ["nginx", "-g", "daemon off;"] and found[1]["pod"] == "web-1"
    assert found[1]["since"] == "2026-03-01T12:00:02.000000Z"


def test_what_listened_then(history: Path) -> None:
    """Law: at an earlier moment, what had begun and not ended by then."""
    found = rows(history, "listening", "--until", iso(SCENE.at(10)))
    assert "[::]:8443" in [row["listens"] for row in found]
    before = ask(history, "listening", "--since", iso(SCENE.at(-499)), "--until", iso(SCENE.at(-200)))
    assert [row["listens"] for row in before["rows"]] == ["0.0.0.0:4444"]
    assert rows(history, "listening", "-n", "shop", "--until", iso(SCENE.at(2.5)))[0]["listens"] == "0.0.0.0:80"


def test_who_came_in(history: Path) -> None:
    """Law: from outside the ranges and from nobody of the cluster, by door, with rights; what went out is not there."""
    found = ask(history, "exposed")
    assert [(row["exe"], row["port"], row["connections"], row["peers"], row["from"]) for row in found["rows"]] == [
        ("/usr/sbin/nginx", "80/tcp", 3, 2, ["203.0.113.5", "203.0.113.6"]),
        ("/usr/sbin/sshd", "22/tcp", 1, 1, ["198.51.100.4"]),
        ("/usr/bin/coredns", "53/udp", 1, 1, ["203.0.113.44"]),
    ]
    nginx = found["rows"][0]
    assert (nginx["beyond"], nginx["bytes_sent"], nginx["bytes_received"]) == ("all", 300, 30)
    assert found["answer"] == "Yes: 5 connections from outside the cluster came in by 3 doors"


def test_ranges_of_ones_own(history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: the setting says what is the cluster's; who holds an address in it is known all the same."""
    configured(tmp_path, monkeypatch, '[network]\ncluster = ["203.0.113.0/24", "192.168.0.0/16"]\n')
    found = rows(history, "exposed")
    assert [(row["exe"], row["from"]) for row in found] == [
        ("/usr/sbin/nginx", ["10.244.0.7"]),
        ("/usr/sbin/sshd", ["198.51.100.4"]),
    ]
