"""Law 11: whatever goes by a pod's or a container's name is not complete while rows may be theirs that cannot be told to be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from firsthand.ask.answering import Request, answer, checked, from_connection
from firsthand.ask.registry import QUESTIONS
from firsthand.errors import UsageError
from firsthand.history.store.connection import History
from tests import profile
from tests.asking import ask, rows
from tests.samples import BOOT, NODE
from tests.scenes import Pod, Scene

INSIDE: dict[str, Any] = {"ns_pid": 4026532500, "host_namespaces": "time user", "file_device": "0:52"}
HOSTS: dict[str, Any] = {
    "ns_pid": 4026531836,
    "host_namespaces": "mount uts ipc net pid cgroup time user",
    "file_device": "8:1",
}
END = "2026-03-01T12:16:00Z"
OUT = "/user.slice/out"
#: The arguments without which a question is none.
_LEAST = {"connected": ("203.0.113.9",), "touched": ("/etc/shadow",)}
FILTERS: tuple[dict[str, str], ...] = ({"pod": "web"}, {"namespace": "shop"}, {"selector": "app=web"})


def _ways() -> list[Request]:
    """Each question that goes by a name, by each filter, its argument, or a condition."""
    filtered = [
        name for name, question in QUESTIONS.items() if "pod" in question.filters and name not in ("unknown", "process")
    ]
    found = [
        Request(name, _LEAST.get(name, ()), **FILTERS[number % len(FILTERS)]) for number, name in enumerate(filtered)
    ]
    found += [Request("tree", ("web",)), Request("timeline", ("shop/web",)), Request("containers", ("app",))]
    conditions = (
        "pod=web",
        "namespace!=shop",
        "container=app",
        "container_name~we",
        "image~x",
        "workload=shop/Pod/web",
    )
    found += [Request("processes", (one,)) for one in conditions]
    return found + [Request(name) for name in ("containers", "privileged", "pods", "images", "exposed", "lateral")]


WAYS = _ways()


class WhoseWorld:
    """A pod in which a program runs, and a host; observed for 1,000 seconds."""

    def __init__(self) -> None:
        self.scene = Scene()
        self.scene.observed(-1, 1000)
        host = self.scene.process(None, "/usr/bin/bash", [], 1)
        self.scene.rows["process"][-1] |= HOSTS | {"cgroup_path": "/system.slice/sshd.service"}
        self.pod: Pod = self.scene.pod("web", "10.1.0.5", 1, workload="shop/Pod/web")
        for table in ("pod", "container"):
            self.scene.rows[table][-1]["labels"] = ["app=web"]
        self.scene.rows["container"][-1]["image"] = "x/web:1"
        self.web = self.scene.process(self.pod, "/bin/web", [], 5)
        self.inner = self.scene.rows["process"][-1]
        self.inner |= INSIDE
        self.inner["cgroup_path"] = f"/kubepods/pod{self.inner['pod_uid']}/{self.inner['container']}"
        self.host = host

    def row(self, at: float, **more: Any) -> dict[str, Any]:
        """One more row of the host's own, of a child of the pod's program."""
        self.scene.process(None, "/bin/evil", [], at, parent=self.web)
        self.scene.rows["process"][-1] |= {"cgroup_path": OUT} | more
        return self.scene.rows["process"][-1]

    def moved(self, at: float, path: str = OUT, **more: Any) -> None:
        """The pod's program is moved into a cgroup."""
        keys = {name: self.inner[name] for name in ("exec_tgid", "exec_start", "exec_number")}
        self.scene.add("container", at, event="move", cgroup_path=path, cgroup_id=77, **keys, **more)

    def left(self, directory: Path, kept: bool = False) -> Path:
        """Its history."""
        return self.scene.write(directory, kept=kept)


def _reasons(directory: Path, *requests: Request) -> list[tuple[Request, list[str]]]:
    """Of each, without what a history of a quarter of an hour has no past for, and files that were not watched."""
    others = ("before the window's begin", "section files of the settings", "hooks at system calls")
    with History(directory).connection() as connection:
        answers = [
            (one, from_connection(connection, replace(one, since=Scene().at(0)), Scene().at(1000))) for one in requests
        ]
    return [
        (one, [why for why in found.completeness.reasons if not any(words in why for words in others)])
        for one, found in answers
    ]


@pytest.mark.parametrize("kept", [False, True], ids=["in the log", "in segments"])
def test_nothing_astray_is_complete(tmp_path: Path, kept: bool) -> None:
    """Law: where nothing left its cgroup every way to ask is complete."""
    WhoseWorld().left(tmp_path, kept)
    for request, reasons in _reasons(tmp_path, *profile.some(WAYS, len(WAYS), quick=4)):
        assert reasons == [], request


def _apart(world: WhoseWorld) -> str:
    world.row(6, **INSIDE)
    return f"1 program ran apart from the host and in no known container, in {OUT} (`firsthand ask unknown` lists them)"


def _astray(world: WhoseWorld) -> str:
    world.moved(6)
    return f"1 process left its container's cgroup and ran on in {OUT} (`firsthand ask unknown` lists them)"


def _into_another(world: WhoseWorld) -> str:
    other = world.scene.pod("other", "10.1.0.6", 1)
    path = f"/kubepods/pod{other.uid}/{other.container}"
    world.moved(6, path, container=other.container, pod_uid=other.uid)
    return f"1 process left its container's cgroup and ran on in {path} (`firsthand ask unknown` lists them)"


def _unplaced(world: WhoseWorld) -> str:
    world.row(6, **HOSTS | {"cgroup_path": None, "cgroup_id": 77})
    return "the path of 1 cgroup is not known: what ran in it may be of any container"


def _left(world: WhoseWorld) -> str:
    gone = {
        name: value
        for name, value in world.inner.items()
        if name not in ("time", "ktime", "seq", "event", "node", "boot", "cpu", "ring")
    }
    world.scene.add("process", 6, event="left", **gone)
    return "1 process left the scope: what was done then is not recorded"


def _no_name(world: WhoseWorld) -> str:
    world.row(6, container="f" * 64, cgroup_path=f"/x/{'f' * 64}")
    return "1 container has an id and no name (`firsthand ask unknown` lists them)"


@pytest.mark.parametrize("kept", [False, True], ids=["in the log", "in segments"])
@pytest.mark.parametrize("evasion", [_apart, _astray, _into_another, _unplaced, _left, _no_name])
def test_what_goes_by_a_name_is_not_complete(tmp_path: Path, evasion: Any, kept: bool) -> None:
    """Law: each way to go by a name says why rows may be missing."""
    world = WhoseWorld()
    why = evasion(world)
    world.left(tmp_path, kept)
    for request, reasons in _reasons(tmp_path, *profile.some(WAYS, len(WAYS), quick=4)):
        assert why in reasons, request
    plain = [
        Request("processes", ("exe~evil",)),
        Request("processes"),
        Request("tree"),
        Request("connected", ("203.0.113.9",)),
    ]
    assert not any(reasons for _, reasons in _reasons(tmp_path, *plain)), "what does not go by a name is not concerned"


def test_every_question_is_asked() -> None:
    """Law: each question that can be narrowed by a name is among the ways."""
    able = {name for name, one in QUESTIONS.items() if {"pod", "namespace"} & set(one.filters)} - {"unknown", "process"}
    assert able == {one.question for one in WAYS if one.pod or one.namespace or one.selector}
    for request in WAYS:
        checked(request)


def test_of_a_process_by_a_name(tmp_path: Path) -> None:
    """Law: `process` is narrowed by a name as well."""
    world = WhoseWorld()
    why = _astray(world)
    world.left(tmp_path)
    ((_, reasons),) = _reasons(tmp_path, Request("process", (str(world.inner["pid"]),), pod="web"))
    assert why in reasons


def test_where_it_is_listed(tmp_path: Path) -> None:
    """Law: `unknown` has it, with the container that it left, where it is, and what it and its children ran."""
    world = WhoseWorld()
    world.moved(6)
    child = world.row(7, event="fork", **HOSTS)
    world.scene.rows["process"].append(
        child | {"event": "exec", "time": world.scene.at(8), "ktime": child["ktime"] + 1, "exe": "/bin/late"}
    )
    world.left(tmp_path)
    (row,) = rows(tmp_path, "unknown")
    assert (row["cgroup_path"], row["why"], row["programs"], row["binaries"]) == (
        OUT,
        "left container web",
        2,
        ["/bin/evil", "/bin/late"],
    )
    assert ask(tmp_path, "unknown")["answer"].endswith("2 processes left their container's cgroup")


@pytest.mark.parametrize(
    ("since", "told"),
    [("2026-03-01T12:00:20Z", True), ("2026-03-01T12:02:00Z", False)],
    ids=["while it ran", "after its end"],
)
@pytest.mark.parametrize("evasion", [_apart, _astray])
def test_one_that_began_before_the_window(tmp_path: Path, evasion: Any, since: str, told: bool) -> None:
    """Law: it counts as long as it runs, and no longer."""
    world = WhoseWorld()
    why = evasion(world)
    last = world.scene.rows["process"][-1]
    end = {
        "event": "exit",
        "time": world.scene.at(60),
        "ktime": last["ktime"] + 10**12,
        "exit_code": 0,
        "duration": 10**9,
    }
    world.scene.rows["process"].append(last | end)
    world.left(tmp_path)
    found = ask(tmp_path, "processes", "--pod", "web", "--since", since, "--until", END)
    assert (why in found["completeness"]["reasons"]) is told


def test_one_that_came_back(tmp_path: Path) -> None:
    """Law: what it did outside is missing, also after it has come back; once it is back nothing more is."""
    world = WhoseWorld()
    world.moved(6)
    world.moved(20, world.inner["cgroup_path"], container=world.inner["container"], pod_uid=world.inner["pod_uid"])
    world.left(tmp_path)
    whole = ask(tmp_path, "processes", "--pod", "web")["completeness"]
    assert "left its container's cgroup" in whole["reasons"][0]
    assert ask(tmp_path, "processes", "--pod", "web", "--since", "2026-03-01T12:00:30Z", "--until", END)[
        "completeness"
    ]["complete"]


def test_what_a_runtime_moves_is_not_astray(tmp_path: Path) -> None:
    """Law: from the host into a container; within a container; into one nested in it."""
    world = WhoseWorld()
    world.moved(4.5, world.inner["cgroup_path"], container=world.inner["container"])
    world.moved(6, world.inner["cgroup_path"] + "/init.scope", container=world.inner["container"])
    world.moved(7, f"{world.inner['cgroup_path']}/docker/{'e' * 64}", container="e" * 64)
    early = world.scene.process(None, "/usr/sbin/runc", [], 4, parent=world.host)
    world.scene.rows["process"][-1] |= HOSTS | {"cgroup_path": "/system.slice/containerd.service"}
    world.scene.add("container", 4.6, event="move", cgroup_path="/system.slice/x.service", **early.image)
    world.left(tmp_path)
    assert ask(tmp_path, "processes", "--pod", "web")["completeness"]["reasons"] == []


def test_a_lost_cgroup(tmp_path: Path) -> None:
    """Law: where rows of cgroups were lost, what goes by a name is not complete; what does not is."""
    world = WhoseWorld()
    lost = {"node": NODE, "boot": BOOT, "table_name": "container", "cause": "malformed", "events": 1}
    world.scene.add("loss", 9, **lost, since=world.scene.at(8), until=world.scene.at(9))
    world.left(tmp_path)
    assert ask(tmp_path, "processes", "--pod", "web")["completeness"]["events_lost"] == 1
    assert ask(tmp_path, "processes")["completeness"]["complete"]


def test_no_name_is_no_usage_error(tmp_path: Path) -> None:
    """Law: a name that nobody ever had is refused before anything is judged."""
    world = WhoseWorld()
    _apart(world)
    world.left(tmp_path)
    with pytest.raises(UsageError, match="no pod named nobody"):
        answer(History(tmp_path), Request("processes", pod="nobody"))


def test_a_hardened_unit_alone_in_a_window(tmp_path: Path) -> None:
    """Law: its binary is from the host's own file system, whenever the host ran something from there."""
    world = WhoseWorld()
    world.row(500, **HOSTS | {"host_namespaces": HOSTS["host_namespaces"].removeprefix("mount ")})
    world.left(tmp_path)
    found = ask(tmp_path, "processes", "--pod", "web", "--since", "2026-03-01T12:08:00Z", "--until", END)
    assert found["completeness"]["complete"], found["completeness"]["reasons"]
