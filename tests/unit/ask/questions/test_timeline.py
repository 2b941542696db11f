"""ask/timeline.py: what a process asked, connected and requested stands between its exec and its exit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.asking import ask
from tests.scenes import Scene


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job that resolves, connects, sends and ends, and a neighbour that does the same elsewhere."""
    scene = Scene()
    scene.observed(-1, 60)
    for name, address, peer in (("job", "10.244.0.1", "203.0.113.9"), ("other", "10.244.0.2", "203.0.113.8")):
        pod = scene.pod(name, address, 0)
        curl = scene.process(pod, "/usr/bin/curl", ["https://bad.example"], 10.0)
        scene.ask(curl, "bad.example", [peer], 10.1)
        cookie = scene.connect(curl, peer, 443, 10.2, sent=9_999, received=3_000, names=["bad.example"])
        scene.request(curl, cookie, peer, 443, 10.3, sni="bad.example", protocol="tls")
        scene.exit(curl, 11.0)
    return scene.write(tmp_path_factory.mktemp("history"), kept=True)


def test_the_network_stands_in_it(history: Path) -> None:
    """Law: rows of connection, name and request of the pod alone, in the order of time, in the words of the other questions."""
    answer = ask(history, "timeline", "--pod", "job")
    rows = [row for row in answer["rows"] if row["table"] not in ("pod", "container")]
    assert [(row["table"], row["event"]) for row in rows] == [
        ("process", "exec"),
        ("name", "question"),
        ("name", "answer"),
        ("connection", "close"),
        ("connection", "connect"),
        ("request", "tls"),
        ("connection", "close"),
        ("process", "exit"),
    ]
    assert {row["pod"] for row in rows} == {"job"} and {row["what"] for row in rows} == {"/usr/bin/curl"}
    detail = [row["detail"] for row in rows]
    assert detail[1] == "? A bad.example asked" and detail[2] == "? A bad.example NOERROR 203.0.113.9"
    assert detail[4] == "→ 203.0.113.9:443 (bad.example) established"
    assert "bad.example" in detail[5]
    assert detail[6] == "→ 203.0.113.9:443 (bad.example) closed 10 kB out, 3 kB in"


def test_of_one_process(history: Path) -> None:
    """Law: by its id as by its pod."""
    (key,) = {row["exec_id"] for row in ask(history, "timeline", "job")["rows"] if row["table"] == "request"}
    tables = [row["table"] for row in ask(history, "timeline", key)["rows"]]
    assert tables.count("connection") == 3 and tables.count("name") == 2 and tables.count("request") == 1
