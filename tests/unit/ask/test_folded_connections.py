"""Equal short connections in one row are evidence: whether they folded or not, the questions count the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.asking import ask, rows, told
from tests.scenes import Row, Scene

WEB, API = "shop/Deployment/web", "shop/Deployment/api"
FOLDING = json.dumps({"folding": {"processes": False, "connections": True, "most_ms": 1000, "every_seconds": 60}})
#: Differ where many stand in one row: the socket, and when the last one ended (folded: was made).
UNLIKE = {"last", "cookie", "until"}


def _scene() -> Scene:
    """A web pod looks a lease up at an API each second, an ingress on the same network asks the web pod; a backup goes out."""
    scene = Scene()
    scene.observed(-1, 600, settings=FOLDING)
    scene.node_address("192.168.7.2")
    web = scene.pod("web-1", "10.244.0.1", 0, workload=WEB)
    api = scene.pod("api-1", "10.244.0.9", 0, workload=API)
    python, nginx = scene.process(web, "/usr/bin/python3", at=1.0), scene.process(api, "/usr/sbin/nginx", at=1.0)
    for number in range(90):
        port = 50_001 + number
        at = 10.0 + number
        scene.connect(python, "10.244.0.9", 8080, at, lasts=0.01, sent=100, received=900 + number, local_port=port)
        scene.accept(
            nginx,
            "10.244.0.1",
            8080,
            at,
            lasts=0.01,
            peer_port=port,
            sent=900 + number,
            received=100,
            local="10.244.0.9",
        )
        scene.accept(python, "10.7.7.7", 80, at, lasts=0.02, sent=30, received=10)
    scene.connect(python, "198.51.100.7", 443, 200.0, sent=50_000, received=500, names=["backup.example.com"])
    return scene


def _folded(scene: Scene) -> Scene:
    """The same as the kernel tells it: the first two of a kind in full, of the others one row for each minute."""
    kept: list[Row] = []
    seen: dict[Any, dict[int, Row]] = {}
    folds: dict[Any, Row] = {}
    for row in sorted(scene.rows["connection"], key=lambda row: row["time"]):
        incoming = row["flag_names"] == "INCOMING"
        kind = row["exec_tgid"], row["peer_address"], row["local_port" if incoming else "peer_port"], incoming
        first = seen.setdefault(kind, {}).setdefault(row["cookie"], row)
        if list(seen[kind]).index(row["cookie"]) < 2 or row["peer_address"].startswith("198."):
            kept.append(row)
        elif row["event"] == "close":
            _count(folds, (*kind, first["time"].minute), first, row)
    scene.rows["connection"] = kept + list(folds.values())
    return scene


def _count(folds: dict[Any, Row], key: Any, first: Row, end: Row) -> None:
    last = {"folded_until": first["time"], "folded_last": first["ktime"]}
    if key not in folds:
        made = {"event": "folded", "time": first["time"], "ktime": first["ktime"], "folded_count": 1}
        folds[key] = end | made | last
        return
    row = folds[key]
    sums = ("bytes_sent", "bytes_received", "segments_sent", "segments_received", "retransmits")
    row |= last | {name: row[name] + end[name] for name in sums}
    row["duration"], row["folded_count"] = max(row["duration"], end["duration"]), row["folded_count"] + 1


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Each connection with its own rows; and folded."""
    folder = tmp_path_factory.mktemp("histories")
    return _scene().write(folder / "full", kept=True), _folded(_scene()).write(folder / "folded", kept=True)


def _like(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(({k: v for k, v in row.items() if k not in UNLIKE} for row in found), key=str)


@pytest.mark.parametrize(
    "words",
    [
        *(("talkers", by) for by in ("workload", "pod", "process")),
        ("map",),
        ("map", "--all"),
        ("exposed",),
        ("lateral", "--all", "--since", "2026-03-01T12:00:02Z"),
        ("exfiltration", "--threshold", "0", "--since", "2026-03-01T12:00:02Z"),
        ("beacons",),
        ("listening",),
    ],
    ids=" ".join,
)
def test_the_questions_count_the_same(histories: tuple[Path, Path], words: tuple[str, ...]) -> None:
    """Law: rows, but for which socket one of many was, do not differ; nor does the sentence."""
    full, folded = (ask(history, *words) for history in histories)
    assert _like(full["rows"]) == _like(folded["rows"])
    assert full["answer"] == folded["answer"]
    assert full["completeness"]["folded_connections"] == 0
    assert folded["completeness"]["folded_connections"] == 3 * 88


def test_connected_counts_them(histories: tuple[Path, Path]) -> None:
    """Law: the sentence counts connections, the rows stand for them and say so."""
    full, folded = (ask(history, "connected", "10.244.0.9") for history in histories)
    assert full["answer"] == folded["answer"] and full["answer"].startswith("Yes: 90 of 271 connections match")
    sums: Callable[[dict[str, Any], str], int] = lambda found, name: sum(row[name] for row in found["rows"])  # noqa: E731
    assert sums(full, "bytes_received") == sums(folded, "bytes_received")
    assert sum(row["folded_count"] or 1 for row in folded["rows"]) == 90
    assert {row["outcome"] for row in folded["rows"]} == {"established"}
    many = [row["folded"] for row in folded["rows"] if row["folded"]]
    assert many == ["x 48 until 12:00:59.002", "x 40 until 12:01:39.002"]
    shown = [told(history, "connected", "10.244.0.9") for history in histories]
    assert "x 48 until 12:00:59.002" in shown[1] and "folded" not in shown[0]


def test_a_row_that_reaches_into_the_window_is_in_it(histories: tuple[Path, Path]) -> None:
    """Law: one begun before the window and counting in it is found, and judged; after its last one it is not."""
    window = ("--since", "2026-03-01T12:00:30Z", "--until", "2026-03-01T12:00:40Z")
    found = ask(histories[1], "connected", "10.244.0.9", *window)
    assert found["answer"].startswith("Yes: 48 of 144 connections match")
    assert found["completeness"]["folded_connections"] == 144 and found["completeness"]["complete"]
    later = ask(histories[1], "talkers", "--since", "2026-03-01T12:01:45Z", "--until", "2026-03-01T12:02:40Z")
    assert not later["rows"] and later["completeness"]["folded_connections"] == 0


def test_they_are_shown_as_many(histories: tuple[Path, Path]) -> None:
    """Law: a moment of `timeline` says how many and until when, and the answer how many folded."""
    moments = [row["detail"] for row in rows(histories[1], "timeline", "--pod", "web-1", "--limit", "1000")]
    assert [text for text in moments if text.startswith("→ 10.244.0.9:8080") and "x 48 until 12:00:59.002" in text]
    assert "264 equal short connections folded into rows that count them" in told(histories[1], "talkers")


def test_what_is_not_yet_told_is_no_silence(tmp_path: Path) -> None:
    """Law: while observing goes on, the newest part is not complete for who asks about connections; for processes it is."""
    scene = _folded(_scene())
    scene.rows["observer"] = [row | {"event": row["event"].replace("stop", "alive")} for row in scene.rows["observer"]]
    history = scene.write(tmp_path / "history")
    since = datetime.isoformat(scene.at(2)) + "/"
    window = ("--since", since.strip("/"), "--until", datetime.isoformat(scene.at(594)))
    told_of = ask(history, "talkers", *window)["completeness"]["reasons"]
    folded = (
        f"equal short connections since 2026-03-01T12:08:57.000Z on {scene.node} may not be told yet (setting folding)"
    )
    assert told_of == [folded]
    later = (*window[:3], datetime.isoformat(scene.at(599)))
    flows = f"attempts to connect and flows of datagrams since 2026-03-01T12:09:55.000Z on {scene.node} may not be recorded yet"
    assert ask(history, "talkers", *later)["completeness"]["reasons"] == [folded, flows]
    assert not ask(history, "processes", *window)["completeness"]["reasons"]
