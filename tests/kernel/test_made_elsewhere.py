"""Children that clone3 makes in another cgroup than their creator's: no move follows that would record it."""

from __future__ import annotations

import sys
import textwrap
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests import asking
from tests.cgroups import UNIFIED, TestCgroup
from tests.kernel.pool import ObserverKind, Watch

pytestmark = pytest.mark.xdist_group("pool of names")

#: Moves into the first cgroup, where there are two, and makes a child in the last one, which executes a program.
_MAKE = """
    import ctypes, os, pathlib, struct, sys
    *begins, made = sys.argv[1:]
    for folder in begins:
        pathlib.Path(folder, "cgroup.procs").write_text("0")
    inside = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
    # struct clone_args of linux/sched.h: CLONE_INTO_CGROUP; exit_signal SIGCHLD; cgroup
    words = struct.pack("11Q", 0x200000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, inside)
    child = ctypes.CDLL(None).syscall(435, ctypes.create_string_buffer(words, len(words)), len(words))
    if not child:
        os.execv("/bin/true", ["true", "elsewhere"])
    assert child > 0 and os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture(scope="module")
def observer_kind() -> ObserverKind:
    """Cgroups in v2 alone: clone3 takes no others."""
    return ObserverKind(hierarchies=UNIFIED)


def _make(watch: Watch, *folders: Path) -> int:
    """The creator's process id, once both have ended."""
    creator = watch.run([sys.executable, "-I", "-c", textwrap.dedent(_MAKE), *map(str, folders)])
    assert creator.wait() == 0
    return creator.pid


def test_outside_the_scope(watch: Watch) -> None:
    """As if it left at once: its fork and a row that says so, in its creator's cgroup; nothing of what it does there."""
    with TestCgroup(UNIFIED) as outside, watch as observed:
        creator = _make(watch, outside.path)
    rows = observed.rows(
        f"SELECT event, exec_id, parent_tgid, cgroup_path, pid FROM process WHERE parent_tgid = {creator}"
    )
    assert [row["event"] for row in rows] == ["fork", "left"] and len({row["exec_id"] for row in rows}) == 1
    assert {row["cgroup_path"] for row in rows} == {watch.cgroup.where}
    assert not observed.everything("SELECT 1 FROM process WHERE list_contains(args, 'elsewhere')")
    (found,) = asking.answered(watch.history, "processes", "state=left", f"pid={rows[0]['pid']}").found.rows
    assert found["exec_id"] == rows[0]["exec_id"]
    lines = asking.answered(watch.history, "tree", str(creator)).found.lines or []
    assert [line for line in lines if "left the scope" in line], lines


def test_out_of_its_creators_container(watch: Watch) -> None:
    """It is astray, with what it runs; so are questions about the container not complete."""
    container = uuid.uuid4().hex * 2
    with watch as observed:
        begun, inside, away = datetime.now(UTC), watch.cgroup.below(container), watch.cgroup.below("away")
        creator = _make(watch, inside, away)
    (child,) = observed.rows(f"SELECT pid, cgroup_path FROM process WHERE event = 'exec' AND parent_tgid = {creator}")
    assert child["cgroup_path"] == f"{watch.cgroup.where}/away"
    moved = observed.rows(f"SELECT cgroup_path FROM container WHERE event = 'move' AND exec_tgid = {child['pid']}")
    assert [row["cgroup_path"] for row in moved] == [f"{watch.cgroup.where}/away"]
    rows = asking.answered(watch.history, "unknown", since=begun).found.rows
    astray = [row["why"] for row in rows if row["cgroup_path"] == f"{watch.cgroup.where}/away"]
    assert astray == [f"left container {container[:12]}"]
    for question in (("tree", container[:12]), ("processes", f"container={container}"), ("timeline", container)):
        reasons = asking.answered(watch.history, *question).completeness.reasons
        assert any("left" in one and f"{watch.cgroup.where}/away" in one for one in reasons), (question, reasons)


def test_into_a_container(watch: Watch) -> None:
    """A runtime's child, from no container into one, and from a container into one nested in it: nothing is astray."""
    container = uuid.uuid4().hex * 2
    with watch:
        begun, inside = datetime.now(UTC), watch.cgroup.below(container)
        _make(watch, inside)
        _make(watch, inside, watch.cgroup.below(f"{container}/inner"))
    found = asking.answered(watch.history, "unknown", since=begun).found.rows
    assert not [row for row in found if "left" in row["why"] and watch.cgroup.where in row["cgroup_path"]]
