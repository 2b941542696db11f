"""Processes that move themselves out of their container's cgroup: what goes by the container is then not complete, and `unknown` has them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests import asking
from tests.kernel.pool import Watch

pytestmark = pytest.mark.xdist_group("pool")

#: Moves one thread of several, where the hierarchy can do that (v1), and has it run a program; else the process.
_THREAD = """
    import pathlib, subprocess, sys, threading
    away = pathlib.Path(sys.argv[1])
    place = away / "tasks" if (away / "tasks").exists() else away / "cgroup.procs"
    def go():
        place.write_text(str(threading.get_native_id()))
        subprocess.run(["/bin/true", "from-a-thread"])
    one = threading.Thread(target=go)
    one.start()
    one.join()
"""


def _run(folder: Path, words: list[str]) -> int:
    """A program that moves into a cgroup before it is executed, as a runtime's child does; its id, once it has ended."""
    child = subprocess.Popen(words, preexec_fn=lambda: (folder / "cgroup.procs").write_text("0"))
    child.wait()
    return child.pid


@pytest.mark.parametrize("how", ["process", "thread"])
def test_out_of_the_container(watch: Watch, how: str) -> None:
    """A shell, or a thread, that moves itself beside its container, and what it runs there."""
    container = uuid.uuid4().hex * 2
    with watch as observed:
        begun, inside, away = datetime.now(UTC), watch.cgroup.below(container), watch.cgroup.below("away")
        words = ["/bin/sh", "-c", f"echo 0 > {away}/cgroup.procs; /bin/true unseen; exit 5"]
        if how == "thread":
            words = [sys.executable, "-c", textwrap.dedent(_THREAD), str(away)]
        child = _run(inside, words)
    moved = observed.rows(
        f"SELECT exec_start, cgroup_path FROM container WHERE event = 'move' AND exec_tgid = {child} ORDER BY ktime"
    )
    assert moved[-1]["cgroup_path"] == f"{watch.cgroup.where}/away" and moved[-1]["exec_start"] is not None
    outside = observed.rows("SELECT container FROM process WHERE event = 'exec' AND list_contains(args, 'unseen')")
    assert how == "thread" or [row["container"] for row in outside] == [None]
    for question in (("tree", container[:12]), ("processes", f"container={container}"), ("timeline", container)):
        reasons = asking.answered(watch.history, *question).completeness.reasons
        assert any("left" in one and f"{watch.cgroup.where}/away" in one for one in reasons), (question, reasons)
    rows = [
        row
        for row in asking.answered(watch.history, "unknown", since=begun).found.rows
        if row["cgroup_path"] == f"{watch.cgroup.where}/away"
    ]
    assert [row["why"] for row in rows] == [f"left container {container[:12]}"]


def test_a_runtime_that_moves_its_child_in(watch: Watch) -> None:
    """From outside into a container, and within it: nothing is astray."""
    container = uuid.uuid4().hex * 2
    with watch:
        begun, inside, inner = (
            datetime.now(UTC),
            watch.cgroup.below(container),
            watch.cgroup.below(f"{container}/inner"),
        )
        script = f"echo 0 > {inside}/cgroup.procs; echo 0 > {inner}/cgroup.procs; exec /bin/true within"
        watch.run(["/bin/sh", "-c", script]).wait()
    found = asking.answered(watch.history, "unknown", since=begun).found.rows
    assert not [
        row for row in found if row["why"].startswith("left container") and watch.cgroup.where in row["cgroup_path"]
    ]
