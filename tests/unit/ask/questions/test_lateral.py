"""ask/lateral.py: edges that a workload's program never went before, and none that it did."""

from __future__ import annotations

from pathlib import Path

import pytest

from firsthand.ask.answer import iso
from tests.asking import ask
from tests.scenes import Scene

SCENE = Scene()
DAY = 86_400.0
WEB, API, DB = "shop/Deployment/web", "shop/Deployment/api", "shop/StatefulSet/db"
NEW = ("--since", iso(SCENE.at(3 * DAY)), "--until", iso(SCENE.at(4 * DAY)))


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three usual days; then a rollout, and a web pod's shell that looks around."""
    scene = Scene()
    scene.observed(-1, 4 * DAY)
    scene.node_address("192.168.7.2")
    old = scene.pod("web-1", "10.244.0.5", 0, 3 * DAY - 10, workload=WEB)
    api = scene.pod("api-1", "10.244.0.6", 0, workload=API)
    scene.pod("db-0", "10.244.0.7", 0, workload=DB)
    day = scene.process(old, "/usr/bin/python3", at=1.0)
    server = scene.process(api, "/usr/bin/python3", at=1.0)
    for number in range(3):
        scene.connect(day, "10.244.0.6", 8080, number * 80_000.0 + 10)
        scene.connect(server, "10.244.0.7", 5432, number * 80_000.0 + 11)
        scene.connect(server, "192.168.7.2", 10250, number * 80_000.0 + 12)
    today = 3 * DAY
    again = scene.pod("web-2", "10.244.0.8", today, workload=WEB)
    usual = scene.process(again, "/usr/bin/python3", at=today + 1)
    scene.connect(usual, "10.244.0.6", 8080, today + 10)  # the same program of the same workload: nothing new
    scene.connect(usual, "198.51.100.1", 443, today + 11)  # not within
    scene.connect(usual, "10.244.0.8", 9000, today + 12)  # itself
    scene.connect(usual, "10.9.9.9", 80, today + 13)  # of nobody known
    shell = scene.process(again, "/bin/sh", ["-c", "scan"], today + 20, parent=usual)
    netcat = scene.process(again, "/bin/nc", ["-z"], today + 21, parent=shell)
    scene.connect(netcat, "10.244.0.6", 8080, today + 22)
    scene.connect(netcat, "10.244.0.7", 5432, today + 23, outcome="refused")
    scene.connect(netcat, "10.244.0.7", 5432, today + 24, outcome="refused")
    scene.connect(netcat, "192.168.7.2", 10250, today + 25, outcome="timed_out")
    scene.connect(usual, "10.96.0.5", 5432, today + 26, nat=("10.244.0.7", 5432))  # a service, whose pod is behind it
    kubelet = scene.process(None, "/usr/bin/kubelet", at=today)
    scene.connect(kubelet, "10.244.0.8", 8081, today + 27)  # from a node
    return scene.write(tmp_path_factory.mktemp("history"), kept=True)


def test_what_is_new(history: Path) -> None:
    """Law: by workload and program, to pods and nodes, attempts too; not what was usual, in what pod ever; nor itself, nor elsewhere."""
    found = ask(history, "lateral", *NEW)
    assert [
        (row["from"], row["exe"], row["to"], row["port"], row["outcome"], row["connections"]) for row in found["rows"]
    ] == [
        (WEB, "/bin/nc", API, "8080/tcp", "established", 1),
        (WEB, "/bin/nc", DB, "5432/tcp", "refused", 2),
        (WEB, "/bin/nc", "a node", "10250/tcp", "timed_out", 1),
        (WEB, "/usr/bin/python3", DB, "5432/tcp", "established", 1),
    ]
    first = found["rows"][0]
    assert (
        first["args"] == ["nc", "-z"] and first["lineage"][0].startswith("/bin/sh[") and first["pods"] == ["shop/web-2"]
    )
    assert found["answer"].startswith("Yes: 4 edges from pods to pods or nodes are new against 3 days before")
    assert "1 connection to private addresses of nobody known was left out (--all)" in found["answer"]
    assert found["completeness"]["complete"]


def test_without_a_window(history: Path) -> None:
    """Law: the last day against what was before."""
    assert len(ask(history, "lateral")["rows"]) == 4


def test_private_addresses_too(history: Path) -> None:
    """Law: where everything is wanted, addresses within the cluster's ranges of whom nothing is known."""
    assert "10.9.9.9" in {row["to"] for row in ask(history, "lateral", *NEW, "--all")["rows"]}


def test_without_a_past(history: Path) -> None:
    """Law: where nothing was recorded before, the answer is not complete, and says so."""
    found = ask(history, "lateral", "--since", iso(SCENE.at(-1)))
    assert not found["completeness"]["complete"]
    assert any("there is no past to compare with" in reason for reason in found["completeness"]["reasons"])


@pytest.mark.parametrize(
    ("lasts", "transport"), [(None, "udp"), (7.0, "udp"), (0.05, "udp"), (None, "icmp"), (0.05, "icmp"), (7.0, "other")]
)
def test_a_flow_counts_once(tmp_path: Path, lasts: float | None, transport: str) -> None:
    """Law: one that goes on, one that has ended, and one that was too short for a row of its beginning."""
    scene = Scene()
    scene.observed(-1, 4 * DAY)
    web = scene.pod("web-1", "10.244.0.5", 0, workload=WEB)
    scene.pod("db-0", "10.244.0.7", 0, workload=DB)
    shell = scene.process(web, "/bin/sh", at=3 * DAY + 1)
    scene.flow(shell, "10.244.0.7", 4000, 3 * DAY + 2, lasts=lasts, transport=transport)
    (row,) = ask(scene.write(tmp_path, kept=True), "lateral", *NEW)["rows"]
    assert (row["to"], row["port"], row["connections"]) == (DB, f"4000/{transport}", 1)


@pytest.mark.parametrize(("outcome", "answered"), [("timed_out", 130.0), ("established", 3.0)])
def test_an_attempt_without_an_answer_by_the_windows_end(tmp_path: Path, outcome: str, answered: float) -> None:
    """Law: it is an edge while it goes on, and the same one with its outcome afterwards; it counts once."""
    scene = Scene()
    scene.observed(-1, 4 * DAY)
    pods = [scene.pod(name, address) for name, address in (("web-1", "10.244.0.5"), ("db-0", "10.244.0.7"))]
    scan = scene.process(pods[0], "/bin/nc", at=3 * DAY)
    scene.connect(scan, "10.244.0.7", 5432, 3 * DAY + 10, answered=answered, outcome=outcome, lasts=None)
    history = scene.write(tmp_path, kept=True)
    for until, shown in ((12.0, "started"), (200.0, outcome)):
        window = ("--since", iso(scene.at(3 * DAY)), "--until", iso(scene.at(3 * DAY + until)))
        (row,) = ask(history, "lateral", *window)["rows"]
        assert (row["outcome"], row["connections"]) == (shown, 1)
