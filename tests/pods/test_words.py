"""Containers whose id is a word and whose cgroup's path says nothing: by their runtime, and without it never silence."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests import asking
from tests.kernel.observed import Observed
from tests.pods.containerd import OwnContainerd

pytestmark = pytest.mark.xdist_group("runtimes")


def test_its_runtime_names_it(containerd: OwnContainerd, history: Path) -> None:
    """`ctr run ... my-ctr-1` within a scope: its rows and its child's are the container's, and nothing is unknown."""
    identity = f"my-ctr-{uuid.uuid4().hex[:6]}"
    observed = Observed(history, [containerd.cgroup.path], "--runtime", f"containerd:{containerd.folder}/socket")
    with observed:
        made = containerd.container(
            "/bin/sleep", "609", identity=identity, cgroup=f"/{containerd.cgroup.name}/{identity}"
        )
        observed.wait(f"SELECT 1 FROM container WHERE event = 'named' AND container = '{identity}'")
        made.exec("/bin/true", "entered")
        observed.wait("SELECT 1 FROM process WHERE event = 'exec' AND args = ['/bin/true', 'entered']")
    query = f"SELECT DISTINCT container, container_name, cgroup_path FROM process WHERE cgroup_path LIKE '%{identity}%'"
    (row,) = observed.rows(query)
    assert (row["container"], row["container_name"]) == (identity, identity)
    assert observed.rows(
        f"SELECT DISTINCT cgroup_path FROM container WHERE event = 'named' AND container = '{identity}'"
    ) == [{"cgroup_path": row["cgroup_path"]}]
    assert identity in [one["container"] for one in asking.answered(observed.history, "containers").found.rows]
    assert asking.answered(observed.history, "unknown").found.total == 0
    made.remove()


@pytest.mark.landing("a runtime of its own")
def test_without_its_runtime_it_is_unknown(containerd: OwnContainerd, history: Path) -> None:
    """Its cgroup is a row of `unknown`, with its binary, and a reason in the other questions about containers."""
    identity = f"my-ctr-{uuid.uuid4().hex[:6]}"
    observed = Observed(history, [containerd.cgroup.path])
    with observed:
        made = containerd.container(
            "/bin/sleep", "610", identity=identity, cgroup=f"/{containerd.cgroup.name}/{identity}"
        )
        observed.wait("SELECT 1 FROM process WHERE event = 'exec' AND args = ['/bin/sleep', '610']")
    rows = [
        row for row in asking.answered(observed.history, "unknown").found.rows if identity in (row["cgroup_path"] or "")
    ]
    assert [(row["container"], row["why"]) for row in rows] == [(None, "pid namespace")] and "/bin/busybox" in rows[0][
        "binaries"
    ]
    for question in ("privileged", "containers"):
        found = asking.answered(observed.history, question)
        assert any(identity in reason for reason in found.completeness.reasons) and not found.completeness.complete
    made.remove()
