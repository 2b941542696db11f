"""Which hierarchy carries the containers is read from what is mounted."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from firsthand.errors import UsageError
from firsthand.probe import hierarchy
from tests import require

_V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
_HYBRID = """31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 23 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
34 23 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
"""
_NUMBERS = "9:name=systemd:/\n8:memory:/a\n3:cpu,cpuacct:/\n0::/\n"


def test_version_2_alone_is_taken() -> None:
    """On a unified machine the v2 hierarchy has number 0 and code 0."""
    (found,) = hierarchy.mounted(_V2, "0::/\n")
    assert (found.number, found.controller, found.mount, found.code) == (0, "", Path("/sys/fs/cgroup"), 0)


def test_a_controller_comes_before_version_2_on_a_hybrid_machine() -> None:
    """memory first, with the number that /proc/self/cgroup gives it; v2 last; name=systemd never."""
    found = hierarchy.mounted(_HYBRID, _NUMBERS)
    assert [(h.controller, h.number, h.code) for h in found] == [
        ("memory", 8, 1),
        ("cpu", 3, 3),
        ("cpuacct", 3, 4),
        ("", 0, 0),
    ]


def test_octal_escapes_in_mount_points_are_undone() -> None:
    """proc(5): a blank in a path is written \\040."""
    line = "30 23 0:26 / /a\\040b rw - cgroup2 cgroup2 rw\n"
    assert hierarchy.mounted(line, "0::/\n")[0].mount == Path("/a b")


def test_an_unknown_hierarchy_is_refused() -> None:
    """The error names what is mounted."""
    with pytest.raises(UsageError, match="not mounted here; mounted are"):
        hierarchy.choose([], "perf_event")


def test_a_scope_that_is_no_cgroup_is_refused(tmp_path: Path) -> None:
    """The error names the folder and a right place."""
    with pytest.raises(UsageError, match="not a cgroup's folder"):
        hierarchy.choose([tmp_path])


def test_the_root_is_had_where_it_is_nowhere_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that mounts version 1 alone has a version 2 all the same: sockets belong to it."""
    require.root()
    found = [hierarchy.Hierarchy(1, "memory", Path("/sys/fs/cgroup/memory"))]
    monkeypatch.setattr(hierarchy, "here", lambda: found)
    root = hierarchy.open_version2()
    try:
        assert os.fstat(root).st_ino == hierarchy.ROOT
        assert "cgroup.procs" in os.listdir(root)
    finally:
        os.close(root)


def test_a_part_is_not_taken_for_the_root() -> None:
    """In a cgroup namespace what is mounted there shows the namespace's part: programs there would see its sockets alone."""
    require.root()
    root = hierarchy.open_version2()
    part = f"firsthand-test-{uuid.uuid4().hex[:12]}"
    os.mkdir(part, dir_fd=root)
    try:
        code = "from firsthand.probe import hierarchy as h; h.here = list; h.open_version2()"
        words = [sys.executable, "-c", code]
        enter = f'echo $$ > /proc/self/fd/{root}/{part}/cgroup.procs && exec unshare --cgroup --mount "$@"'
        shown = subprocess.run(["/bin/sh", "-c", enter, "sh", *words], pass_fds=[root], capture_output=True, text=True)
        assert shown.returncode and "mount the host's cgroup2" in shown.stderr
    finally:
        os.rmdir(part, dir_fd=root)
        os.close(root)
