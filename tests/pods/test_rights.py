"""Each right of deploy/daemonset.yaml is needed: taken away, something that is said fails. Nothing stands there that is not tried here."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from firsthand.probe.spec import AT_ROOT, UNNEEDED
from tests import require
from tests.cgroups import TestCgroup
from tests.kernel.observed import READY_WITHIN
from tests.pods.containerd import OwnContainerd
from tests.pods.inside import Ended, Node, blind_spots
from tests.pods.kubelet import Kubelet, KubeletPod, MadeContainer
from tests.pods.manifest import PodManifest
from tests.pods.node_network import NodeNetwork

pytestmark = [pytest.mark.xdist_group("runtimes"), pytest.mark.landing("a node for each right")]


@dataclass(frozen=True)
class Case:
    """A right, how it is taken away, and what is said then: in its log (`also` something more), or where a verb is `asked` in there.

    `ends`: it does not observe.
    """

    take: Callable[[PodManifest], object]
    says: str
    ends: bool = True
    asked: tuple[str, ...] = ()
    also: str = ""


def _without(capability: str) -> Callable[[PodManifest], object]:
    return lambda manifest: manifest.container["securityContext"]["capabilities"]["add"].remove(capability)


def _unmounted(volume: str) -> Callable[[PodManifest], object]:
    return lambda manifest: manifest.unmount(volume)


def _read_only(volume: str) -> Callable[[PodManifest], object]:
    def change(manifest: PodManifest) -> None:
        (mount,) = (one for one in manifest.container["volumeMounts"] if one["name"] == volume)
        mount["readOnly"] = True

    return change


#: A service's address and port, as none is in any network here.
SERVICE = ("10.96.0.20", 80)
TRANSLATIONS = "what services' addresses were translated to on the machine"
CAPABILITIES = {
    "BPF": Case(_without("BPF"), "CAP_BPF or CAP_PERFMON missing"),
    "PERFMON": Case(_without("PERFMON"), "CAP_BPF or CAP_PERFMON missing"),
    "NET_ADMIN": Case(
        _without("NET_ADMIN"),
        "blind spot: hook packet_out is missing here (packet_out: bpf_program__attach_cgroup: Operation not permitted; "
        "CAP_NET_ADMIN is needed)",
        ends=False,
        also=f"blind spot: {TRANSLATIONS} (Operation not permitted; CAP_NET_ADMIN is needed)",
    ),
    "CHOWN": Case(_without("CHOWN"), "CAP_CHOWN and CAP_SETGID are needed"),
    "SETUID": Case(_without("SETUID"), "CAP_SETUID and CAP_SETGID are needed"),
    "SETGID": Case(_without("SETGID"), "CAP_SETUID and CAP_SETGID are needed"),
    "SETPCAP": Case(_without("SETPCAP"), "the observer's bounding set keeps chown", ends=False),
}
MOUNTS = {
    "history": Case(_unmounted("history"), "/var/lib/firsthand: the history cannot be created"),
    "heads": Case(_unmounted("heads"), "head cannot be published to /var/log/firsthand/heads-", ends=False),
    "bpf": Case(_unmounted("bpf"), "a pod mounts the machine's /sys/fs/bpf on /run/firsthand/bpf"),
    "tracing": Case(_unmounted("tracing"), "a pod mounts the machine's /sys/kernel/tracing on", ends=False),
    # What a container sees of its own without it, read-only, is its own cgroup alone.
    "cgroup": Case(_unmounted("cgroup"), "no such folder; name a cgroup's folder below /sys/fs/cgroup"),
    "runtime": Case(
        _unmounted("runtime"), "none was followed: containers are known by their ids alone", False, ("status",)
    ),
    "config": Case(_unmounted("config"), "default", False, ("config", "show")),
}
#: What may be written through a mount.
WRITES = {
    "history": Case(_read_only("history"), "it is mounted read-only"),
    "heads": Case(_read_only("heads"), "head cannot be published to /var/log/firsthand/heads-", ends=False),
    "bpf": Case(_read_only("bpf"), "Read-only file system"),
}
#: The same where one mount holds all cgroups (v2 alone): below it the hierarchies of v1 are mounts of their own, which stay writable.
_CGROUP_WRITES = Case(_read_only("cgroup"), "Read-only file system", ends=False)

OTHERS = {
    "hostPID": Case(
        lambda manifest: manifest.spec.pop("hostPID"), "blind spot: hook existing_processes is missing here", ends=False
    ),
    "hostNetwork": Case(
        lambda manifest: manifest.spec.pop("hostNetwork"),
        f"blind spot: {TRANSLATIONS} (this network namespace is a container's own; hostNetwork: true in a pod)",
        ends=False,
    ),
    # Rows then have the host's name, which Kubernetes need not know it by.
    "FIRSTHAND_NODE": Case(
        lambda manifest: manifest.container.pop("env"), f"observer    {os.uname().nodename}: ", False, ("status",)
    ),
    "runAsUser": Case(
        lambda manifest: manifest.container["securityContext"].update(runAsUser=65534), "observing needs root"
    ),
}


def _unnamed(manifest: PodManifest) -> None:
    for name in ("hostNetwork", "FIRSTHAND_NODE"):
        OTHERS[name].take(manifest)


TOGETHER = {"hostNetwork and FIRSTHAND_NODE": Case(_unnamed, "a container's host name: set FIRSTHAND_NODE", ends=False)}
_ALL = {
    f"{kind} {name}": case
    for kind, cases in (("capability", CAPABILITIES), ("mount", MOUNTS), ("writing", WRITES), ("", OTHERS | TOGETHER))
    for name, case in cases.items()
}


def test_nothing_more_is_in_the_manifest() -> None:
    """Capabilities, mounts, what is writable, namespaces of the host and variables: each one stands in a table here."""
    manifest = PodManifest()
    assert set(manifest.capabilities) == set(CAPABILITIES)
    mounts = manifest.container["volumeMounts"]
    assert {one["name"] for one in mounts} == set(MOUNTS) == {one["name"] for one in manifest.spec["volumes"]}
    assert {one["name"] for one in mounts if not one.get("readOnly")} == {*WRITES, "cgroup"}
    shared = {name for name in manifest.spec if name.startswith("host")}
    variables = {one["name"] for one in manifest.container["env"]}
    assert shared | variables | {"runAsUser"} == set(OTHERS)
    security = manifest.container["securityContext"]
    assert (
        not security["privileged"] and not security["allowPrivilegeEscalation"] and security["readOnlyRootFilesystem"]
    )
    assert security["seccompProfile"] == {"type": "RuntimeDefault"} and security["capabilities"]["drop"] == ["ALL"]
    assert manifest.spec["automountServiceAccountToken"] is False


@pytest.fixture(scope="module")
def pods(node: Node) -> Callable[[PodManifest], KubeletPod]:
    """The sandbox of a manifest: one for all that share the same namespaces with the host."""
    found: dict[str, KubeletPod] = {}

    def pod(manifest: PodManifest) -> KubeletPod:
        name = "-".join(["firsthand", *manifest.shared])
        if name not in found:
            found[name] = manifest.pod(node.kubelet, name)
        return found[name]

    return pod


@pytest.fixture
def fresh(node: Node) -> Iterator[Node]:
    """With an empty history."""
    node.forget()
    yield node
    node.forget()


@pytest.mark.parametrize("name", _ALL)
def test_a_right_that_is_taken_away_is_missed(
    fresh: Node, pods: Callable[[PodManifest], KubeletPod], name: str
) -> None:
    """It ends with a message, or observes and says what it lacks."""
    case = _ALL[name]
    manifest = fresh.manifest()
    case.take(manifest)
    made = fresh.start(manifest, pods(manifest), *fresh.words)
    try:
        if case.ends:
            assert made.wait().status().status.exit_code != 0 and case.says in made.log, made.log
        else:
            fresh.ready(made)
            _told(fresh, made, case)
            assert case.also in made.log, made.log
            assert made.stop(60) == 0, made.log
    finally:
        made.remove()


def _told(node: Node, made: MadeContainer, case: Case) -> None:
    """Until it is said."""
    deadline = time.monotonic() + READY_WITHIN
    while case.says not in (made.exec("firsthand", *case.asked).stdout.decode() if case.asked else made.log):
        assert time.monotonic() < deadline, made.log
        node.daemon.cgroup.run(["/bin/true"]).wait()  # something to keep, and to publish a head of


@contextmanager
def _node(image: Path, place: Path, kind: str = "all", **more: str) -> Iterator[Node]:
    """A node of another shape: as Containerd has it, in cgroups of a `kind`."""
    require.pods()
    require.bpf()
    folder = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:12]}"
    daemon = OwnContainerd(TestCgroup(kind), folder, cri=True, node=True, **more)
    with daemon.cgroup, daemon, Kubelet(daemon) as kubelet:
        daemon.ctr("image", "import", "--snapshotter", "overlayfs", str(image))
        node = Node(daemon, kubelet, place)
        yield node
        node.forget()


def test_cgroup_v1_alone_is_a_blind_spot(image: Path, tmp_path: Path) -> None:
    """Law: where v2 is mounted nowhere, a pod may not mount it: hooks at its root are missing, each with the remedy; it starts and records,
    and the doctor tells it."""
    require.layouts("v1")
    with _node(image, tmp_path, layout="v1") as node:
        made = node.ready(node.start(node.manifest(), node.manifest().pod(node.kubelet, "firsthand-v1"), *node.words))
        assert node.daemon.cgroup.run(["/bin/true", "recorded"]).wait() == 0
        assert made.exec("firsthand", "status", "--observing").exit_code == 0
        assert made.exec("firsthand", "status", "--check").exit_code == 1
        found = json.loads(made.exec("firsthand", "doctor", "--json").stdout)
        assert made.stop(60) == 0, made.log
        assert node.rows("SELECT 1 FROM process WHERE event = 'exec' AND args[2] = 'recorded'")
        log = made.log
    missing = blind_spots(log)
    assert missing - {"unix_connect"} == {hook.name for hook in AT_ROOT}, log  # that one where fentry is refused
    details = [one["detail"] for one in found if one["what"] == "hook"]
    assert len(details) == len(missing) and all("mount cgroup2 on the machine" in one for one in details), found


def test_a_services_pod_is_known(image: Path, tmp_path: Path) -> None:
    """Law: in the node's network namespace, the pod hears what the node's conntrack makes of a service's address."""
    require.programs("dns", "iptables", "nsenter", "ip")
    with NodeNetwork() as network, _node(image, tmp_path, network=network.node.name) as node:
        made = node.ready(node.start(node.manifest(), node.manifest().pod(node.kubelet, "firsthand-net"), *node.words))
        server = node.kubelet.pod("server").run("app", "/bin/nc", "-ll", "-p", "8080", "-e", "/bin/true").pod.address
        network.translate(*SERVICE, f"{server}:8080")
        client = node.kubelet.pod("client").run("app", "/bin/sleep", "600")
        while client.exec("/bin/nc", *map(str, (*SERVICE, "-w", 5))).exit_code:
            assert not blind_spots(made.log), made.log
        query = "SELECT nat_address, peer_pod FROM connection WHERE event = 'connect' AND outcome = 'established' AND pod = 'client'"
        rows = node.wait_for(f"{query} AND peer_pod IS NOT NULL")
        assert made.stop(60) == 0, made.log
    assert rows == [{"nat_address": server, "peer_pod": "server"}]


@pytest.fixture(scope="module")
def unified(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with cgroup v2 alone, where a container has a cgroup namespace of its own."""
    require.layouts("v2")
    with _node(image, tmp_path_factory.mktemp("unified"), "unified", layout="v2") as node:
        yield node


def _in_the_namespace(unified: Node, manifest: PodManifest) -> MadeContainer:
    unified.forget()
    pod = manifest.pod(unified.kubelet, f"firsthand-{uuid.uuid4().hex[:5]}")
    scope = f"/sys/fs/cgroup/{unified.daemon.cgroup.name}"
    made = unified.ready(unified.start(manifest, pod, "--instance", unified.instance, "--scope", scope))
    assert Path(f"/proc/{Ended(made).pid}/ns/cgroup").stat().st_ino != Path("/proc/self/ns/cgroup").stat().st_ino
    return made


def test_canaries_in_a_cgroup_namespace(unified: Node) -> None:
    """Their place is found below the pod's own cgroup, in the mount that shows all, and every hook is proven."""
    made = _in_the_namespace(unified, unified.manifest())
    (canaries,) = unified.daemon.cgroup.path.rglob("firsthand-canary-*")
    assert canaries.parent.name == made.id
    assert made.stop(60) == 0 and "canaries" not in made.log, made.log
    (row,) = unified.rows("SELECT hooks FROM observer WHERE event = 'ready'")
    hooks = {name: state for name, state in json.loads(row["hooks"]).items() if name not in UNNEEDED}
    assert {state.partition(":")[0] for state in hooks.values()} == {"present"}, hooks


def test_writing_to_cgroups_is_for_the_canaries(unified: Node) -> None:
    """Read-only, hooks are not proven, which is said; all else goes on."""
    manifest = unified.manifest()
    _CGROUP_WRITES.take(manifest)
    made = _in_the_namespace(unified, manifest)
    assert "no canaries: " in made.log and _CGROUP_WRITES.says in made.log
    assert made.stop(60) == 0, made.log
