"""Containers by a real containerd: whose each row is, what was brought in, what drifted, and who is privileged."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firsthand.schema import capability
from tests import asking, profile
from tests.kernel.observed import Observed
from tests.pods.containerd import AS_NOBODY, Container, OwnContainerd, new_id

pytestmark = pytest.mark.xdist_group("runtimes")

_KINDS = ("mnt", "uts", "ipc", "net", "pid", "cgroup", "user")
_COLUMNS = ("ns_mount", "ns_uts", "ns_ipc", "ns_net", "ns_pid", "ns_cgroup", "ns_user")


class ContainersScene:
    """Containers of every kind, what /proc said of them while they lived, and the record of it."""

    def __init__(self, containerd: OwnContainerd, history: Path) -> None:
        self.daemon = containerd
        self.pod = str(uuid.uuid4())
        self.early = containerd.container("/bin/sleep", "600")
        self.observed = Observed(history, [containerd.cgroup.path])
        with self.observed:
            self._act()

    def _act(self) -> None:
        run = self.daemon.container
        first, second = new_id(), new_id()
        self.plain = run("/bin/sleep", "601", identity=first, cgroup=self.daemon.path(first, self.pod))
        self.sibling = run("/bin/sleep", "602", identity=second, cgroup=self.daemon.path(second, self.pod))
        self.privileged = run("/bin/sleep", "603", options=["--privileged"])
        self.admin = run("/bin/sleep", "604", options=["--cap-add", "CAP_SYS_ADMIN"])
        dropped = [word for name in _ordinary() for word in ("--cap-drop", name)]
        self.bare = run("/bin/sleep", "605", options=dropped)
        self.user = run("/bin/sleep", "606", options=["--privileged"], image_name=AS_NOBODY)
        self.host_pid = run("/bin/sleep", "607", options=["--with-ns", "pid:/proc/self/ns/pid"])
        script = "cp /bin/busybox /tmp/true; /tmp/true drifted; /bin/true whole; sleep 608"
        self.drifting = run("/bin/sh", "-c", script)
        self.spelled = {name: self._spelled(name) for name in ("docker", "systemd", "libpod")}
        self.proc = {one.pid: _proc(one.pid) for one in (self.plain, self.privileged, self.bare, self.host_pid)}
        self.plain.exec("/bin/true", "entered")
        self.host_pid.exec("/bin/true", "entered too")
        self.early.exec("/bin/true", "entered early")
        outside = self.daemon.cgroup.run(["/bin/true", "on the host"])
        outside.wait()
        self.host = outside.pid

    def _spelled(self, name: str) -> Container:
        identity, uid = new_id(), str(uuid.uuid4())
        spelling = {
            "docker": f"system.slice/docker-{identity}.scope",
            "systemd": f"kubepods.slice/kubepods-pod{uid.replace('-', '_')}.slice/cri-containerd-{identity}.scope",
            "libpod": f"machine.slice/libpod-{identity}.scope/container",
        }[name]
        return self.daemon.container("/bin/true", identity=identity, cgroup=f"/{self.daemon.cgroup.name}/{spelling}")

    def process(self, pid: int, event: str = "exec") -> dict[str, Any]:
        """The last row of this event of a pid."""
        rows = self.observed.rows(f"SELECT * FROM process WHERE pid = {pid} AND event = '{event}' ORDER BY ktime")
        assert rows, f"no {event} of {pid}"
        return rows[-1]

    def with_args(self, *args: str) -> dict[str, Any]:
        """The one exec with these arguments."""
        listed = ", ".join(f"'{arg}'" for arg in args)
        (row,) = self.observed.rows(f"SELECT * FROM process WHERE event = 'exec' AND args = [{listed}]")
        return row


def _ordinary() -> list[str]:
    words = (
        "CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL"
    )
    return [f"CAP_{word}" for word in [*words.split(), "AUDIT_WRITE"]]


def _proc(pid: int) -> dict[str, Any]:
    """What proc(5) says of a process of ours."""
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    links = {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in _KINDS}
    numbers = {kind: int(re.sub(r"\D", "", link)) for kind, link in links.items()}
    return {
        "status": status,
        "ns": numbers,
        "cwd": os.readlink(f"/proc/{pid}/cwd"),
        "exe": os.readlink(f"/proc/{pid}/exe"),
    }


@pytest.fixture(scope="module")
def scene(containerd: OwnContainerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainersScene]:
    """Played once; the tests read its record."""
    yield ContainersScene(containerd, tmp_path_factory.mktemp("scene") / "history")


def test_every_row_has_its_container_and_pod(scene: ContainersScene) -> None:
    """Every row whose cgroup path lies in a container's has its id and its pod's uid; no other row has."""
    rows = scene.observed.rows(
        "SELECT container, pod_uid, cgroup_path FROM process WHERE cgroup_path LIKE '%/kubepods/%'"
    )
    assert len(rows) > 20
    for row in rows:
        pod, identity = row["cgroup_path"].split("/")[-2:]
        assert (row["container"], row["pod_uid"]) == (identity, pod.removeprefix("pod"))
    for one in (scene.plain, scene.sibling):
        row = scene.process(one.pid)
        assert (row["container"], row["pod_uid"], row["cgroup_path"]) == (one.id, scene.pod, one.cgroup)


def test_the_host_is_told_apart(scene: ContainersScene) -> None:
    """A process in no container's cgroup has no container."""
    row = scene.process(scene.host)
    assert (row["container"], row["pod_uid"], row["runtime"]) == (None, None, None)


@pytest.mark.parametrize(("name", "runtime"), [("docker", "docker"), ("systemd", "containerd"), ("libpod", "podman")])
def test_spellings_of_other_drivers(scene: ContainersScene, name: str, runtime: str) -> None:
    """Docker's, the systemd driver's and Podman's paths, as real cgroups."""
    one = scene.spelled[name]
    row = scene.process(one.pid)
    assert (row["container"], row["runtime"], row["cgroup_path"]) == (one.id, runtime, one.cgroup)
    assert (row["pod_uid"] is not None) == (name == "systemd")


def test_columns_are_as_proc_says(scene: ContainersScene) -> None:
    """Ids, capability sets, namespaces, working directory and binary of processes in containers."""
    for pid, proc in scene.proc.items():
        row, status = scene.process(pid), proc["status"]
        assert [row[name] for name in ("uid", "euid", "suid", "fsuid")] == [int(n) for n in status["Uid"].split()]
        assert [row[name] for name in ("gid", "egid", "sgid", "fsgid")] == [int(n) for n in status["Gid"].split()]
        sets = {
            "inheritable": "CapInh",
            "permitted": "CapPrm",
            "effective": "CapEff",
            "bounding": "CapBnd",
            "ambient": "CapAmb",
        }
        assert {k: row[f"cap_{k}"] for k in sets} == {k: int(status[v], 16) for k, v in sets.items()}
        assert [row[name] for name in _COLUMNS] == [proc["ns"][kind] for kind in _KINDS]
        assert row["namespace_pid"] == int(status["NSpid"].split()[-1])
        assert (row["cwd"], row["exe"]) == (proc["cwd"], proc["exe"])


def test_host_namespaces_are_named(scene: ContainersScene) -> None:
    """A container in the host's pid namespace shows it; an ordinary one shares only the user and time namespaces."""
    ours = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "user")}
    assert "pid" not in scene.process(scene.plain.pid)["host_namespaces"].split()
    row, host = scene.process(scene.host_pid.pid), scene.process(scene.host)
    assert row["ns_pid"] == int(re.sub(r"\D", "", ours["pid"])) == host["ns_pid"]
    assert ("pid" in row["host_namespaces"].split()) == ("pid" in host["host_namespaces"].split())
    assert not {"mount", "net", "ipc", "uts"} & set(scene.process(scene.plain.pid)["host_namespaces"].split())


def test_what_was_brought_in_is_flagged(scene: ContainersScene) -> None:
    """A process that the runtime put into a running container, and not the container's own."""
    for words in ("entered", "entered too", "entered early"):
        assert "ENTERED" in scene.with_args("/bin/true", words)["flag_names"]
    for one in (scene.plain, scene.privileged, scene.host_pid, scene.user):
        assert "ENTERED" not in (scene.process(one.pid)["flag_names"] or "")


def test_drift_is_flagged(scene: ContainersScene) -> None:
    """A binary that was written inside the container, and not the image's own."""
    drifted = scene.with_args("/tmp/true", "drifted")
    assert "DRIFT" in drifted["flag_names"] and drifted["exe"] == "/tmp/true"
    assert "DRIFT" not in (scene.with_args("/bin/true", "whole")["flag_names"] or "")


def test_the_runtime_inside_the_container_is_marked(scene: ContainersScene) -> None:
    """runc's init runs in the container's cgroup before the container's life; it is marked as no file of the container."""
    rows = scene.observed.rows(
        f"SELECT flag_names, exe, args FROM process WHERE event = 'exec' AND container = '{scene.plain.id}' ORDER BY ktime"
    )
    life = [row for row in rows if not {"MEMFD", "DETACHED"} & set((row["flag_names"] or "").split(","))]
    assert [row["args"] for row in life] == [["/bin/sleep", "601"], ["/bin/true", "entered"]]


def test_what_ran_before_is_seen(scene: ContainersScene) -> None:
    """A container that was there first."""
    row = scene.process(scene.early.pid, "seen")
    assert (row["container"], row["args"]) == (scene.early.id, ["/bin/sleep", "600"])


def test_privileged_names_exactly_them(scene: ContainersScene) -> None:
    """By what the processes hold: not the user's, who could only, and not the ordinary."""
    held = {row["container"]: row for row in asking.apart(scene.observed.history, "privileged")["rows"]}
    assert set(held) == {scene.privileged.id, scene.admin.id}
    assert held[scene.privileged.id]["all"] is True and held[scene.admin.id]["all"] is False
    assert held[scene.admin.id]["beyond"] == ["sys_admin"] and held[scene.admin.id]["binaries"] == ["/bin/busybox"]
    could = {
        row["container"]
        for row in asking.apart(scene.observed.history, "privileged", "--could")["rows"]
        if not row["held"]
    }
    assert could == {scene.user.id}


def test_capability_sets_of_one_image(scene: ContainersScene) -> None:
    """Each container's own."""
    assert scene.process(scene.bare.pid)["cap_permitted"] == 0
    assert scene.process(scene.user.pid)["cap_permitted"] == 0 != scene.process(scene.user.pid)["cap_bounding"]
    assert scene.process(scene.plain.pid)["cap_permitted"] not in (
        0,
        scene.process(scene.privileged.pid)["cap_permitted"],
    )


#: 100,000 processes where everything runs.
CONTAINERS, CHILDREN = 16, 6250 if profile.name() == profile.ALL else 1250


@pytest.mark.landing("20,000 processes")
def test_many_processes_in_16_containers(containerd: OwnContainerd, history: Path) -> None:
    """At full speed: the workload's own count is what was recorded and what was counted as lost; container and parent are right."""
    ids = [new_id() for _ in range(CONTAINERS)]
    with Observed(history, [containerd.cgroup.path]) as observed:
        running = [containerd.foreground(one, "/bin/spawn", one, str(CHILDREN)) for one in ids]
        counts = [[int(word) for word in one.communicate()[0].split()] for one in running]
    assert counts == [[CHILDREN, CHILDREN // 2, CHILDREN]] * CONTAINERS
    produced, lost = sum(map(sum, counts)), observed.lost()
    rows = observed.rows(
        """WITH spawner AS (SELECT container, exec_tgid, exec_start, exec_number, args[2] AS token FROM process
            WHERE event = 'exec' AND args[1] = '/bin/spawn')
        SELECT s.token, count(*) AS n, count(*) FILTER (c.container IS DISTINCT FROM s.token) AS strange,
            count(*) FILTER (c.event = 'exec' AND c.args <> ['spawn', s.token, 'end']) AS mistaken
        FROM process c JOIN spawner s ON (c.parent_tgid, c.parent_start, c.parent_number)
            = (s.exec_tgid, s.exec_start, s.exec_number) GROUP BY ALL"""
    )
    print(f"produced {produced}, recorded {sum(row['n'] for row in rows)}, lost {lost}")
    assert {row["token"] for row in rows} == set(ids)
    assert all(row["strange"] == row["mistaken"] == 0 for row in rows)
    recorded = sum(row["n"] for row in rows)
    assert recorded <= produced <= recorded + lost


def test_nothing_stays_behind(tmp_path: Path) -> None:
    """A daemon with a container comes and goes: mounts, cgroups and run files are as before."""
    from tests import require
    from tests.cgroups import TestCgroup

    require.containerd()
    before = _traces()
    folder = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:12]}"
    with TestCgroup() as cgroup, OwnContainerd(cgroup, folder) as one:
        one.container("/bin/sleep", "609")
        mine = {one for one in _traces() - before if cgroup.name in one or folder.name in one}
        assert any(one.startswith("/sys/fs/cgroup") for one in mine) and any("rootfs" in one for one in mine)
        (socket,) = one.sockets()
        assert socket.exists()
    others = ("firsthand-test-", "firsthand-canary-", "/sys/fs/bpf")  # other tests' begin and end meanwhile
    left = _traces() - before
    named = (cgroup.name, folder.name)
    assert [one for one in left if any(name in one for name in named) or not any(word in one for word in others)] == []
    assert not socket.exists()


def _traces() -> set[str]:
    mounts = {line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()}
    cgroups = {str(path) for path in Path("/sys/fs/cgroup").glob("*/firsthand-test-*")}
    return mounts | cgroups | {str(path) for path in Path("/var/tmp").glob("firsthand-test-*")}


def test_containers_of_a_containerd_without_cri(containerd: OwnContainerd, tmp_path: Path) -> None:
    """As nerdctl and ctr make them: by containerd's own store, the name that its user gave it, its image and privilege."""
    observed = Observed(
        tmp_path / "history", [containerd.cgroup.path], "--runtime", f"containerd:{containerd.folder}/socket"
    )
    with observed:
        made = containerd.container("/bin/sleep", "609", options=["--cap-add", "CAP_NET_ADMIN"])
        observed.wait(f"SELECT 1 FROM container WHERE event = 'named' AND container = '{made.id}'")
    (row,) = observed.rows(f"SELECT * FROM container WHERE event = 'named' AND container = '{made.id}' LIMIT 1")
    assert (row["container_name"], row["image"], row["runtime"]) == (
        made.id,
        "docker.io/firsthand/test:latest",
        "containerd",
    )
    assert "net_admin" in capability.names(row["cap_declared"]) and row["pod"] is None
    (named,) = observed.rows(f"SELECT DISTINCT container_name, image FROM process WHERE container = '{made.id}'")
    assert named == {"container_name": made.id, "image": "docker.io/firsthand/test:latest"}
    said = observed.rows("SELECT settings FROM observer WHERE event = 'runtime'")
    assert "without CRI" in said[0]["settings"]
    made.remove()
