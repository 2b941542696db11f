"""ask/exfiltration.py: what was sent elsewhere beyond a workload's own past, and not what it has always sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from firsthand.ask.answer import iso
from firsthand.ask.questions import exfiltration
from tests.asking import ask, rows
from tests.configured import configured
from tests.hours import HOUR, Cluster
from tests.scenes import Scene

SCENE = Scene()
DAY = 86_400.0
NOW = ("--since", iso(SCENE.at(3 * DAY)), "--until", iso(SCENE.at(3 * DAY + 6 * HOUR)))


def _days(cluster: Cluster, hours: range) -> None:
    """What leaves the machine in these hours; what stays within it says nothing here."""
    for hour in hours:
        cluster.uploads(hour * HOUR)
        for name, peer, sent in (("logs", "198.51.100.20", 9_000_000), ("web", "198.51.100.40", 600_000)):
            at = hour * HOUR + 60
            cluster.scene.connect(
                cluster.processes[name],
                peer,
                443,
                at,
                sent=int(sent * cluster.chance.uniform(0.8, 1.2)),
                names=[f"{name}.example.com"],
            )


@pytest.fixture(scope="module")
def benign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days and six hours as always."""
    cluster = Cluster(Scene())
    cluster.scene.observed(-1, 4 * DAY)
    _days(cluster, range(78))
    return cluster.scene.write(tmp_path_factory.mktemp("benign"), kept=True)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same; then a database that never spoke to the outside sends much, a web server much more than ever to its usual peer,
    the operator a little to many, and a new pod of today."""
    cluster = Cluster(Scene())
    scene = cluster.scene
    scene.observed(-1, 4 * DAY)
    _days(cluster, range(78))
    now = 3 * DAY + HOUR
    scp = scene.process(cluster.pods["api"], "/usr/bin/ssh", ["attacker@203.0.113.66"], now)
    scene.connect(scp, "203.0.113.66", 22, now + 10, sent=300_000_000, lasts=60.0)
    scene.connect(cluster.processes["web"], "198.51.100.40", 443, now + 20, sent=90_000_000, names=["web.example.com"])
    for number in range(40):
        scene.connect(
            cluster.processes["operator"], f"203.0.113.{100 + number}", 443, now + 30 + number, sent=4_000_000
        )
    fresh = scene.process(scene.pod("fresh", "10.244.0.99", now), "/usr/bin/rsync", at=now)
    scene.connect(fresh, "198.51.100.99", 22, now + 40, sent=300_000_000)
    scene.accept(cluster.processes["web"], "203.0.113.77", 443, now + 50, sent=500_000_000)
    scene.connect(cluster.processes["api"], "10.244.0.6", 5432, now + 60, sent=500_000_000)
    return scene.write(tmp_path_factory.mktemp("history"), kept=True)


def test_as_always(benign: Path) -> None:
    """Law: backups, logs and calls at their usual size are none, however much they are."""
    found = ask(benign, "exfiltration", *NOW)
    assert found["rows"] == [] and found["completeness"]["complete"], found["rows"]
    assert found["answer"].startswith("No: 0 hours with more sent elsewhere than is usual, of ")
    near = rows(benign, "exfiltration", *NOW, "--threshold", "0")
    assert max(row["score"] for row in near) < 0.1 and max(row["bytes_sent"] for row in near) > 700_000_000


def test_more_than_ever(history: Path) -> None:
    """Law: a new peer that gets much, a known one that gets far more, many that get a little together; each with its terms."""
    found = {row["who"]: row for row in rows(history, "exfiltration", *NOW)}
    assert set(found) == {"shop/Deployment/api", "shop/Deployment/web", "shop/Deployment/operator"}
    api, web, operator = (found[f"shop/Deployment/{name}"] for name in ("api", "web", "operator"))
    assert (api["peer"], api["bytes_sent"], api["score"], api["binaries"]) == (
        "203.0.113.66 (new)",
        300_000_000,
        1.0,
        ["/usr/bin/ssh"],
    )
    assert (web["peer"], web["usual"]) == ("web.example.com", exfiltration.FLOOR) and 0.9 < web["score"] < 1
    assert operator["peer"].endswith("and 39 more (new)") and operator["bytes_sent"] == 160_000_000
    assert "300 MB against a usual 10 MB (no hour before, floor 10 MB); known 1.00 of a day" in api["explained"]


def test_who_has_no_past(history: Path) -> None:
    """Law: a workload that was never seen before has a score of nothing, and is there where everything is asked for."""
    every = {row["who"]: row for row in rows(history, "exfiltration", *NOW, "--threshold", "0")}
    assert (every["shop/fresh"]["score"], every["shop/fresh"]["known"]) == (0.0, 0.0)


def test_without_a_past(benign: Path) -> None:
    """Law: an hour with nothing before it has no rows, and the answer says that it could not compare."""
    found = ask(benign, "exfiltration", "--since", iso(SCENE.at(-1)), "--until", iso(SCENE.at(HOUR)))
    assert found["rows"] == [] and not found["completeness"]["complete"]
    assert "there is no past to compare with" in found["completeness"]["reasons"][-1]


def test_expected_peers(history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: what the setting expects is left out, and said."""
    configured(tmp_path, monkeypatch, '[network]\nexpected = ["203.0.113.0/24"]\n')
    found = ask(history, "exfiltration", *NOW)
    assert {row["who"] for row in found["rows"]} == {
        "shop/Deployment/web"
    } and "460 MB to expected peers left out" in found["answer"]


@pytest.mark.parametrize(
    ("sent", "before", "score"),
    [
        (10_000_000, [], 0.0),
        (100_000_000, [], 1.0),
        (31_700_000, [], 0.5),
        (2_100_000_000, [2_000_000_000, 1_900_000_000, 2_050_000_000], 0.0),
        (20_000_000_000, [2_000_000_000, 2_000_000_000, 2_000_000_000], 1.0),
        (2_000_000_000, [5_000_000] * 200 + [2_000_000_000] * 3, 0.0),
        (2_000_000_000, [5_000_000] * 200 + [2_000_000_000] * 2, 1.0),
    ],
)
def test_scores(sent: int, before: list[int], score: float) -> None:
    """Law: a tenfold of the usual is 1, three times 0.5; three times seen is usual."""
    assert exfiltration.score(sent, before, 1.0) == pytest.approx(score, abs=0.02)
    assert exfiltration.score(sent, before, 0.0) == 0.0


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_what_goes_on_is_not_denied(tmp_path: Path, kind: str) -> None:
    """Law: bytes are known at the end: while a connection elsewhere goes on, "No" is not proven; one that has ended, one within the
    cluster and one that the peer began are none."""
    scene = Scene()
    scene.observed(-1, 4 * DAY)
    pod = scene.process(scene.pod("api", "10.244.0.6", 0), "/usr/bin/scp", at=1.0)
    now = 3 * DAY + HOUR
    scene.connect(pod, "203.0.113.66", 22, now, lasts=60.0)
    scene.connect(pod, "10.244.0.7", 22, now, lasts=None)
    scene.accept(pod, "203.0.113.66", 443, now, lasts=None)
    scene.flow(pod, "203.0.113.66", 53, now, lasts=60.0)
    scene.flow(pod, "203.0.113.66", 53, now)
    ended = ask(scene.write(tmp_path / "ended", kept=True), "exfiltration", *NOW)
    assert ended["answer"].startswith("No") and ended["completeness"]["complete"], ended["completeness"]
    if kind == "tcp":
        scene.connect(pod, "203.0.113.66", 22, now, lasts=None)
    else:
        scene.flow(pod, "203.0.113.66", 53, now, lasts=None)
    going = ask(scene.write(tmp_path / "going", kept=True), "exfiltration", *NOW)
    assert going["completeness"]["reasons"] == [
        "1 connection elsewhere goes on: how much it has sent is known when it ends"
    ]
