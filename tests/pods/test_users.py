"""Users of a container by its own /etc/passwd, which the follower reads without a capability."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from firsthand.ask.answering import Request, answer
from firsthand.history.store.connection import History
from tests.kernel.observed import Observed
from tests.pods import image
from tests.pods.containerd import OwnContainerd

pytestmark = pytest.mark.xdist_group("runtimes")


def test_a_user_of_a_container(containerd: OwnContainerd, history: Path) -> None:
    """`user=inside` finds the process by what its container says, which is told as that; the machine has no such user."""
    observed = Observed(history, [containerd.cgroup.path], "--runtime", f"containerd:{containerd.folder}/socket")
    name, tar = "docker.io/firsthand/inside:latest", containerd.folder / "inside.tar"
    image.archive(tar, name, {"etc/passwd": b"root:x:0:0::/:\ninside:x:4321:4321::/:\n"}, "4321")
    containerd.ctr("image", "import", "--snapshotter", "overlayfs", str(tar))
    with observed:
        made = containerd.container("/bin/sleep", "613", image_name=name)
        (row,) = observed.wait(
            f"SELECT users FROM container WHERE container = '{made.id}' AND users IS NOT NULL LIMIT 1"
        )
        containerd.cgroup.run(["/bin/true", "on the host"], user=4321).wait()
    assert row["users"] == ["0=root", "4321=inside"]
    found = answer(History(history), Request("processes", ("user=inside", "event=exec")), datetime.now(UTC))
    args = [one["args"] for one in found.found.rows if "RUNTIME" not in (one["flag_names"] or "")]
    assert args == [["/bin/sleep", "613"]]
    assert any("their containers' own /etc/passwd" in reason for reason in found.completeness.reasons)
    made.remove()
