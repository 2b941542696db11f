"""Pods over CRI, made by the test: whose each row is by name, at once and after the grace, whatever the runtime does."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import pytest

from firsthand.history.store.connection import History
from firsthand.schema import capability
from tests import require
from tests.cgroups import TestCgroup
from tests.kernel import roles
from tests.kernel.observed import Observed
from tests.pods.containerd import OwnContainerd
from tests.pods.kubelet import Kubelet, KubeletPod, MadeContainer

pytestmark = pytest.mark.xdist_group("runtimes")

CHURN = 200
LIVES = 5_000
#: Values that a terminal, a shell, SQL, JSON or a log line might take for more than text.
HOSTILE = {
    "escape": "\x1b[2J\x1b]0;owned\x07",
    "newline": "a\nforged: line",
    "sql": "'; DROP TABLE process; --",
    "json": '"}],"complete":true',
    "bidirectional": "\u202egnp.exe\u2066",
    "equals": "=a=b=",
    "long": "x" * 3000,
    "empty": "",
}


class PodsScene:
    """Pods of every kind, and the record of them."""

    def __init__(self, containerd: OwnContainerd, history: Path) -> None:
        self.daemon = containerd
        self.truth: dict[str, tuple[str, str, str]] = {}
        with Kubelet(containerd) as self.kubelet:
            early = self.kubelet.pod("early")
            self.early = self._known(early.run("app", "/bin/sleep", "600"))
            self.observed = Observed(
                history, [containerd.cgroup.path], "--runtime", f"containerd:{containerd.folder}/socket"
            )
            with self.observed:
                self._act()
                self._told_gone("short", 2)
                self.alive = self._ask("privileged")
            self.uids = {pod.name: pod.uid for pod in self.kubelet.pods}

    def _known(self, made: MadeContainer) -> MadeContainer:
        self.truth[made.id] = (made.pod.name, made.pod.namespace, made.name)
        return made

    def _told_gone(self, pod: str, number: int) -> None:
        """Until the end of each of so many sandboxes and containers of a pod stands in the history."""
        query = f"SELECT DISTINCT container FROM container WHERE pod = '{pod}' AND event = 'gone'"
        self.observed.wait(query, number)

    def _act(self) -> None:
        pod = self.kubelet.pod
        labels = {"app": "web", "tier": "front", "pod-template-hash": "5d4c6b7f9"}
        self.web = pod("web-5d4c6b7f9-x2x4z", "shop", labels=labels)
        self.web_app = self._known(self.web.run("app", "/bin/sleep", "601"))
        self.batch = pod("batch-28000000-abcde", "shop", labels={"app": "batch", "job-name": "batch"})
        self.batch_app = self._known(self.batch.run("app", "/bin/sleep", "602", add=["NET_ADMIN"], drop=["CHOWN"]))
        self.root = pod("root", "kube-system", privileged=True)
        self._known(self.root.run("agent", "/bin/sleep", "603", privileged=True, mounts=[("/var/tmp", "/host", True)]))
        self.host = pod("host", "kube-system", host=["pid"])
        self._known(self.host.run("agent", "/bin/sleep", "604", host=["pid"]))
        self.ordered = pod("ordered")
        self._known(self.ordered.run("prepare", "/bin/true", "prepare").wait())
        self.ordered_app = self._known(self.ordered.run("app", "/bin/sleep", "605"))
        self._known(self.ordered.run("debugger", "/bin/sleep", "606", target=self.ordered_app.id))
        self.odd = pod("odd")
        self.odd_app = self._known(self.odd.run("app", "/bin/sleep", "607"))
        self._bring_in(self.odd_app)
        self.hostile = pod("hostile", annotations={"kubernetes.io/config.source": "file\x1b[0m"}, labels=HOSTILE)
        self._known(self.hostile.run("app", "/bin/true", "hostile").wait())
        short = pod("short")
        self.short = self._known(short.run("flash", "/bin/sleep", "0.05"))
        self.short_address = short.address
        self.short.wait()
        short.remove()
        self.web_app.exec("/bin/true", "entered")
        self.early.exec("/bin/true", "entered early")

    def _bring_in(self, made: MadeContainer) -> None:
        """A process with every right of ours, put into a container's cgroup from outside: nobody declared that."""
        inner = TestCgroup.__new__(TestCgroup)
        path = f"kubepods/burstable/pod{made.pod.uid}/{made.id}"
        inner.folders = [folder / path for folder in self.daemon.cgroup.folders if (folder / path).exists()]
        inner.children = self.daemon.cgroup.children
        assert inner.run(["/bin/busybox", "true", "undeclared"]).wait() == 0

    def _ask(self, *words: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "firsthand", "ask", *words, "--json", "--history", str(self.observed.history)]
        found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return found

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Rows of the history's views."""
        return self.observed.rows(query)

    def ask(self, *words: str) -> list[dict[str, Any]]:
        """The rows of an answer, which must be complete."""
        found = self._ask(*words)
        assert found["completeness"]["complete"], found["completeness"]["reasons"]
        return list(found["rows"])


@pytest.fixture(scope="module")
def cri() -> Iterator[OwnContainerd]:
    """A containerd with CRI, in a cgroup of its own."""
    require.pods()
    require.bpf()
    folder = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:12]}"
    with TestCgroup() as cgroup, OwnContainerd(cgroup, folder, cri=True) as running:
        yield running


@pytest.fixture(scope="module")
def scene(cri: OwnContainerd, tmp_path_factory: pytest.TempPathFactory) -> PodsScene:
    """Played once; the tests read its record."""
    return PodsScene(cri, tmp_path_factory.mktemp("pods") / "history")


def _segments(history: Path, table: str) -> str:
    return f"read_parquet('{history}/current/{table}/**/*.parquet', union_by_name = true)"


def test_every_row_of_a_container_is_named(scene: PodsScene) -> None:
    """By its own pod, namespace and name, from the container's first process on; in the segments themselves, without our views."""
    source = _segments(scene.observed.history, "process")
    rows = duckdb.sql(
        f"SELECT container, pod, namespace, container_name, image FROM {source} WHERE container IS NOT NULL"
    ).fetchall()
    assert {row[0] for row in rows} >= set(scene.truth)
    for container, pod, namespace, name, image in rows:
        assert pod is not None and image is not None
        if container in scene.truth:
            assert (pod, namespace, name) == scene.truth[container]
            assert image == "docker.io/firsthand/test:latest"


def test_one_that_lived_for_a_moment_is_named(scene: PodsScene) -> None:
    """50 ms, and its pod removed at once: its process, its address and its end are there."""
    rows = scene.rows(
        "SELECT pod, args FROM process WHERE event = 'exec' AND pod = 'short' AND container_name = 'flash'"
    )
    assert [row["args"] for row in rows] == [["/bin/sleep", "0.05"]]
    (row,) = [row for row in scene.ask("containers") if row["container_name"] == "flash"]
    assert (row["state"], row["exit_code"], row["until"] is not None) == ("exited", 0, True)
    (pod,) = [row for row in scene.ask("pods") if row["pod"] == "short"]
    assert pod["addresses"] == [scene.short_address] and pod["until"]


def test_one_that_was_there_before_is_named(scene: PodsScene) -> None:
    """Started before Firsthand: seen, and what is done in it later."""
    rows = scene.rows(
        "SELECT event, pod, container_name FROM process WHERE pod = 'early' AND container_name IS NOT NULL"
    )
    assert {row["event"] for row in rows} >= {"seen", "exec", "exit"}


def test_workload_by_labels(scene: PodsScene) -> None:
    """The Deployment by its hash, the Job by its name; what no label tells stays unknown."""
    found = {
        row["pod"]: (row["workload"], row["workload_source"])
        for row in scene.rows("SELECT DISTINCT pod, workload, workload_source FROM process WHERE pod IS NOT NULL")
    }
    assert found[scene.web.name] == ("shop/Deployment/web", "label:pod-template-hash")
    assert found[scene.batch.name] == ("shop/Job/batch", "label:job-name")
    assert found["hostile"] == ("default/Pod/hostile", "annotation:kubernetes.io/config.source")
    assert found["root"] == (None, None)


def test_kinds_of_containers(scene: PodsScene) -> None:
    """Sandbox and ephemeral by the runtime's word, init by the order of its end."""
    query = "SELECT arg_max(kind, time) AS kind, arg_max(kind_source, time) AS told, any_value(container_name) AS name FROM container"
    rows = scene.rows(f"{query} WHERE event IN ('named', 'gone') AND pod = 'ordered' GROUP BY container")
    found = {row["name"]: (row["kind"], row["told"]) for row in rows}
    assert found == {
        None: ("sandbox", "runtime"),
        "prepare": ("init", "order"),
        "app": ("container", None),
        "debugger": ("ephemeral", "runtime"),
    }


def test_the_runtimes_own_set_up_is_marked(scene: PodsScene) -> None:
    """Everything before the container's program is the runtime's, and nothing after it."""
    for identity in scene.truth:
        query = f"SELECT event, flag_names, args FROM process WHERE container = '{identity}' AND event <> 'seen' ORDER BY ktime"
        rows = scene.rows(query)
        own = [row for row in rows if "RUNTIME" not in (row["flag_names"] or "").split(",")]
        assert all(row["event"] == "exec" for row in own[:1])
        if identity != scene.early.id:
            first = rows.index(own[0])
            assert first > 0 and own[0]["args"][0].startswith("/bin/")
            assert all(row["event"] in ("fork", "exec", "exit") for row in rows[:first])


def test_privileged_names_exactly_the_privileged(scene: PodsScene) -> None:
    """Those that hold more than an ordinary container's, and why: declared, held, and where the two differ."""
    for rows in (scene.ask("privileged"), scene.alive["rows"]):
        found = {row["pod"]: row for row in rows}
        assert set(found) == {"root", scene.batch.name, "odd"}
        root, batch, odd = found["root"], found[scene.batch.name], found["odd"]
        assert (
            root["privileged"] and root["all"] and root["host_mounts"] == ["/var/tmp:/host:ro"] and not root["differs"]
        )
        assert (
            batch["beyond"] == ["net_admin"] and "chown" not in batch["declared"] and "net_admin" in batch["declared"]
        )
        assert batch["declared"] == batch["granted"] == batch["permitted"] and not batch["differs"]
        assert odd["privileged"] is False and "sys_admin" not in odd["declared"] and "sys_admin" in odd["permitted"]
        assert {"holds sys_admin", "in the host's mount namespace", "in the host's pid namespace"} <= set(
            odd["differs"]
        )
    could = {row["pod"]: row for row in scene.ask("privileged", "--could")}
    assert set(could) == {"root", scene.batch.name, "odd"}


def test_namespaces_of_the_host(scene: PodsScene) -> None:
    """As declared of pods and of containers."""
    rows = {row["pod"]: row for row in scene.ask("pods")}
    assert rows["host"]["host"] == ["pid"] and rows["root"]["host"] == []
    (agent,) = scene.ask("containers", "kube-system/host")
    assert (agent["host_pid"], agent["host_network"], agent["host_ipc"]) == (True, False, False)


def test_addresses_are_the_sandboxes(scene: PodsScene) -> None:
    """One for each pod, as CRI told the kubelet, and no two of the same at the same time."""
    rows = [row for row in scene.ask("pods") if not row["until"]]
    addresses = [row["addresses"][0] for row in rows]
    assert len(addresses) == len(set(addresses)) > 5


def test_questions_narrow_by_name_and_label(scene: PodsScene) -> None:
    """-n, --pod by name and by uid, -l; each answers for its pods alone."""
    for words in (
        ["--pod", scene.web.name],
        ["--pod", scene.web.uid],
        ["-n", "shop", "-l", "app=web"],
        ["-l", "app in (web),tier"],
    ):
        rows = scene.ask("processes", *words)
        assert rows and {row["pod"] for row in rows} == {scene.web.name}, words
    assert {row["namespace"] for row in scene.ask("processes", "-n", "shop")} == {"shop"}
    assert {row["pod"] for row in scene.ask("pods", "-n", "shop", "-l", "app!=web")} == {scene.batch.name}
    assert {row["container"] for row in scene.ask("tree", "shop/web-5d4c6b7f9-x2x4z")} == {
        scene.web_app.id,
        scene.web.id,
    }
    assert {row["pod"] for row in scene.ask("timeline", "ordered")} == {"ordered"}
    assert scene.ask("images")[0]["pods"] >= 9


def test_hostile_labels_are_kept_and_shown_harmless(scene: PodsScene) -> None:
    """As they are in the record, cut at the bound and said so; escaped on a terminal."""
    (row,) = scene.rows(
        "SELECT arg_max(labels, time) AS labels, arg_max(cut, time) AS cut FROM pod WHERE pod = 'hostile'"
    )
    labels = dict(label.partition("=")[::2] for label in row["labels"])
    for key, value in HOSTILE.items():
        assert labels[key] == value[: 1024 - len(key) - 1]
    assert row["cut"] == "labels"
    command = [sys.executable, "-m", "firsthand", "ask", "pods", "-o", "wide", "--history", str(scene.observed.history)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "\x1b" not in shown and "\u202e" not in shown and "\\x1b[2J" in shown


def test_nothing_is_unknown(scene: PodsScene) -> None:
    """Every container that the kernel showed has a name; status says the same."""
    assert scene.ask("unknown") == []
    command = [sys.executable, "-m", "firsthand", "status", "--json", "--history", str(scene.observed.history)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert found["containers"]["unnamed"] == 0 and found["containers"]["named"] > len(scene.truth)
    assert [one["state"] for one in found["runtimes"]] == ["followed"]


def _churn(kubelet: Kubelet, number: int) -> tuple[str, str, str, str]:
    """One short pod, whose program's argument is its uid; names and addresses come again and again."""
    name = f"churn-{number % 10}-{'bcdfghjklm'[number % 7]}"
    pod: KubeletPod = kubelet.pod(name, f"team-{number % 3}")
    made = pod.run(f"app-{number % 4}", "/bin/true", pod.uid)
    made.wait()
    told = (pod.uid, name, pod.namespace, made.name)
    pod.remove()
    return told


@pytest.mark.budget(150, "two hundred pods start and end")
def test_two_hundred_churning_pods(cri: OwnContainerd, tmp_path: Path) -> None:
    """200 pods with names and addresses used again: each one's program is its own pod's, in every row."""
    observed = Observed(tmp_path / "history", [cri.cgroup.path], "--runtime", f"containerd:{cri.folder}/socket")
    with Kubelet(cri) as kubelet, observed, ThreadPoolExecutor(4) as pool:
        truth = list(pool.map(lambda number: _churn(kubelet, number), range(CHURN)))
    query = "SELECT pod_uid, pod, namespace, container_name, args FROM process WHERE event = 'exec' AND args[1] = '/bin/true'"
    rows = {row["args"][1]: row for row in observed.rows(query)}
    assert len(rows) == CHURN
    for uid, name, namespace, container in truth:
        row = rows[uid]
        assert (row["pod_uid"], row["pod"], row["namespace"], row["container_name"]) == (
            uid,
            name,
            namespace,
            container,
        )
    spans = observed.rows(
        "SELECT addresses, arg_max(addresses_since, time) AS since, arg_max(until, time) AS until FROM pod "
        "WHERE addresses <> [] GROUP BY addresses, pod_uid ORDER BY 1, 2"
    )
    assert len(spans) == CHURN and len({row["addresses"][0] for row in spans}) < CHURN
    # An address is its latest holder's: so at the moment of each pod's own exec it is that pod.
    holders = observed.rows(
        """WITH s AS (SELECT pod_uid, addresses, arg_max(addresses_since, time) AS since FROM pod
               WHERE addresses <> [] GROUP BY pod_uid, addresses)
           SELECT p.pod_uid, arg_max(o.pod_uid, o.since) AS holder FROM process p JOIN s ON s.pod_uid = p.pod_uid
           JOIN s o ON o.addresses = s.addresses AND o.since <= p.time
           WHERE p.event = 'exec' AND p.args[1] = '/bin/true' GROUP BY p.pod_uid"""
    )
    assert len(holders) == CHURN and all(row["holder"] == row["pod_uid"] for row in holders)
    assert observed.lost() == 0


@pytest.mark.landing("100,000 rows")
def test_a_hundred_thousand_rows(cri: OwnContainerd, tmp_path: Path) -> None:
    """Eight pods at once, 100,000 rows: none has a wrong name, none has none."""
    observed = Observed(tmp_path / "history", [cri.cgroup.path], "--runtime", f"containerd:{cri.folder}/socket")
    with Kubelet(cri) as kubelet, observed:
        made = [kubelet.pod(f"busy-{n}").run("spawn", "/bin/spawn", f"token-{n}", str(LIVES)) for n in range(8)]
        for one in made:
            one.wait()
        truth = {one.id: one.pod.name for one in made}
    rows = observed.rows(
        "SELECT container, pod, count(*) AS n FROM process WHERE container_name = 'spawn' OR pod IS NULL GROUP BY ALL"
    )
    wrong = [row for row in rows if row["container"] is not None and truth.get(row["container"]) != row["pod"]]
    assert wrong == [] and sum(row["n"] for row in rows if row["container"]) >= 100_000
    assert observed.lost() == 0


@pytest.mark.landing("a runtime is gone for 30 s")
def test_the_runtime_restarts(cri: OwnContainerd, tmp_path: Path) -> None:
    """Its socket is gone for 30 s while its containers work on: nothing is lost, the gap is said, and names come again after it."""
    observed = Observed(tmp_path / "history", [cri.cgroup.path], "--runtime", f"containerd:{cri.folder}/socket")
    with Kubelet(cri) as kubelet:
        busy = kubelet.pod("busy").create("app", "/bin/sh", "-c", "while sleep 0.5; do /bin/true turn; done")
        with observed:
            busy.start()
            cri.stop()
            (cri.folder / "socket").unlink(missing_ok=True)
            query = "SELECT 1 FROM process WHERE event = 'exec' AND args = ['/bin/true', 'turn']"
            observed.until(query, lambda rows: len(rows) >= 60, 300)  # half a second each
            cri.start()
            kubelet.again()
            after = kubelet.pod("after").run("app", "/bin/true", "after").wait()
            observed.wait(f"SELECT 1 FROM container WHERE event = 'named' AND container = '{after.id}'")
    rows = observed.rows(
        "SELECT DISTINCT pod, container_name FROM process WHERE args = ['/bin/true', 'turn'] OR args = ['/bin/true', 'after']"
    )
    assert {(row["pod"], row["container_name"]) for row in rows} == {("busy", "app"), ("after", "app")}
    (gap,) = observed.rows("SELECT since, until FROM loss WHERE cause = 'runtime_gone'")
    assert (gap["until"] - gap["since"]).total_seconds() >= 29
    assert observed.lost() == 0
    states = [
        json.loads(row["settings"])["runtimes"]
        for row in observed.rows("SELECT settings FROM observer WHERE event = 'runtime' ORDER BY time")
    ]
    assert [next(iter(state.values()))["state"] for state in states] == ["followed", "gone", "followed"]


@pytest.mark.landing("a runtime that restarts")
def test_the_runtime_restarts_at_once(cri: OwnContainerd, tmp_path: Path) -> None:
    """Between two lists: it is heard again, so that what lives for a moment after that has its name."""
    observed = Observed(tmp_path / "history", [cri.cgroup.path], "--runtime", f"containerd:{cri.folder}/socket")
    with Kubelet(cri) as kubelet, observed:
        cri.stop()
        cri.start()
        kubelet.again()
        query = (
            "SELECT arg_max(settings, time) AS said, (SELECT count(*) FROM loss WHERE cause = 'runtime_gone') AS gaps "
            "FROM observer WHERE event = 'runtime'"
        )
        observed.until(query, lambda rows: "followed" in rows[0]["said"] and rows[0]["gaps"])
        pod = kubelet.pod("brief")
        made = pod.run("app", "/bin/true", "brief").wait()
        pod.remove()
    rows = observed.rows("SELECT container, pod, container_name FROM process WHERE args = ['/bin/true', 'brief']")
    assert rows == [{"container": made.id, "pod": "brief", "container_name": "app"}]


@pytest.mark.landing("waits for a runtime")
def test_a_runtime_that_never_answers(cri: OwnContainerd, tmp_path: Path) -> None:
    """Containers have their ids, are counted and listed as unknown, and answers by name say that they are not complete."""
    observed = Observed(tmp_path / "history", [cri.cgroup.path], "--runtime", f"containerd:{tmp_path}/nobody.sock")
    with Kubelet(cri) as kubelet, observed:
        made = kubelet.pod("nameless").run("app", "/bin/true", "nameless").wait()
    command = [
        sys.executable,
        "-m",
        "firsthand",
        "ask",
        "privileged",
        "--json",
        "--require-complete",
        "--history",
        str(observed.history),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3 and "2 containers have an id and no name" in done.stdout
    rows = observed.rows("SELECT DISTINCT container, pod FROM process WHERE args = ['/bin/true', 'nameless']")
    assert rows == [{"container": made.id, "pod": None}]


@pytest.mark.landing("waits for a pass of the keeper")
def test_a_later_name_reaches_rows_that_are_kept(cri: OwnContainerd, tmp_path: Path) -> None:
    """Recorded and made into segments without a runtime; once one is followed, the same rows have their names."""
    history = tmp_path / "history"
    with Kubelet(cri) as kubelet:
        first = Observed(history, [cri.cgroup.path], "--runtime", "none")
        with first:
            made = kubelet.pod("late").run("app", "/bin/sh", "-c", "/bin/true late; sleep 600")
            first.wait("SELECT 1 FROM process WHERE args = ['/bin/true', 'late']")
        query = "SELECT DISTINCT container, pod, container_name FROM process WHERE args = ['/bin/true', 'late']"
        assert first.rows(query) == [{"container": made.id, "pod": None, "container_name": None}]
        second = Observed(history, [cri.cgroup.path], "--runtime", f"containerd:{cri.folder}/socket")
        with second:
            second.until(query, lambda found: found and found[0]["pod"] is not None)
    assert second.rows(query) == [{"container": made.id, "pod": "late", "container_name": "app"}]


@pytest.mark.landing("waits for a runtime")
def test_a_runtime_that_tells_no_events(cri: OwnContainerd, tmp_path: Path) -> None:
    """By CRI alone, asked when a cgroup appears: as with any runtime that is not containerd."""
    observed = Observed(tmp_path / "history", [cri.cgroup.path], "--runtime", f"cri:{cri.folder}/socket")
    with Kubelet(cri) as kubelet, observed:
        made = kubelet.pod("asked", labels={"app": "asked"}).run("app", "/bin/sleep", "600", add=["NET_ADMIN"])
        query = f"SELECT * FROM container WHERE event = 'named' AND container = '{made.id}'"
        rows = observed.wait(query)
    row = rows[0]
    assert (row["pod"], row["container_name"], row["kind"], row["privileged"]) == ("asked", "app", "container", False)
    assert row["image"] == "docker.io/firsthand/test:latest" and row["image_digest"].startswith("sha256:")
    assert capability.names(row["cap_declared"]).count("net_admin") == 1
    rows = observed.rows(
        "SELECT DISTINCT pod, container_name FROM process WHERE container IS NOT NULL AND container_name IS NOT NULL"
    )
    assert rows == [{"pod": "asked", "container_name": "app"}]


@pytest.mark.landing("kills")
def test_the_follower_dies(cri: OwnContainerd, tmp_path: Path) -> None:
    """The record goes on without it; it is said, started again, and tells what it finds."""
    observed = Observed(tmp_path / "history", [cri.cgroup.path], "--runtime", f"containerd:{cri.folder}/socket")
    with Kubelet(cri) as kubelet, observed:
        before = kubelet.pod("before").run("app", "/bin/sleep", "600")
        os.kill(roles.pids(observed.process.pid)["follower"], signal.SIGKILL)
        after = kubelet.pod("after").run("app", "/bin/sleep", "601")
        query = "SELECT DISTINCT container FROM container WHERE event = 'named'"
        observed.until(query, lambda rows: {before.id, after.id} <= {row["container"] for row in rows})
    assert any("the follower was killed by SIGKILL" in line for line in observed.errors)
    rows = observed.rows("SELECT DISTINCT pod FROM process WHERE container IS NOT NULL")
    assert {row["pod"] for row in rows} == {"before", "after"} and observed.lost() == 0


def test_the_whole_machine(cri: OwnContainerd, tmp_path: Path) -> None:
    """Without a scope a container is told when it is made, before any cgroup, and `gone` when its runtime has it no more."""
    history = tmp_path / "history"
    options = {
        "history": str(history),
        "sockets": [f"containerd:{cri.folder}/socket"],
        "annotations": [],
        "scoped": False,
    }
    follower = subprocess.Popen(
        [sys.executable, "-m", "firsthand.roles.follower", json.dumps(options)], stdin=subprocess.PIPE
    )

    def told(event: str) -> set[str]:
        assert follower.poll() is None
        with History(history).connection() as connection:
            return {
                row[0]
                for row in connection.execute(f"SELECT container FROM container WHERE event = '{event}'").fetchall()
            }

    try:
        with Kubelet(cri) as kubelet:
            made = kubelet.pod("unscoped").create("app", "/bin/true")
            while not History(history).exists or made.id not in told("named"):
                assert follower.poll() is None
            made.remove()
            while made.id not in told("gone"):
                assert follower.poll() is None
    finally:
        assert follower.stdin is not None
        follower.stdin.close()
        assert follower.wait() == 0


def test_the_live_view_and_tail_by_pod(cri: OwnContainerd, tmp_path: Path) -> None:
    """Both show names as soon as they are known, and one pod alone where they are asked to."""
    shown = tmp_path / "shown"
    observed = Observed(
        tmp_path / "history", [cri.cgroup.path], "--runtime", f"containerd:{cri.folder}/socket", "--pod", "one"
    )
    observed.command.remove("--quiet")
    with shown.open("wb") as file, Kubelet(cri) as kubelet:
        observed.start(stdout=file)
        made = [kubelet.pod(name).run("app", "/bin/sleep", "600") for name in ("one", "two")]
        observed.wait("SELECT DISTINCT container FROM container WHERE container_name = 'app' AND event = 'named'", 2)
        command = [
            sys.executable,
            "-m",
            "firsthand",
            "tail",
            "--history",
            str(observed.history),
            "--pod",
            "two",
            "-o",
            "jsonl",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as tail:
            assert tail.stdout is not None
            row: dict[str, Any] = {}
            while row.get("event") != "exit":
                for one in made:
                    one.exec("/bin/true", "again")
                if select.select([tail.stdout], [], [], 0.5)[0]:
                    row = json.loads(tail.stdout.readline())
                    assert (row["pod"], row["container_name"]) == ("two", "app")
            tail.terminate()
        while b"one/app" not in shown.read_bytes():
            made[0].exec("/bin/true", "again")
        assert observed.stop() == 0
    lines = shown.read_text().splitlines()
    assert (
        lines and all(" one" in line for line in lines if "/bin/" in line) and not any("two" in line for line in lines)
    )
