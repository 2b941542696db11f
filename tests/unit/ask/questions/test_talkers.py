"""ask/talkers.py, edges.py and draw.py: who talks with whom, each byte once, as a list and as a graph."""

from __future__ import annotations

import random
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from firsthand.ask import draw
from firsthand.ask.graph import Edge, Graph
from firsthand.errors import UsageError
from tests.asking import ask, rows, run_on, told
from tests.scenes import Scene

WEB, API = "shop/Deployment/web", "shop/Deployment/api"


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two web pods talk to an API on the same machine, directly and by its service, and out; a node's kubelet probes."""
    scene = Scene()
    scene.observed(-1, 600)
    scene.node_address("192.168.7.2")
    webs = [scene.pod(f"web-{n}", f"10.244.0.{n}", 0, workload=WEB) for n in (1, 2)]
    api = scene.pod("api-1", "10.244.0.9", 0, workload=API)
    python = [scene.process(web, "/usr/bin/python3", at=1.0) for web in webs]
    nginx = scene.process(api, "/usr/sbin/nginx", at=1.0)
    kubelet = scene.process(None, "/usr/bin/kubelet", at=1.0)
    for number, (client, address) in enumerate(((python[0], "10.244.0.1"), (python[1], "10.244.0.2"))):
        port = 50_001 + number
        nat = ("10.244.0.9", 8080) if number else None
        peer = ("10.96.0.20", 80) if number else ("10.244.0.9", 8080)
        scene.connect(client, *peer, at=10.0 + number, sent=1_000, received=9_000, local_port=port, nat=nat)
        scene.accept(nginx, address, 8080, 10.0 + number, peer_port=port, sent=9_000, received=1_000)
    scene.connect(python[0], "198.51.100.7", 443, 20.0, sent=50_000, received=500, names=["api.example.com"])
    scene.connect(python[0], "203.0.113.5", 443, 21.0, outcome="timed_out", answered=3.0)
    scene.connect(kubelet, "10.244.0.9", 8080, 30.0, sent=100, received=200, local_port=50_009)
    scene.accept(nginx, "192.168.7.2", 8080, 30.0, peer_port=50_009, sent=200, received=100)
    scene.connect(nginx, "127.0.0.1", 9000, 31.0)
    for number in range(8):
        scene.accept(nginx, f"203.0.113.{100 + number}", 8080, 40.0 + number, sent=10, received=1)
    scene.listen(nginx, "0.0.0.0", 8080, 2.0)
    return scene.write(tmp_path_factory.mktemp("history"), kept=True)


def test_by_workload(history: Path) -> None:
    """Law: each pair with its connections and bytes each way, the most bytes first; peers by who held their address, else by name."""
    found = {(row["who"], row["peer"]): row for row in rows(history, "talkers")}
    out = found[WEB, "api.example.com"]
    assert (out["out"], out["in"], out["bytes_sent"], out["bytes_received"], out["kind"]) == (
        1,
        0,
        50_000,
        500,
        "external",
    )
    inner = found[WEB, API]
    assert (inner["out"], inner["bytes_sent"], inner["bytes_received"], inner["ports"]) == (
        2,
        2_000,
        18_000,
        ["8080/tcp"],
    )
    seen = found[API, WEB]
    assert (seen["out"], seen["in"], seen["bytes_sent"], seen["bytes_received"]) == (0, 2, 18_000, 2_000)
    failed = found[WEB, "203.0.113.5"]
    assert (failed["out"], failed["failed"], failed["bytes_sent"]) == (1, 1, 0)
    assert (API, "loopback") not in found and ("host", API) in found
    assert next(iter(found)) == (WEB, "api.example.com")


def test_a_listener_that_was_there_before(tmp_path: Path) -> None:
    """Law: what it accepts is flagged as its own, and counts once all the same; what was open before counts by its end."""
    scene = Scene()
    scene.observed(-1, 60)
    api = scene.process(scene.pod("api-1", "10.244.0.9", 0), "/usr/sbin/nginx", at=1.0)
    for number in range(3):
        scene.accept(api, "10.9.9.9", 8080, 10.0 + number, flags=["BEFORE"], sent=100, received=10)
    scene.connect(api, "10.9.9.8", 5432, 1.0, lasts=30.0, flags=["BEFORE"])
    scene.rows["connection"] = [row for row in scene.rows["connection"] if row["event"] != "connect"]
    found = {row["peer"]: row for row in rows(scene.write(tmp_path / "history"), "talkers", "pod")}
    assert (found["10.9.9.9"]["in"], found["10.9.9.9"]["out"], found["10.9.9.9"]["bytes_sent"]) == (3, 0, 300)
    assert found["10.9.9.8"]["bytes_sent"] == 500


def test_as_fine_as_is_wanted(history: Path) -> None:
    """Law: by pod and by process; loopback where everything is wanted; another word is wrong."""
    assert ("shop/web-2", "shop/api-1") in {(row["who"], row["peer"]) for row in rows(history, "talkers", "pod")}
    assert "shop/api-1 /usr/sbin/nginx" in {row["who"] for row in rows(history, "talkers", "process")}
    assert (API, "loopback") in {(row["who"], row["peer"]) for row in rows(history, "talkers", "--all")}
    with pytest.raises(UsageError, match="workload, pod, process"):
        ask(history, "talkers", "planet")


def test_an_edge_that_both_ends_saw(history: Path) -> None:
    """Law: it is one edge with the bytes once, though one end connected to the service; one seen by its end alone is there."""
    edges = {(row["from"], row["to"]): row for row in rows(history, "map")}
    edge = edges[WEB, API]
    assert (edge["connections"], edge["bytes_sent"], edge["bytes_received"], edge["ports"]) == (
        2,
        2_000,
        18_000,
        ["8080/tcp"],
    )
    assert edges["host", API]["connections"] == 1 and (API, WEB) not in edges
    assert edges[WEB, "203.0.113.5"]["failed"] == 1
    many = edges["8 external addresses", API]
    assert (many["connections"], many["bytes_sent"], many["bytes_received"], many["ends"]) == (8, 8, 80, 8)
    assert len(edges) == 5


def test_the_forms_of_a_map(history: Path) -> None:
    """Law: DOT and SVG hold each end and edge; nothing else can be drawn."""
    shown = told(history, "map", "-o", "dot")
    assert shown.startswith("digraph") and f'"{WEB}" -> "{API}"' in shown and 'style="dashed"' in shown
    document = ET.fromstring(told(history, "map", "-o", "svg"))
    texts = {element.text for element in document.iter("{http://www.w3.org/2000/svg}text")}
    assert {WEB, API, "host", "api.example.com", "8 external addresses"} <= texts
    with pytest.raises(UsageError, match="`ask map` has"):
        told(history, "talkers", "-o", "svg")


@pytest.mark.parametrize("form", ["dot", "svg", "csv"])
def test_what_is_drawn_has_its_completeness_beside(history: Path, form: str) -> None:
    """Law: no form of an answer is without it."""
    shown = run_on(history, "ask", "map", "-o", form)
    assert "ends and " in shown.stderr and "; evidence complete" in shown.stderr and "evidence" not in shown.stdout


def test_what_is_drawn_is_harmless() -> None:
    """Law: no name can leave its quotes, its element or its place on the terminal."""
    name = 'a"];\n<script>\x1b[2J\\'
    graph = Graph({name: "pod", "b": "external"}, [Edge(name, "b", "443/tcp", 10)])
    document = ET.fromstring(draw.svg(graph))
    assert not [element for element in document.iter() if element.tag.endswith("script")]
    quoted = re.compile(r'"(?:[^"\\]|\\.)*"')
    assert len(quoted.findall(draw.dot(graph))) == 9 and "script" not in quoted.sub("", draw.dot(graph))
    assert "\x1b" not in draw.dot(graph) + draw.svg(graph)


def _graph(number: int, chance: random.Random) -> Graph:
    names = [f"n{i}" for i in range(number)]
    edges = [Edge(*chance.sample(names, 2)) for _ in range(number * 2)] if number > 1 else []
    return Graph(dict.fromkeys(names, "pod"), edges)


@pytest.mark.parametrize("number", [0, 1, 2, 30, 150])
def test_the_layout(number: int) -> None:
    """Law: every node stands once and no two overlap, whatever cycles there are; the same graph is drawn alike."""
    graph = _graph(number, random.Random(number))
    layers = draw.layers(graph)
    assert sorted(name for layer in layers for name in layer) == sorted(graph.nodes)
    text = draw.svg(graph)
    assert text == draw.svg(graph)
    rect = r'<rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)" rx'
    boxes: list[Any] = [tuple(map(int, found)) for found in re.findall(rect, text)]
    assert len(boxes) == number
    for i, (x, y, w, h) in enumerate(boxes):
        for x2, y2, w2, h2 in boxes[i + 1 :]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_a_chain_is_drawn_in_order() -> None:
    """Law: who is reached stands to the right of who began it, also where the end reaches the begin again."""
    graph = Graph(dict.fromkeys("dcba", "pod"), [Edge("a", "b"), Edge("b", "c"), Edge("c", "d"), Edge("a", "d")])
    assert draw.layers(graph) == [["a"], ["b"], ["c"], ["d"]]


@pytest.mark.parametrize("question", ["talkers", "map", "exposed"])
def test_what_is_open_throughout_is_not_denied(tmp_path: Path, question: str) -> None:
    """Law: a connection without a row in the window is not counted, and the sentence says what is."""
    scene = Scene()
    scene.observed(-1, 600)
    scene.accept(scene.process(None, "/usr/bin/nginx", [], 0), "198.51.100.9", 443, 1.0, lasts=None)
    history = scene.write(tmp_path)
    window = ("--since", scene.at(50).isoformat(), "--until", scene.at(500).isoformat())
    assert "that began or ended in the window" in ask(history, question, *window)["answer"]
    assert "began or ended" not in ask(history, question)["answer"], "all that is held"
