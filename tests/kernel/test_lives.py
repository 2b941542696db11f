"""Who made a process, and how its record ends where it goes out of sight."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from tests import asking
from tests.cgroups import TestCgroup
from tests.kernel.pool import Watch

pytestmark = pytest.mark.xdist_group("pool")

#: clone(2) with CLONE_PARENT by its number (x86-64, arm64); the child executes a program.
_CLONE_PARENT = """
    import ctypes, os, platform
    number = 56 if platform.machine() == "x86_64" else 220
    if not ctypes.CDLL(None).syscall(number, 0x8000 | 17, 0, 0, 0, 0):
        os.execv("/bin/true", ["true", "made"])
    os.posix_spawn("/bin/true", ["true", "born"], {})
    os.wait()
"""


def test_the_creator_of_a_child_that_has_another_parent(watch: Watch) -> None:
    """CLONE_PARENT: the kernel's parent is the creator's, and who made it is beside it, at its fork, exec and end, and in `tree`."""
    with watch as observed:
        script = '"$0" -c "$1"; exit 0'
        shell = watch.run(["/bin/sh", "-c", script, sys.executable, textwrap.dedent(_CLONE_PARENT)])
        shell.wait()
        query = "SELECT pid FROM process WHERE event = 'exec' AND args[2] = 'made'"
        made = observed.wait(query)[0]["pid"]
        observed.wait(f"SELECT 1 FROM process WHERE event = 'exit' AND pid = {made}")
    (creator,) = observed.rows(
        "SELECT pid, exec_id FROM process WHERE event = 'exec' AND args[2] = '-c' AND parent_tgid = " + str(shell.pid)
    )
    rows = observed.rows(
        f"SELECT event, parent_tgid, creator_tgid, creator_exec_id FROM process WHERE pid = {made} ORDER BY ktime"
    )
    assert [row.pop("event") for row in rows] == ["fork", "exec", "exit"]
    assert (
        rows == [{"parent_tgid": shell.pid, "creator_tgid": creator["pid"], "creator_exec_id": creator["exec_id"]}] * 3
    )
    (born,) = observed.rows("SELECT parent_tgid, creator_tgid FROM process WHERE event = 'exec' AND args[2] = 'born'")
    assert born == {"parent_tgid": creator["pid"], "creator_tgid": None}
    found = asking.answered(watch.history, "tree", str(made))
    assert f"made by {creator['exec_id']}" in (found.found.lines or [""])[0]


def test_a_process_that_leaves_the_scope(watch: Watch) -> None:
    """A row that says so, in the cgroup that it left; nothing of it afterwards, and an answer that does not call it running."""
    with TestCgroup() as outside, watch as observed:
        script = f"echo 0 > {outside.path}/cgroup.procs; /bin/true unseen; exit 5"
        gone = watch.run(["/bin/sh", "-c", script])
        gone.wait()
    (row,) = observed.rows(f"SELECT * FROM process WHERE event = 'left' AND pid = {gone.pid}")
    assert row["cgroup_path"] == watch.cgroup.where and row["exe"] and row["exit_code"] is None
    assert not observed.rows(f"SELECT 1 FROM process WHERE event = 'exit' AND pid = {gone.pid}")
    assert not observed.everything("SELECT 1 FROM process WHERE event = 'exec' AND args[2] = 'unseen'")
    ended = asking.answered(watch.history, "processes", f"pid={gone.pid}", "event=exec")
    assert [one["state"] for one in ended.found.rows] == ["left"]
    unknown = asking.answered(watch.history, "processes", f"pid={gone.pid}", "code=5")
    assert "1 left the scope" in unknown.sentence and "run" not in unknown.sentence.partition(";")[2]
    assert "it left the scope" in asking.answered(watch.history, "process", row["exec_id"]).sentence
    assert any(
        "left the scope" in line for line in asking.answered(watch.history, "tree", str(gone.pid)).found.lines or []
    )


def test_a_process_that_comes_back(watch: Watch) -> None:
    """It leaves once each time, and its end is recorded where it comes back."""
    with TestCgroup() as outside, watch as observed:
        away, back = (f"echo 0 > {folder}/cgroup.procs" for folder in (outside.path, watch.cgroup.path))
        child = watch.run(["/bin/sh", "-c", f"{away}; {away}; {back}; {away}; {back}; exit 6"])
        child.wait()
    rows = observed.rows(
        f"SELECT event, exit_code FROM process WHERE pid = {child.pid} AND event IN ('left', 'exit') ORDER BY ktime"
    )
    assert [(row["event"], row["exit_code"]) for row in rows] == [("left", None), ("left", None), ("exit", 6)]
    assert [
        one["state"] for one in asking.answered(watch.history, "processes", f"pid={child.pid}", "event=exec").found.rows
    ] == ["exited"]


def test_a_binary_whose_name_is_gone(watch: Watch, executable_dir: Path) -> None:
    """DELETED is of the name that was opened: another hard link does not hide it, and the file's other name is not deleted."""
    doomed, other = executable_dir / "doomed", executable_dir / "other"
    code = """
        import os, shutil, sys
        shutil.copy("/bin/true", sys.argv[1])
        os.link(sys.argv[1], sys.argv[2])
        file = os.open(sys.argv[1], os.O_RDONLY)
        os.unlink(sys.argv[1])
        os.execve(file, ["true", "unlinked"], {})
    """
    with watch as observed:
        child = watch.run(["/usr/bin/python3", "-c", textwrap.dedent(code), str(doomed), str(other)])
        assert child.wait() == 0
        assert watch.run([str(other), "linked"]).wait() == 0
    rows = observed.rows(
        "SELECT args[2] AS word, flag_names, file_links, exe FROM process WHERE args[2] IN ('unlinked', 'linked') AND event = 'exec'"
    )
    found = {row["word"]: row for row in rows}
    assert "DELETED" in (found["unlinked"]["flag_names"] or "") and found["unlinked"]["file_links"] == 1
    assert found["unlinked"]["exe"] == str(doomed)
    assert "DELETED" not in (found["linked"]["flag_names"] or "")
