"""`unknown`, `privileged`, `containers`: never "0, complete" while something ran apart from the host in no known container (law 11)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firsthand.ask.answering import Answer, Request, answer
from firsthand.history.store.connection import History
from tests.asking import ask, rows
from tests.samples import ALL
from tests.scenes import Scene

DAY = 86_400.0
EVERY = "mount uts ipc net pid cgroup time user"
INSIDE: dict[str, Any] = {"ns_pid": 4026532500, "host_namespaces": "time user", "file_device": "0:52"}
HOSTS: dict[str, Any] = {"ns_pid": 4026531836, "host_namespaces": EVERY, "file_device": "8:1"}
#: A systemd unit with a mount namespace of its own, on the host's file system.
HARDENED = HOSTS | {"host_namespaces": EVERY.removeprefix("mount ")}


class UnknownWorld:
    """A machine whose host runs a shell; more is put into it by cgroup."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.scene = Scene()
        self.scene.observed(-1, DAY)
        self.run("/system.slice/sshd.service", "/usr/bin/bash", HOSTS)
        self.run("/system.slice/resolved.service", "/usr/lib/resolved", HARDENED)

    def run(
        self, cgroup: str, exe: str, kind: dict[str, Any], event: str = "exec", capabilities: int = 0
    ) -> dict[str, Any]:
        """A program of the host's own in a cgroup."""
        self.scene.process(None, exe, at=10.0 + self.scene._number, event=event, capabilities=capabilities)
        row = self.scene.rows["process"][-1]
        row |= kind | {"cgroup_path": cgroup}
        return row

    def ask(self, question: str, kept: bool = False) -> Answer:
        """An answer from the whole history."""
        self.scene.write(self.directory, kept=kept)
        return answer(History(self.directory), Request(question), self.scene.at(DAY))


@pytest.fixture
def world(tmp_path: Path) -> UnknownWorld:
    """Nothing but the host."""
    return UnknownWorld(tmp_path / "history")


@pytest.mark.parametrize("question", ["unknown", "privileged", "containers"])
def test_a_host_alone_is_complete(world: UnknownWorld, question: str) -> None:
    """A hardened unit is the host: nothing is unknown, and that is proven."""
    found = world.ask(question)
    assert found.found.total == 0 and found.completeness.complete, found.completeness.reasons


@pytest.mark.parametrize("cgroup", ["/default/my-ctr-1", "/user.slice/app.scope", "/lxc.payload.web", "/"])
@pytest.mark.parametrize("question", ["unknown", "privileged", "containers"])
def test_another_pid_namespace_is_never_silence(world: UnknownWorld, question: str, cgroup: str) -> None:
    """Whatever the cgroup is called: a row of `unknown`, and a reason in the others."""
    world.run(cgroup, "/bin/sleep", INSIDE, capabilities=ALL)
    found = world.ask(question)
    if question == "unknown":
        (row,) = found.found.rows
        assert (row["cgroup_path"], row["why"], row["binaries"], row["programs"]) == (
            cgroup,
            "pid namespace",
            ["/bin/sleep"],
            1,
        )
        assert row["first"] == row["last"] and "1 cgroup" in found.sentence
    else:
        assert not found.completeness.complete
        assert any(cgroup in reason and "ask unknown" in reason for reason in found.completeness.reasons)


def test_another_root_file_system(world: UnknownWorld) -> None:
    """A container in the host's pid namespace is found by its binaries' file system; one mount namespace alone is not."""
    host_pid = INSIDE | {"ns_pid": HOSTS["ns_pid"], "host_namespaces": "pid time user"}
    world.run("/x/y", "/bin/sleep", host_pid)
    world.run("/x/z", "/bin/sleep", host_pid | {"file_device": "8:1"})
    assert [(row["cgroup_path"], row["why"]) for row in world.ask("unknown").found.rows] == [
        ("/x/y", "root file system")
    ]


def test_a_fork_without_an_exec(world: UnknownWorld) -> None:
    """It ran there, and is a row; one that became a container's program is that container's."""
    world.run("/plain", "/usr/bin/python3", INSIDE, event="fork")
    child = world.run("/conmon", "/usr/bin/crun", INSIDE, event="fork")
    execed = {"event": "exec", "exec_number": 9, "container": "a" * 64, "container_name": "web", "exe": "/bin/web"}
    world.scene.rows["process"].append(child | execed | {"cgroup_path": f"/libpod-{'a' * 64}.scope"})
    assert [row["cgroup_path"] for row in world.ask("unknown").found.rows] == ["/plain"]


def test_namespaces_that_are_not_known_are_not_judged(world: UnknownWorld) -> None:
    """A row of a history of before there were such columns."""
    world.run("/old", "/bin/old", {})
    assert world.ask("unknown").found.total == 0


@pytest.mark.parametrize("kept", [False, True])
def test_a_runtime_that_tells_the_cgroup_names_it(world: UnknownWorld, kept: bool) -> None:
    """A container whose id is a word: its rows and those below its cgroup are its own, in the tail and in segments."""
    world.scene.add("container", 1.0, event="create", cgroup_path="/default/my-ctr-1", cgroup_id=7)
    world.scene.add("container", 1.1, event="create", cgroup_path="/default/my-ctr-1/sub", cgroup_id=8)
    told = {
        "container": "my-ctr-1",
        "container_name": "my-ctr-1",
        "cgroup_path": "/default/my-ctr-1",
        "image": "busybox",
    }
    world.scene.add("container", 1.2, event="named", since=world.scene.at(1.0), state="running", **told)
    world.run("/default/my-ctr-1", "/bin/sleep", INSIDE, capabilities=ALL)
    world.run("/default/my-ctr-1/sub", "/bin/true", INSIDE)
    world.run("/default/my-ctr-10", "/bin/other", HOSTS)
    found = world.ask("privileged", kept)
    assert found.completeness.complete and [row["container"] for row in found.found.rows] == ["my-ctr-1"]
    with History(world.directory).connection() as connection:
        query = "SELECT cgroup_path, container, container_name, image FROM process WHERE cgroup_path LIKE '/default%' ORDER BY cgroup_path"
        assert connection.execute(query).fetchall() == [
            ("/default/my-ctr-1", "my-ctr-1", "my-ctr-1", "busybox"),
            ("/default/my-ctr-1/sub", "my-ctr-1", "my-ctr-1", "busybox"),
            ("/default/my-ctr-10", None, None, None),
        ]
    for question, total in (("unknown", 0), ("containers", 1)):
        again = answer(History(world.directory), Request(question), world.scene.at(DAY))
        assert again.found.total == total and again.completeness.complete


@pytest.mark.parametrize("kept", [False, True], ids=["in the log", "in a segment"])
def test_a_container_that_is_named_after_its_rows_were_kept(tmp_path: Path, kept: bool) -> None:
    """Law: its id is a word, and its rows were written as the host's: the runtime's later word counts for them all the same."""
    scene, later = Scene(), Scene()
    scene.observed(0, 100)
    for number in range(80):  # too many for a summary to keep all of them
        scene.process(None, f"/bin/tool-{number}", [], 5)
    for row in scene.rows["process"][40:]:
        row["cgroup_path"] = "/my-ctr-1"
    scene.write(tmp_path, kept=True)
    word = {"container": "my-ctr-1", "container_name": "my-ctr-1", "runtime": "containerd", "socket": "/s"}
    later.add("container", 50, event="named", since=later.at(1), cgroup_path="/my-ctr-1", **word)
    later.write(tmp_path, kept=kept)
    for condition in ("container=my-ctr-1", "container_name=my-ctr-1"):
        assert ask(tmp_path, "processes", condition)["answer"].startswith("Yes: 40 of 80 ")
    assert len(rows(tmp_path, "tree", "my-ctr-1")) == 40
    assert ask(tmp_path, "processes", "container=host")["answer"].startswith("Yes: 40 of 80 ")


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"container": "f" * 64, "pod_uid": None}, "1 container has an id and no name"),
        ({"claimed": True, "cgroup_path": "/evil/x"}, "1 cgroup is named by the path alone"),
    ],
    ids=["no name", "claimed"],
)
def test_what_began_before_the_window_is_not_known_either(tmp_path: Path, more: dict[str, Any], why: str) -> None:
    """Law: of a container that may be the one that is asked for, only connections lie in the window: no "No ... complete"."""
    scene = Scene()
    scene.observed(0, 1000)
    pod = scene.pod("web", "10.1.0.5", 1)
    process = scene.process(pod, "/bin/evil", [], 6)
    scene.connect(process, "203.0.113.9", 443, 600)
    for table in ("process", "connection"):
        for row in scene.rows[table]:
            row.update(more)
    scene.write(tmp_path)
    window = ("--since", "2026-03-01T12:05:00Z", "--until", "2026-03-01T12:15:00Z")
    for question in (
        ("connected", "203.0.113.9", "-n", "shop"),
        ("connected", "192.0.2.1", "--pod", "web"),
        ("exposed",),
    ):
        (reason,) = ask(tmp_path, *question, *window)["completeness"]["reasons"]
        assert reason.startswith(why), question
