"""Law 11: every question, by every filter and argument, finds what each selected pod did, and no more; of nothing it says why.

Each pod of the world does each thing that a question is about once, so what a question finds is so much for each pod that is selected.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from firsthand.ask.answering import Request, from_connection
from firsthand.ask.registry import QUESTIONS
from firsthand.errors import UsageError
from firsthand.history.store.connection import History
from tests.samples import ALL
from tests.scenes import Pod, Process, Scene

DAY = 86_400.0
BAD = "known-bad.actorz.com"
#: Two days of past, and a day in which everything happens.
START, END = 2 * DAY, 3 * DAY


@dataclass(frozen=True)
class NamedMember:
    """A pod of the world: what can select it."""

    name: str
    namespace: str
    node: str
    labels: tuple[str, ...]

    @property
    def address(self) -> str:
        return f"10.244.{self.node[-1]}.{int(self.name[-1]) + 10}"


MEMBERS = tuple(
    NamedMember(
        f"pod-{number}",
        ("shop", "jobs")[number % 2],
        f"node-{1 + number // 3}",
        (f"app={'web' if number < 4 else 'db'}", f"n={number}"),
    )
    for number in range(6)
)
#: How many rows a question has for each pod that is selected.
EACH = {
    "processes": 1,
    "tree": 1,
    "privileged": 1,
    "pods": 1,
    "containers": 1,
    "connected": 2,  # the lookup, and the connection
    "listening": 1,
    "exposed": 1,
    "lateral": 1,
    "beacons": 1,
    "exfiltration": 1,
}
ARGUMENTS = {
    "connected": (BAD,),
    "touched": ("/etc/shadow",),
    "talkers": ("pod",),
    "map": ("pod",),
    "address": (MEMBERS[0].address,),
}


def _scene(node: str, number: int) -> Scene:
    scene = Scene(node=node, boot=f"{number}f2e3d4c-0000-4000-8000-123456789abc")
    scene._number = number * 10_000
    return scene


def _acts(scene: Scene, member: NamedMember, pod: Pod, process: Process) -> None:
    """Each thing once: a lookup and its connection, a door, a guest, a new edge to a pod, a beacon, a large upload."""
    number = int(member.name[-1])
    begin = START + 100.0 + number
    scene.ask(process, BAD, ["203.0.113.66"], begin)
    scene.connect(process, "203.0.113.66", 443, begin + 1, names=[BAD])
    scene.listen(process, "0.0.0.0", 8080, begin + 2)
    scene.accept(process, "198.51.100.9", 8080, begin + 3)
    scene.connect(process, "10.244.9.9", 5432, begin + 4)
    scene.connect(process, "198.51.100.200", 443, begin + 5, sent=900_000_000, lasts=60.0)
    for beat in range(30):
        scene.connect(process, "203.0.113.77", 8443, begin + 600 + beat * 60.0, sent=200, received=100, lasts=0.05)


def _write(directory: Path) -> Path:
    """Both nodes in one history, observed throughout."""
    scenes = {node: _scene(node, number) for number, node in enumerate(("node-1", "node-2", "node-3"), 1)}
    old = scenes["node-3"].pod("old-1", "10.244.3.3", 5.0, until=900.0, namespace="old")
    told = {
        key: value
        for key, value in scenes["node-3"].rows["container"][-1].items()
        if key not in ("time", "ktime", "event", "seq")
    }
    scenes["node-3"].add("container", 900.3, **(told | {"event": "gone", "until": scenes["node-3"].at(900.0)}))
    gone = scenes["node-3"].process(old, "/usr/bin/app", ["old"], 10.0, capabilities=ALL)
    scenes["node-3"].exit(gone, 800.0)
    scenes["node-3"].ask(gone, BAD, ["203.0.113.66"], 11.0)
    scenes["node-3"].connect(gone, "203.0.113.66", 443, 12.0, names=[BAD])
    scenes["node-3"].listen(gone, "0.0.0.0", 8080, 13.0, until=700.0)
    for scene in list(scenes.values())[:2]:
        scene.observed(-1, END)
        scene.pod("database", "10.244.9.9", 0, namespace="data")
        scene.rows["container"][-1]["labels"] = scene.rows["pod"][-1]["labels"] = []
    for member in MEMBERS:
        scene = scenes[member.node]
        pod = scene.pod(
            member.name, member.address, 0, namespace=member.namespace, workload=f"{member.namespace}/Pod/{member.name}"
        )
        scene.rows["pod"][-1]["labels"] = scene.rows["container"][-1]["labels"] = list(member.labels)
        process = scene.process(pod, "/usr/bin/app", [member.name], 1.0, capabilities=ALL)
        scene.connect(process, "198.51.100.200", 443, 10.0, sent=1_000)
        _acts(scene, member, pod, process)
    scenes["node-3"].observed(-1, END)
    whole, *others = scenes.values()
    for scene in scenes.values():
        scene.each_day()
    for table, rows in [pair for other in others for pair in other.rows.items()]:
        whole.rows.setdefault(table, []).extend(rows)
    return whole.write(directory, each_day=False)


SCENE = Scene()
NOW = SCENE.at(END)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The world's history."""
    tables = ("process", "connection", "name", "request", "container", "pod", "observer", "loss", "address")
    with History(_write(tmp_path_factory.mktemp("history"))).connection(materialised=tables) as found:
        yield found


#: Filters by what they are, and whom they select.
FILTERS: dict[str, list[tuple[dict[str, str], Any]]] = {
    "namespace": [({"namespace": name}, lambda m, name=name: m.namespace == name) for name in ("shop", "jobs")],
    "pod": [({"pod": one.name}, lambda m, one=one: m is one) for one in MEMBERS],
    "node": [({"node": name}, lambda m, name=name: m.node == name) for name in ("node-1", "node-2")],
    "selector": [
        ({"selector": "app=web"}, lambda m: "app=web" in m.labels),
        ({"selector": "app!=web,n"}, lambda m: "app=web" not in m.labels),
        ({"selector": "n in (1,4,9)"}, lambda m: m.name in ("pod-1", "pod-4")),
        ({"selector": "n,n notin (0,1,2,3,4)"}, lambda m: m.name == "pod-5"),
    ],
}


def _cases(count: int) -> list[tuple[str, tuple[str, ...], int]]:
    """A question, its filters and a choice among their values: every pair of question and filter, then pairs of filters by chance."""
    pairs = [(name, (kind,)) for name, one in QUESTIONS.items() for kind in one.filters if name in EACH]
    both = [(name, two) for name in EACH for two in itertools.combinations(FILTERS, 2)]
    chance = random.Random(7)
    found = [(name, kinds, chance.randrange(100)) for name, kinds in [*pairs, *chance.sample(both, 20)]]
    return found[: max(count, len(pairs))]


@pytest.mark.parametrize("question", list(EACH))
def test_a_question_finds_what_the_selected_did(connection: Any, question: str) -> None:
    """Law: by each filter, and by two: so many rows for each pod that is selected, all of them theirs, and complete."""
    for name, kinds, number in _cases(100):
        if name != question:
            continue
        chosen = [FILTERS[kind][number % len(FILTERS[kind])] for kind in kinds]
        words = {key: value for given, _ in chosen for key, value in given.items()}
        selected = [member for member in MEMBERS if all(takes(member) for _, takes in chosen)]
        if not selected:
            with pytest.raises(UsageError, match="nothing in this history is of all that"):
                _ask(connection, question, **words)
            continue
        found = _ask(connection, question, **words)
        extra = 1 if question in ("pods", "containers") and set(words) == {"node"} else 0  # the database on each node
        assert found.found.total == EACH[question] * len(selected) + extra, (
            question,
            words,
            found.sentence,
            found.found.rows[:3],
        )
        pods = {one for row in found.found.rows for one in _pods(row)}
        assert pods <= {member.name for member in selected} | {"database"}, (question, words)
        assert found.completeness.complete, (question, words, found.completeness.reasons)


def _pods(row: dict[str, Any]) -> set[str]:
    named = [row.get("pod")] if row.get("pod") else list(row.get("pods") or ())
    return {str(one).rpartition("/")[2] for one in named if one}


def _ask(connection: Any, question: str, **words: Any) -> Any:
    since = words.pop("since", SCENE.at(START) if QUESTIONS[question].compares else None)
    until = words.pop("until", NOW if since else None)
    return from_connection(connection, Request(question, ARGUMENTS.get(question, ()), since, until, **words), NOW)


@pytest.mark.parametrize("question", list(EACH))
@pytest.mark.parametrize("words", [{"pod": "old-1"}, {"namespace": "old"}], ids=["pod", "namespace"])
def test_who_is_held_for_another_time(connection: Any, question: str, words: dict[str, str]) -> None:
    """Law: of a pod that was gone before the window no question says "no": it says from when to when it is held."""
    found = _ask(connection, question, since=SCENE.at(START), until=NOW, **words)
    (name,) = words.values()
    assert found.found.total == 0 and found.sentence.startswith("Not in this window: nothing of "), found.sentence
    assert f" {name} is in the window; it is held from 2026-03-01T12:00:" in found.sentence


@pytest.mark.parametrize("question", [name for name, one in QUESTIONS.items() if one.filters])
def test_every_filter_refuses_whom_nobody_knows(connection: Any, question: str) -> None:
    """Law: each filter of each question, with a name that the history has never seen."""
    if question == "process":
        return
    for kind in QUESTIONS[question].filters:
        words = {kind: "app=nothing" if kind == "selector" else "nobody"}
        with pytest.raises(UsageError, match="is in this history"):
            from_connection(connection, Request(question, ARGUMENTS.get(question, ()), **words), NOW)


def test_the_coverage_of_filters_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Law: every declared filter of every question that has rows of pods is asked."""
    declared = {(name, kind, "=") for name in EACH for kind in QUESTIONS[name].filters}
    asked = {(name, kind, "=") for name, kinds, _ in _cases(100) for kind in kinds}
    with capsys.disabled():
        print(f"\n{len(asked & declared)} of {len(declared)} (question, filter, operator)")
    assert declared <= asked
