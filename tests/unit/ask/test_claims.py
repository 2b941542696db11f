"""Claims of cgroups' paths in answers (law 4): marked in every row, counted, and a reason where the answer stands on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firsthand.ask.answering import Answer, Request, answer
from firsthand.ask.claims import OWNED
from firsthand.history.store.connection import History
from tests.asking import rows, told
from tests.samples import ALL
from tests.scenes import Scene

DAY = 86_400.0
FORGED = "f" * 64


class ClaimsWorld:
    """A machine with one pod, whose runtime told where it is; more is put into it by cgroup."""

    def __init__(self, directory: Path, *, runtime: bool = True) -> None:
        self.directory = directory
        self.scene = Scene()
        self.scene.observed(-1, DAY)
        self.pod = self.scene.pod("web", "10.0.0.2")
        self.at = f"/kubepods/besteffort/pod{self.pod.uid}/{self.pod.container}"
        named = [row for row in self.scene.rows["container"] if row["container"] == self.pod.container]
        for row in named:
            row["cgroup_path"] = self.at
        if not runtime:
            del self.scene.rows["container"], self.scene.rows["pod"]
        self.run("/bin/web", self.at)

    def run(self, exe: str, cgroup: str, container: str | None = None, uid: str | None = None) -> dict[str, Any]:
        """A program in a cgroup whose path names a container, by default the pod's, or only the pod `uid`."""
        self.scene.process(self.pod, exe, at=5.0 + self.scene._number, capabilities=ALL)
        row = self.scene.rows["process"][-1]
        own = None if uid else container or self.pod.container
        row |= {"container": own, "pod_uid": uid or self.pod.uid, "cgroup_path": cgroup, "claimed": True}
        return row

    def contradict(self, cgroup: str) -> None:
        """As the follower tells it."""
        reason = f"its runtime has it in {self.at}"
        words = {"container": self.pod.container, "cgroup_path": cgroup, "reason": reason}
        self.scene.add("container", 6.0, event="contradicted", **words)

    def ask(self, question: str, *arguments: str, kept: bool = False, **more: Any) -> Answer:
        """An answer from the whole history."""
        self.scene.write(self.directory, kept=kept)
        return answer(History(self.directory), Request(question, arguments, **more), self.scene.at(DAY))


@pytest.fixture(params=[False, True], ids=["in the log", "in segments"])
def kept(request: pytest.FixtureRequest) -> bool:
    """Where the history has its rows."""
    return bool(request.param)


def _claimed(found: Answer) -> dict[str, Any]:
    return {row["exe"]: (row["claimed"], row["pod"]) for row in found.found.rows}


def test_what_a_runtime_confirmed_is_no_claim(tmp_path: Path, kept: bool) -> None:
    """Law: a runtime's word on the place makes it so for the container, for what is below, and for the pod's own cgroup."""
    world = ClaimsWorld(tmp_path / "h")
    world.run("/bin/inner", f"{world.at}/inner")
    world.run("/bin/pods", world.at.rpartition("/")[0], uid=world.pod.uid)
    found = world.ask("processes", kept=kept)
    assert _claimed(found) == dict.fromkeys(("/bin/web", "/bin/inner", "/bin/pods"), (False, "web"))
    for question in ("privileged", "containers", "pods", "unknown"):
        found = world.ask(question, kept=kept)
        assert found.completeness.complete, (question, found.completeness.reasons)
        assert "claimed" not in found.sentence and "path alone" not in found.sentence
    assert world.ask("unknown", kept=kept).found.total == 0


def test_an_id_that_no_runtime_knows(tmp_path: Path, kept: bool) -> None:
    """Law: it has no name, is marked, counted, and a row of `unknown`; it accuses nobody."""
    world = ClaimsWorld(tmp_path / "h")
    world.run("/bin/evil", f"/kubepods/besteffort/pod{world.pod.uid}/{FORGED}", FORGED)
    assert _claimed(world.ask("processes", kept=kept)) == {"/bin/web": (False, "web"), "/bin/evil": (True, None)}
    (row,) = world.ask("unknown", kept=kept).found.rows
    assert (row["container"], row["why"]) == (FORGED, "no name")
    for question in ("containers", "images"):
        found = world.ask(question, kept=kept)
        assert "; 1 more is claimed by a cgroup's path alone" in found.sentence and not found.completeness.complete
    found = world.ask("privileged", kept=kept)
    assert [row["claimed"] for row in found.found.rows] == [True] and "path alone" in found.sentence


def test_the_id_of_another_container(tmp_path: Path, kept: bool) -> None:
    """Law: what a runtime has elsewhere has not its name, and the contradiction is a row of `unknown` and a reason."""
    world = ClaimsWorld(tmp_path / "h")
    forged = f"/evil/kubepods/besteffort/pod{world.pod.uid}/{world.pod.container}"
    world.run("/bin/evil", f"{forged}/below")
    world.contradict(forged)
    assert _claimed(world.ask("processes", kept=kept)) == {"/bin/web": (False, "web"), "/bin/evil": (True, None)}
    (row,) = world.ask("unknown", kept=kept).found.rows
    assert row["why"] == f"contradicted: its runtime has it in {world.at}" and row["binaries"] == ["/bin/evil"]
    found = world.ask("processes", kept=kept, pod="web")
    assert any("its runtime has elsewhere" in reason for reason in found.completeness.reasons)
    assert not found.completeness.complete


def test_what_is_named_and_not_confirmed(tmp_path: Path, kept: bool) -> None:
    """Law: the name of a known id stands there, marked, and an answer by names is not complete."""
    world = ClaimsWorld(tmp_path / "h")
    world.run("/bin/other", f"/elsewhere/{world.pod.container}")
    assert _claimed(world.ask("processes", kept=kept)) == {"/bin/web": (False, "web"), "/bin/other": (True, "web")}
    (row,) = world.ask("unknown", kept=kept).found.rows
    assert row["why"] == "not confirmed"
    found = world.ask("processes", kept=kept, pod="web")
    assert any("named by the path alone" in reason for reason in found.completeness.reasons)
    assert "web/app?" in "".join(world.ask("tree", kept=kept).found.lines or [])


def test_a_machine_without_a_runtime(tmp_path: Path, kept: bool) -> None:
    """Law: questions that do not go by names stay complete; one about the host is not, since a claim may be the host's."""
    world = ClaimsWorld(tmp_path / "h", runtime=False)
    for question, arguments in (("processes", ()), ("connected", ("10.9.9.9",)), ("beacons", ()), ("tree", ())):
        found = world.ask(question, *arguments, kept=kept)
        assert found.completeness.complete, (question, found.completeness.reasons)
    found = world.ask("tree", "host", kept=kept)
    assert any("may be the host's" in reason for reason in found.completeness.reasons)


def test_a_history_of_before(tmp_path: Path, kept: bool) -> None:
    """Law: rows that do not say whether they are claims have no mark and no reason."""
    world = ClaimsWorld(tmp_path / "h")
    for row in world.scene.rows["process"]:
        del row["claimed"]
    found = world.ask("privileged", kept=kept)
    assert found.completeness.complete and not any(row["claimed"] for row in found.found.rows)


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pod that only a cgroup's path names, which does everything that a question shows."""
    scene = Scene()
    scene.observed(0, 5000)
    pod = scene.pod("web", "10.1.0.5", 1)
    scene.pod("db", "10.1.0.6", 1)
    process = scene.process(pod, "/bin/evil", [], 6, capabilities=ALL)
    scene.ask(process, "bad.example", ["203.0.113.9"], 7)
    cookie = scene.connect(process, "203.0.113.9", 443, 8, names=["bad.example"])
    scene.request(process, cookie, "203.0.113.9", 443, 8.1, sni="bad.example", protocol="tls")
    scene.listen(process, "0.0.0.0", 8080, 9)
    scene.accept(process, "198.51.100.9", 8080, 10)
    scene.connect(process, "10.1.0.6", 5432, 3000)
    scene.connect(process, "198.51.100.200", 443, 3001, sent=900_000_000, lasts=60.0)
    for beat in range(30):
        scene.connect(process, "203.0.113.77", 8443, 100 + beat * 60.0, sent=200, received=100, lasts=0.05)
    for table in OWNED:
        for row in scene.rows.get(table, []):
            row.update(claimed=True, cgroup_path=f"/kubepods/pod{pod.uid}/{pod.container}", runtime=None)
    return scene.write(tmp_path_factory.mktemp("forged"))


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (("processes",), "web/app?"),
        (("tree",), "web/app?"),
        (("timeline",), "web?"),
        (("connected", "bad.example"), "web?"),
        (("talkers",), "shop/web?"),
        (("map",), "shop/web?"),
        (("listening",), "web?"),
        (("exposed",), "web?"),
        (("lateral",), "shop/web?"),
        (("beacons",), "shop/web?"),
        (("exfiltration", "--threshold", "0"), "shop/web?"),
        (("connected", "bad.example", "--tree"), "web/app?"),
    ],
    ids=lambda one: one[0] if isinstance(one, tuple) else "",
)
def test_each_question_marks_what_is_claimed(forged: Path, words: tuple[str, ...], shown: str) -> None:
    """Law: a table has a `?` behind the name; rows for programs have `claimed`, or the mark in the name itself."""
    assert shown in told(forged, *words)
    for row in rows(forged, *words):
        if row.get("pod") == "web" and row.get("table") not in (
            "container",
            "pod",
        ):  # those are the runtime's own words
            assert row["claimed"] is True, row


def test_the_question_of_one_process_has_it(forged: Path) -> None:
    """Law: `process` shows whole rows, with `claimed`."""
    key = next(row["exec_id"] for row in rows(forged, "processes"))
    assert all(row["claimed"] for row in rows(forged, "process", key) if row["pod"] == "web")
    assert "claimed" in told(forged, "process", key)
