"""The OCI image: what is in it, and that it observes as a pod with the mounts and rights of deploy/daemonset.yaml and no others."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.image import layout, packages
from firsthand.confine import wall
from firsthand.probe import pins
from tests import wheel
from tests.kernel import roles
from tests.pods.inside import Ended, Node, blind_spots
from tests.pods.kubelet import MadeContainer
from tests.pods.manifest import NODE, PodManifest

pytestmark = [pytest.mark.xdist_group("runtimes"), pytest.mark.landing("makes the image")]

#: Bytes of the tar that is pushed and pulled.
MOST = 160_000_000
_IMPORT_ALL = """
import importlib, pkgutil, firsthand
for one in pkgutil.walk_packages(firsthand.__path__, "firsthand."):
    if not one.name.endswith("__main__"):
        importlib.import_module(one.name)
        print(one.name)
"""


@pytest.fixture(scope="module")
def contents(image: Path) -> dict[str, tarfile.TarInfo]:
    """Every file of the image's layers by name."""
    found = {}
    with tarfile.open(image) as tar:
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
        (one,) = index["manifests"]
        manifest = json.load(tar.extractfile(_blob(one["digest"])))  # type: ignore[arg-type]
        for one in manifest["layers"]:
            with tarfile.open(fileobj=tar.extractfile(_blob(one["digest"])), mode="r:gz") as layer:
                found.update({entry.name: entry for entry in layer})
    return found


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def test_it_holds_what_runs_and_nothing_else(image: Path, contents: dict[str, tarfile.TarInfo]) -> None:
    """One interpreter, our command and what a canary executes: no shell, no compiler, no package manager; small."""
    programs = {name for name, one in contents.items() if Path(name).parent.name in ("bin", "sbin") and not one.isdir()}
    assert {Path(name).name for name in programs} == {packages.PYTHON, "true", "firsthand"}
    assert not [name for name in contents if Path(name).name in ("pip", "ensurepip", "cc1", "gcc", "apt")]
    assert image.stat().st_size < MOST
    assert all(one.mtime == one.uid == one.gid == 0 for one in contents.values())
    assert "usr/share/doc/libc6/copyright" in contents and "var/lib/dpkg/status.d/libc6" in contents


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    """A layer that is made twice, in two places at two times, is one: nodes fetch only what has changed."""
    made = []
    for name in ("first", "second"):
        packages.fill_program(tmp_path / name, wheel.built())
        made.append(layout.layer(tmp_path / f"{name}.tar.gz", layout.members(tmp_path / name)))
    assert made[0].digest == made[1].digest and made[0].diff_id != made[0].digest


class ImageScene:
    """The pod beside another one; stopped at the end. What it answered while it ran is kept."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.early = node.kubelet.pod("early").run("app", "/bin/sleep", "600")
        self.pod = node.manifest().pod(node.kubelet, "firsthand-x7k2p")
        self.made = node.ready(node.start(node.manifest(), self.pod, *node.words))
        self.pid = Ended(self.made).pid
        self._act()
        self._look()
        self.code = self.made.stop(60)

    def _act(self) -> None:
        run = self.node.daemon.cgroup.run
        self.host = [run(["/bin/true", f"host {number}"]) for number in range(50)]
        assert all(child.wait() == 0 for child in self.host)
        self.web = self.node.kubelet.pod("web", "shop").run(
            "app", "/bin/sleep", "601", add=["NET_ADMIN"], drop=["CHOWN"]
        )
        web = Ended(self.web).pid
        lines = Path(f"/proc/{web}/status").read_text().splitlines()
        self.web_status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        self.web_namespaces = {one.name: one.stat().st_ino for one in Path(f"/proc/{web}/ns").iterdir()}
        self.web_pid = web
        for made in (self.web, self.early, self.made):
            self.node.wait_for(f"SELECT 1 FROM container WHERE event = 'named' AND container = '{made.id}'")

    def _look(self) -> None:
        self.privileged = self.made.exec("firsthand", "ask", "privileged", "--json", "--require-complete")
        self.status = self.made.exec("firsthand", "status", "--check")
        self.doctor = self.made.exec("firsthand", "doctor")
        self.imported = self.made.exec(f"/usr/bin/{packages.PYTHON}", "-c", _IMPORT_ALL)
        self.roles = {role: _status(pid) for role, pid in roles.pids(self.pid).items()}
        self.supervisor = _status(self.pid)


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.fixture(scope="module")
def scene(node: Node) -> Iterator[ImageScene]:
    """Played once."""
    yield ImageScene(node)
    node.forget()


def test_processes_of_the_scope_and_of_pods_are_recorded(scene: ImageScene) -> None:
    """Each by what it is, those of pods by name; what ran before is seen; nothing is lost."""
    rows = scene.node.rows(
        "SELECT args[2] AS word, node, container FROM process WHERE event = 'exec' AND args[1] = '/bin/true'"
    )
    assert sorted(row["word"] for row in rows) == sorted(f"host {number}" for number in range(50))
    assert {(row["node"], row["container"]) for row in rows} == {(NODE, None)}
    query = "SELECT DISTINCT container, pod, namespace, container_name FROM process WHERE args[1] = '/bin/sleep'"
    assert {tuple(row.values()) for row in scene.node.rows(query)} == {
        (scene.web.id, "web", "shop", "app"),
        (scene.early.id, "early", "default", "app"),
    }
    seen = scene.node.rows("SELECT pod FROM process WHERE event = 'seen' AND args[1] = '/bin/sleep'")
    assert seen == [{"pod": "early"}]
    assert scene.node.rows("SELECT * FROM loss") == []


def test_columns_agree_with_proc(scene: ImageScene) -> None:
    """Of a container's process, as /proc shows it on the host."""
    query = f"SELECT * FROM process WHERE event = 'exec' AND container = '{scene.web.id}' AND args[1] = '/bin/sleep'"
    (row,) = scene.node.rows(query)
    told = scene.web_status
    assert (row["pid"], row["exe"]) == (scene.web_pid, "/bin/busybox")
    assert [str(row[name]) for name in ("uid", "euid", "suid", "fsuid")] == told["Uid"].split()
    sets = {"cap_inheritable": "CapInh", "cap_permitted": "CapPrm", "cap_effective": "CapEff", "cap_bounding": "CapBnd"}
    assert {name: row[name] for name in sets} == {name: int(told[text], 16) for name, text in sets.items()}
    spaces = {"ns_mount": "mnt", "ns_uts": "uts", "ns_ipc": "ipc", "ns_net": "net", "ns_pid": "pid", "ns_user": "user"}
    assert {name: row[name] for name in spaces} == {name: scene.web_namespaces[text] for name, text in spaces.items()}
    assert row["namespace_pid"] == 1


def test_it_answers_inside(scene: ImageScene) -> None:
    """Questions, health and the doctor, by `kubectl exec`; whose pod it is itself, it knows as well."""
    assert scene.status.exit_code == 0, scene.status.stdout.decode()
    assert scene.privileged.exit_code == 0, scene.privileged
    answer = json.loads(scene.privileged.stdout)
    assert answer["completeness"]["complete"]
    found = {row["pod"]: row for row in answer["rows"]}
    assert set(found) == {"web", "firsthand-x7k2p"}
    assert set(found["firsthand-x7k2p"]["beyond"]) == {"bpf", "net_admin", "perfmon"} and found["web"]["beyond"] == [
        "net_admin"
    ]
    assert scene.doctor.exit_code == 0 and b"is being read" in scene.doctor.stdout, scene.doctor.stdout.decode()


def test_everything_of_firsthand_can_be_imported(scene: ImageScene) -> None:
    """No module lacks what it needs."""
    assert scene.imported.exit_code == 0, scene.imported.stderr.decode()
    names = {str(path.relative_to(wheel.ROOT / "src").with_suffix("")).replace("/", ".") for path in wheel.sources()}
    assert set(scene.imported.stdout.decode().split()) >= {name for name in names if "__" not in name}


def test_the_wall_stands_inside(scene: ImageScene) -> None:
    """The supervisor has what the manifest says and no more, the others are users of their own without any capability, behind a filter
    of system calls: the dissector behind two, its own and the closer one that it puts on when it has begun."""
    declared = sum(1 << _bit(name) for name in PodManifest().capabilities)
    assert {int(scene.supervisor[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {declared}
    assert scene.supervisor["NoNewPrivs"] == "1" and scene.supervisor["Seccomp"] == "2"
    users = {role: status["Uid"].split()[0] for role, status in scene.roles.items()}
    own = {role: str(wall.number(role)) for role in ("observer", "keeper", "dissector")}
    assert users == own | {"follower": "0"}
    for role, status in scene.roles.items():
        assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}, role
        own_filters = int(status["Seccomp_filters"]) - int(scene.supervisor["Seccomp_filters"])
        assert own_filters == (2 if role == "dissector" else 1), role


def _bit(name: str) -> int:
    from firsthand.schema import capability

    return capability.NAMES.index(name.lower())


def test_its_end_leaves_nothing(scene: ImageScene) -> None:
    """As the kubelet stops it: the rings drained, exit code 0, neither pins nor cgroups left, the head outside."""
    assert scene.code == 0, scene.made.log
    assert "none lost" in scene.made.log and "canaries" not in scene.made.log
    assert blind_spots(scene.made.log) == set()
    assert not pins.folder_of(scene.node.instance).exists()
    assert not [path for folder in scene.node.daemon.cgroup.folders for path in folder.rglob("firsthand-canary-*")]
    (heads,) = (scene.node.place / "heads").glob("heads-*.jsonl")
    assert heads.read_text().count('"head"') >= 1


@pytest.fixture
def started(node: Node) -> Iterator[MadeContainer]:
    """One that runs, on an empty history."""
    node.forget()
    pod = node.manifest().pod(node.kubelet, "firsthand-q9w8e")
    yield node.ready(node.start(node.manifest(), pod, *node.words))
    pod.remove()
    node.forget()


def test_a_restart_takes_over(node: Node, started: MadeContainer) -> None:
    """Killed with everything in it, and started again by the kubelet: what happened meanwhile is there, once."""
    assert started.stop(0) == 137
    assert pins.folder_of(node.instance).exists()
    for number in range(100):
        assert node.daemon.cgroup.run(["/bin/true", f"between {number}"]).wait() == 0
    again = node.ready(node.start(node.manifest(), started.pod, *node.words))
    assert again.stop(60) == 0, again.log
    rows = node.rows("SELECT args[2] AS word FROM process WHERE event = 'exec' AND args[2] LIKE 'between %'")
    assert sorted(row["word"] for row in rows) == sorted(f"between {number}" for number in range(100))
    events = [
        row["event"]
        for row in node.rows("SELECT event FROM observer WHERE instance = '" + node.instance + "' ORDER BY time")
    ]
    assert events.count("start") == 1 and events.count("resume") == 1 and events[-1] == "stop"
    assert node.rows("SELECT * FROM loss") == []


def test_the_runtime_restarts(node: Node, started: MadeContainer) -> None:
    """Its socket is made anew: the pod, which has the folder, finds it, and names come again."""
    node.daemon.stop()
    (node.daemon.folder / "socket").unlink(missing_ok=True)
    node.wait_for("SELECT 1 FROM observer WHERE event = 'runtime' AND settings LIKE '%gone%'")
    node.daemon.start()
    node.kubelet.again()
    after = node.kubelet.pod("after").run("app", "/bin/sleep", "602")
    node.wait_for(f"SELECT 1 FROM container WHERE event = 'named' AND container = '{after.id}' AND pod = 'after'")
    assert started.exec("firsthand", "status", "--check").exit_code == 0


def test_settings_of_the_config_map_are_applied(node: Node, started: MadeContainer) -> None:
    """A change is taken in while it runs; a wrong one is said."""
    settings = node.place / "config/config.toml"
    assert b"/run/containerd/containerd.sock" in started.exec("firsthand", "config", "show").stdout
    settings.write_text(settings.read_text() + "[retention]\ndays = 7\n")
    _said(started, "the keeper started anew")
    settings.write_text("[retention]\ndays = true\n")
    _said(started, "the settings in force are kept")


def _said(made: MadeContainer, text: str) -> None:
    ended = Ended(made)
    while text not in made.log:
        assert not ended(0.02), made.log
    ended.close()


def test_mounts_of_what_ended_are_not_held(node: Node, started: MadeContainer) -> None:
    """The runtime's folder shows the root of every container that ran before: one that ends is let go."""
    other = node.kubelet.pod("ends")
    container = other.run("app", "/bin/sleep", "600").id
    made = started.stop(60) or node.ready(node.start(node.manifest(), started.pod, *node.words))
    mounts = Path(f"/proc/{Ended(made).pid}/mountinfo")
    assert container in mounts.read_text()
    other.remove()
    assert container not in mounts.read_text()
