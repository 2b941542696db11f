"""Each right of deploy/daemonset.yaml is needed: taken away, something that is said fails. Nothing stands there that is not tried here."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import require
from tests.cgroups import TestCgroup
from tests.kernel.observed import READY_WITHIN
from tests.pods.containerd import Containerd
from tests.pods.inside import Ended, Node
from tests.pods.kubelet import Kubelet, Made, Pod
from tests.pods.manifest import Manifest


@dataclass(frozen=True)
class Case:
    """A right, how it is taken away, and what is said then: in its log, or where a verb is `asked` in there. `ends`: it does not observe."""

    take: Callable[[Manifest], object]
    says: str
    ends: bool = True
    asked: tuple[str, ...] = ()


def _without(capability: str) -> Callable[[Manifest], object]:
    return lambda manifest: manifest.container["securityContext"]["capabilities"]["add"].remove(capability)


def _unmounted(volume: str) -> Callable[[Manifest], object]:
    return lambda manifest: manifest.unmount(volume)


def _read_only(volume: str) -> Callable[[Manifest], object]:
    def change(manifest: Manifest) -> None:
        (mount,) = (one for one in manifest.container["volumeMounts"] if one["name"] == volume)
        mount["readOnly"] = True

    return change


CAPABILITIES = {
    "BPF": Case(_without("BPF"), "CAP_BPF or CAP_PERFMON missing"),
    "PERFMON": Case(_without("PERFMON"), "CAP_BPF or CAP_PERFMON missing"),
    "CHOWN": Case(_without("CHOWN"), "CAP_CHOWN and CAP_SETGID are needed"),
    "SETUID": Case(_without("SETUID"), "CAP_SETUID and CAP_SETGID are needed"),
    "SETGID": Case(_without("SETGID"), "CAP_SETUID and CAP_SETGID are needed"),
    "SETPCAP": Case(_without("SETPCAP"), "the observer's bounding set keeps chown", ends=False),
}
MOUNTS = {
    "history": Case(_unmounted("history"), "/var/lib/firsthand: the history cannot be created"),
    "heads": Case(_unmounted("heads"), "head cannot be published to /var/log/firsthand/heads.jsonl", ends=False),
    "bpf": Case(_unmounted("bpf"), "a pod mounts the machine's /sys/fs/bpf on /run/firsthand/bpf"),
    # What a container sees of its own without it, read-only, is its own cgroup alone.
    "cgroup": Case(_unmounted("cgroup"), "no such folder; name a cgroup's folder below /sys/fs/cgroup"),
    "runtime": Case(
        _unmounted("runtime"), "none was followed: containers are known by their ids alone", False, ("status",)
    ),
    "config": Case(_unmounted("config"), "default", False, ("config", "show")),
}
#: What may be written through a mount.
WRITES = {
    "history": Case(_read_only("history"), "Read-only file system"),
    "heads": Case(_read_only("heads"), "head cannot be published to /var/log/firsthand/heads.jsonl", ends=False),
    "bpf": Case(_read_only("bpf"), "Read-only file system"),
}
#: The same where one mount holds all cgroups (v2 alone): below it the hierarchies of v1 are mounts of their own, which stay writable.
_CGROUP_WRITES = Case(_read_only("cgroup"), "Read-only file system", ends=False)

OTHERS = {
    "hostPID": Case(
        lambda manifest: manifest.spec.pop("hostPID"), "blind spot: hook existing_processes is missing here", ends=False
    ),
    "FIRSTHAND_NODE": Case(
        lambda manifest: manifest.container.pop("env"), "a container's host name: set FIRSTHAND_NODE", ends=False
    ),
    "runAsUser": Case(
        lambda manifest: manifest.container["securityContext"].update(runAsUser=65534), "observing needs root"
    ),
}
_ALL = {
    f"{kind} {name}": case
    for kind, cases in (("capability", CAPABILITIES), ("mount", MOUNTS), ("writing", WRITES), ("", OTHERS))
    for name, case in cases.items()
}


def test_nothing_more_is_in_the_manifest() -> None:
    """Capabilities, mounts, what is writable, namespaces of the host and variables: each one stands in a table here."""
    manifest = Manifest()
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
def pods(node: Node) -> dict[bool, Pod]:
    """A sandbox in the host's pid namespace, and one in its own."""
    found = {}
    for shared in (True, False):
        manifest = node.manifest()
        manifest.spec["hostPID"] = shared
        found[shared] = manifest.pod(node.kubelet, f"firsthand-r1ght{'s' * shared}")
    return found


@pytest.fixture
def fresh(node: Node) -> Iterator[Node]:
    """With an empty history."""
    node.forget()
    yield node
    node.forget()


@pytest.mark.parametrize("name", _ALL)
def test_a_right_that_is_taken_away_is_missed(fresh: Node, pods: dict[bool, Pod], name: str) -> None:
    """It ends with a message, or observes and says what it lacks."""
    case = _ALL[name]
    manifest = fresh.manifest()
    case.take(manifest)
    made = fresh.start(manifest, pods[bool(manifest.spec.get("hostPID"))], *fresh.words)
    try:
        if case.ends:
            assert made.wait().status().status.exit_code != 0 and case.says in made.log, made.log
        else:
            fresh.ready(made)
            _told(fresh, made, case)
            assert made.stop(60) == 0, made.log
    finally:
        made.remove()


def _told(node: Node, made: Made, case: Case) -> None:
    """Until it is said."""
    deadline = time.monotonic() + READY_WITHIN
    while case.says not in (made.exec("firsthand", *case.asked).stdout.decode() if case.asked else made.log):
        assert time.monotonic() < deadline, made.log
        node.daemon.cgroup.run(["/bin/true"]).wait()  # something to keep, and to publish a head of


@pytest.fixture(scope="module")
def unified(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with cgroup v2 alone, where a container has a cgroup namespace of its own."""
    require.pods()
    require.bpf()
    require.layouts("v2")
    folder = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:12]}"
    place = tmp_path_factory.mktemp("unified")
    daemon = Containerd(TestCgroup("unified"), folder, cri=True, node=True, layout="v2")
    with daemon.cgroup, daemon, Kubelet(daemon) as kubelet:
        daemon.ctr("image", "import", "--snapshotter", "overlayfs", str(image))
        yield Node(daemon, kubelet, place)


def _in_the_namespace(unified: Node, manifest: Manifest) -> Made:
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
    assert {state.partition(":")[0] for state in json.loads(row["hooks"]).values()} == {"present"}


def test_writing_to_cgroups_is_for_the_canaries(unified: Node) -> None:
    """Read-only, hooks are not proven, which is said; all else goes on."""
    manifest = unified.manifest()
    _CGROUP_WRITES.take(manifest)
    made = _in_the_namespace(unified, manifest)
    assert "no canaries: " in made.log and _CGROUP_WRITES.says in made.log
    assert made.stop(60) == 0, made.log
