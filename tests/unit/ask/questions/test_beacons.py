"""ask/beacons.py: a beacon among an ordinary hour comes first and alone; what is regular and harmless stays below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from firsthand.ask.questions import beacons
from tests.asking import ask, rows, told
from tests.hours import HOUR, Cluster
from tests.scenes import Scene

C2 = "203.0.113.66"


@pytest.fixture(scope="module")
def benign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hour alone."""
    cluster = Cluster(Scene())
    cluster.scene.observed(-1, HOUR + 60)
    cluster.hour()
    return cluster.scene.write(tmp_path_factory.mktemp("benign"), kept=True)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same hour with a beacon each minute, off by up to a fifth, whose name is asked for once."""
    cluster = Cluster(Scene())
    scene = cluster.scene
    scene.observed(-1, HOUR + 60)
    cluster.hour()
    implant = scene.process(cluster.pods["web"], "/tmp/.x", ["-q"], 2.0, parent=cluster.processes["web"])
    scene.ask(implant, "c2.actorz.com", [C2], 3.0)
    for number, at in enumerate(cluster.every(5.0, 60.0, 0.2)):
        names = ["c2.actorz.com"] if number < 3 else []
        sent = 310 if number % 17 else 4_000
        scene.connect(implant, C2, 443, at, sent=sent, received=200, lasts=0.2, names=names)
    return scene.write(tmp_path_factory.mktemp("history"), kept=True)


def test_an_ordinary_hour_has_none(benign: Path) -> None:
    """Law: nothing of a benign hour reaches the threshold, and nothing comes near it."""
    found = ask(benign, "beacons")
    assert found["rows"] == [] and found["answer"].startswith("No: 0 programs beat regularly at a score of 0.5 or more")
    near = rows(benign, "beacons", "--threshold", "0")
    assert max(row["score"] for row in near) < 0.2, [(row["who"], row["peer"], row["score"]) for row in near]


def test_a_beacon_comes_first(history: Path) -> None:
    """Law: the only one above the threshold, by its name, with its terms, its process and those behind."""
    (row,) = rows(history, "beacons")
    assert (row["who"], row["exe"], row["peer"], row["port"]) == (
        "shop/Deployment/web",
        "/tmp/.x",
        "c2.actorz.com",
        "443/tcp",
    )
    assert row["score"] >= 0.7 and 50 <= row["beats"] <= 70 and 55 <= row["interval"] <= 65
    assert (
        row["args"] == [".x", "-q"] and row["lineage"][0].startswith("/usr/bin/web[") and row["pods"] == ["shop/web-1"]
    )
    product = 1.0
    for term in beacons.TERMS:
        product *= row[term]
    assert product == pytest.approx(row["score"], abs=0.01)
    assert row["explained"].startswith(f"{row['beats']} beats every ") and "regular 0." in row["explained"]
    every = rows(history, "beacons", "--threshold", "0")
    assert every[0]["exe"] == "/tmp/.x" and every[1]["score"] < row["score"] / 2


def test_one_whose_binary_is_not_known(tmp_path: Path) -> None:
    """Law: a beacon of a process whose program nobody saw is a beacon too."""
    cluster = Cluster(Scene())
    scene = cluster.scene
    scene.observed(-1, HOUR + 60)
    implant = scene.process(cluster.pods["web"], "/tmp/.x", ["-q"], 2.0)
    for at in cluster.every(5.0, 60.0, 0.1):
        scene.connect(implant, C2, 443, at, sent=310, received=200, lasts=0.2)
    for row in scene.rows["connection"]:
        row["exe"] = None
    (row,) = rows(scene.write(tmp_path, kept=True), "beacons")
    assert (row["exe"], row["peer"]) == (None, C2)


def test_peers_of_the_cluster_where_they_are_wanted(history: Path) -> None:
    """Law: with everything, the scrapes, probes and leases are there, since nothing but their peers tells them from beacons."""
    found = {(row["exe"], row["peer"]) for row in rows(history, "beacons", "--all")}
    assert ("/usr/bin/operator", "10.96.0.1") in found and ("/tmp/.x", "c2.actorz.com") in found
    assert not any(exe == "/usr/sbin/chronyd" for exe, _ in found)


def test_expected_peers(history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: what the setting expects is left out, and said."""
    settings = tmp_path / "config.toml"
    for expected in ("*.actorz.com", C2, "203.0.113.64/29"):
        settings.write_text(f'[network]\nexpected = ["{expected}"]\n')
        monkeypatch.setenv("FIRSTHAND_CONFIG", str(settings))
        found = ask(history, "beacons")
        assert found["rows"] == [] and "1 more do so to expected peers" in found["answer"]


def test_a_pod_for_each_beat(tmp_path: Path) -> None:
    """Law: a job whose every pod beats once is one beacon of its workload; replicas that each beat are told each."""
    scene = Scene()
    scene.observed(-1, 7200)
    for number in range(30):
        pod = scene.pod(f"job-{number}", f"10.244.1.{number}", number * 200.0, workload="shop/CronJob/job")
        curl = scene.process(pod, "/usr/bin/curl", at=number * 200.0)
        scene.connect(curl, C2, 443, number * 200.0 + 1 + number % 3, sent=300)
    for number in range(3):
        pod = scene.pod(f"web-{number}", f"10.244.2.{number}", 0, workload="shop/Deployment/web")
        implant = scene.process(pod, "/tmp/.x", at=1.0)
        for beat in range(40):
            scene.connect(implant, C2, 8443, 10.0 + number * 13 + beat * 60, sent=300)
    found = rows(scene.write(tmp_path), "beacons")
    assert [(row["who"], row["exe"], len(row["pods"])) for row in found] == [
        *[("shop/Deployment/web", "/tmp/.x", 1)] * 3,
        ("shop/CronJob/job", "/usr/bin/curl", 5),
    ]


def test_a_master_that_does_not_answer(tmp_path: Path) -> None:
    """Law: attempts that are refused or time out are beats too."""
    scene = Scene()
    scene.observed(-1, 7200)
    implant = scene.process(None, "/tmp/.x")
    for beat in range(40):
        scene.connect(implant, C2, 443, 10.0 + beat * 60, outcome="refused")
    (row,) = rows(scene.write(tmp_path), "beacons")
    assert (row["who"], row["failed"], row["beats"]) == ("host", 40, 40)


MEASURES: dict[str, Any] = {
    "interval": 60.0,
    "deviation": 6.0,
    "sent": 300,
    "sent_deviation": 0,
    "bytes": 500,
    "lasts": 0.2,
    "beats": 60,
}


@pytest.mark.parametrize(
    ("change", "term", "value"),
    [
        ({}, "regular", 0.8),
        ({"deviation": 30.0}, "regular", 0.0),
        ({"sent_deviation": 75}, "alike", 0.75),
        ({"sent_deviation": 300}, "alike", 0.5),
        ({"bytes": 16_000}, "small", 1.0),
        ({"bytes": 1_000_000}, "small", 0.0),
        ({"lasts": 60.0}, "brief", 0.0),
        ({"lasts": 6.0}, "brief", 1.0),
        ({"beats": 4}, "often", 0.0),
        ({"beats": 12}, "often", 0.5),
        ({"sent": 0, "bytes": 0}, "alike", 1.0),
    ],
)
def test_terms(change: dict[str, Any], term: str, value: float) -> None:
    """Law: each term is what the page says of it."""
    assert beacons.terms(MEASURES | change)[term] == pytest.approx(value, abs=0.001)


def test_words(history: Path) -> None:
    """Law: a threshold beyond 0 to 1 is a wrong word; a table shows the terms in words."""
    with pytest.raises(click.UsageError, match="not in the range"):
        ask(history, "beacons", "--threshold", "2")
    assert "beats every" in told(history, "beacons", "-o", "wide")


@pytest.mark.parametrize("kept", [True, False], ids=["segments", "log"])
@pytest.mark.parametrize("many", [1, 30, 70])
def test_a_beat_of_many_connections_is_one(tmp_path: Path, many: int, kept: bool) -> None:
    """Law: however many connections a beat has; and who never pauses does not beat."""
    scene = Scene()
    scene.observed(-1, HOUR)
    implant, busy = (scene.process(None, name, [], 1.0) for name in ("/tmp/.x", "/usr/bin/busy"))
    for beat in range(20):
        for number in range(many):
            scene.connect(implant, C2, 443, 10 + 60 * beat + number * 0.01, sent=300, received=200, lasts=0.1)
    for number in range(600):
        scene.connect(busy, "203.0.113.7", 443, 10 + number * 0.5, sent=300, received=200, lasts=0.1)
    found = ask(scene.write(tmp_path, kept=kept), "beacons", "--threshold", "0")
    (row,) = found["rows"]
    assert (row["exe"], row["beats"], row["connections"]) == ("/tmp/.x", 20, 20 * many)
