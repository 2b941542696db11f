"""A cgroup that has a container's name, made by hand: marked, counted and contradicted; what a real runtime has is confirmed."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests import asking
from tests.kernel.observed import Observed
from tests.pods.containerd import OwnContainerd, new_id

pytestmark = pytest.mark.xdist_group("runtimes")


def _run(containerd: OwnContainerd, cgroup: str, word: str) -> None:
    """A process of the host's in a folder that the test makes below its own."""
    folder = containerd.cgroup.below(cgroup)
    script = f"echo 0 > {folder}/cgroup.procs; exec /bin/true {word}"
    containerd.cgroup.run(["/bin/sh", "-c", script]).wait()


def _words(observed: Observed) -> dict[str, tuple[bool | None, str | None]]:
    query = (
        "SELECT args[2] AS word, claimed, container_name FROM process WHERE event = 'exec' AND args[1] = '/bin/true'"
    )
    return {row["word"]: (row["claimed"], row["container_name"]) for row in observed.rows(query)}


def test_a_forged_cgroup(containerd: OwnContainerd, history: Path) -> None:
    """Three ways to be a container by mkdir: an id of its own, a real one's elsewhere, and that below its pod; beside one that is real."""
    uid, real, invented = str(uuid.uuid4()), new_id(), new_id()
    pod = f"kubepods/besteffort/pod{uid}"
    observed = Observed(history, [containerd.cgroup.path], "--runtime", f"containerd:{containerd.folder}/socket")
    with observed:
        at = f"/{containerd.cgroup.name}/{pod}/{real}"
        made = containerd.container("/bin/sleep", "611", identity=real, cgroup=at)
        observed.wait(f"SELECT 1 FROM container WHERE event = 'named' AND container = '{real}'")
        made.exec("/bin/true", "real")
        _run(containerd, f"{pod}/{invented}", "invented")
        _run(containerd, f"evil/{pod}/{real}", "elsewhere")
        found = observed.wait("SELECT container, cgroup_path, reason FROM container WHERE event = 'contradicted'")
        (containerd.cgroup.path / f"evil/{pod}/{real}").rmdir()
        observed.wait(f"SELECT 1 FROM container WHERE event = 'remove' AND cgroup_path LIKE '%/evil/{pod}/{real}'")
        observed.until(
            "SELECT word FROM (SELECT args[2] AS word FROM process WHERE event = 'exec')",
            lambda rows: {"real", "invented", "elsewhere"} <= {row["word"] for row in rows},
        )
    ended = f"SELECT 1 FROM container WHERE container = '{real}' AND (state = 'exited' OR finished IS NOT NULL)"
    assert not observed.rows(ended), "a forged cgroup that goes is no container's end"
    assert found == [
        {
            "container": real,
            "cgroup_path": f"/{containerd.cgroup.name}/evil/{pod}/{real}",
            "reason": f"its runtime has it in {at}",
        }
    ]
    assert _words(observed) == {"real": (False, real), "invented": (True, None), "elsewhere": (True, None)}
    why = {
        row["container"]: row["why"]
        for row in asking.answered(observed.history, "unknown").found.rows
        if row["container"]
    }
    assert why == {invented: "no name", real: f"contradicted: its runtime has it in {at}"}
    for question in ("containers", "privileged"):
        reasons = asking.answered(observed.history, question).completeness.reasons
        assert any("its runtime has elsewhere" in reason for reason in reasons), reasons
    made.remove()


def test_without_a_runtime_all_is_claimed(containerd: OwnContainerd, history: Path) -> None:
    """Said so, and no accusation: questions that do not go by names are complete."""
    observed = Observed(history, [containerd.cgroup.path])
    with observed:
        made = containerd.container("/bin/sleep", "612")
        made.exec("/bin/true", "real")
    assert _words(observed) == {"real": (True, None)}
    assert not observed.rows("SELECT 1 FROM container WHERE event IN ('confirmed', 'contradicted')")
    assert asking.answered(observed.history, "beacons").completeness.complete
    made.remove()
