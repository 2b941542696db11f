"""Names with a runtime that sees cgroup v2 alone, v1 alone, or both, on the hierarchy that the observer then takes."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests import require
from tests.cgroups import TestCgroup
from tests.kernel.observed import Observed
from tests.pods.containerd import OwnContainerd
from tests.pods.kubelet import Kubelet

pytestmark = [pytest.mark.xdist_group("runtimes"), pytest.mark.landing("a runtime for each layout of cgroups")]

LAYOUTS = ("v2", "v1", "hybrid")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pods_by_name(layout: str, tmp_path: Path) -> None:
    """Started before and while observing, brought in, privileged: named in every row, told apart from the runtime's set-up."""
    require.pods()
    require.bpf()
    shown = layout if require.layouts(layout) and layout != "hybrid" else ""
    folder = Path("/var/tmp") / f"firsthand-test-{uuid.uuid4().hex[:12]}"
    with (
        TestCgroup("unified" if layout == "v2" else "all") as cgroup,
        OwnContainerd(cgroup, folder, cri=True, layout=shown) as daemon,
        Kubelet(daemon) as kubelet,
    ):
        early = kubelet.pod("early").run("app", "/bin/sleep", "600")
        observed = Observed(tmp_path / "history", [cgroup.path], "--runtime", f"containerd:{folder}/socket")
        with observed:
            plain = kubelet.pod("plain").run("app", "/bin/sleep", "601")
            root = kubelet.pod("root", privileged=True).run("app", "/bin/sleep", "602", privileged=True)
            plain.exec("/bin/true", "entered")
    truth = {one.id: one.pod.name for one in (early, plain, root)} | {
        one.pod.id: one.pod.name for one in (early, plain, root)
    }
    rows = observed.rows(
        "SELECT container, pod, event, flag_names, args, cgroup_hierarchy FROM process WHERE container IS NOT NULL"
    )
    assert {row["container"]: row["pod"] for row in rows} == truth and all(
        row["pod"] == truth[row["container"]] for row in rows
    )
    assert {row["cgroup_hierarchy"] == 0 for row in rows} == {layout == "v2"}
    life = [row for row in rows if row["event"] == "exec" and "RUNTIME" not in (row["flag_names"] or "")]
    assert sorted(row["args"] for row in life if row["container"] == plain.id) == [
        ["/bin/sleep", "601"],
        ["/bin/true", "entered"],
    ]
    command = [sys.executable, "-m", "firsthand", "ask", "privileged", "--json", "--history", str(observed.history)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert [row["pod"] for row in found["rows"]] == ["root"]
    # A runtime that sees a hierarchy of its own has a root of its own: in no known container, and said.
    apart = ["ran apart from the host and in no known container" in one for one in found["completeness"]["reasons"]]
    assert apart == [True] if shown else found["completeness"]["complete"]
    assert observed.lost() == 0
