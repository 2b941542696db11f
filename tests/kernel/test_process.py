"""The process subject, live: every column against /proc and against what the test itself knows."""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firsthand.probe import pins
from tests import require
from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel.observed import Observed, boot_id, compiled
from tests.kernel.pool import Watch, strangers

pytestmark = pytest.mark.xdist_group("pool")

_NAMESPACES = {
    "ns_mount": "mnt",
    "ns_uts": "uts",
    "ns_ipc": "ipc",
    "ns_net": "net",
    "ns_pid": "pid",
    "ns_cgroup": "cgroup",
    "ns_time": "time",
    "ns_user": "user",
}
_SELF_PORTRAIT = """
import json, os, resource, sys
status = dict(line.rstrip("\\n").split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
names = "mnt uts ipc net pid cgroup time user".split()
print(json.dumps({
    "pid": os.getpid(), "ppid": os.getppid(), "exe": os.readlink("/proc/self/exe"), "cwd": os.getcwd(),
    "args": open("/proc/self/cmdline", "rb").read().decode().split("\\0")[:-1],
    "environment": [v.split("=")[0] for v in open("/proc/self/environ").read().split("\\0")[:-1]],
    "uid": status["Uid"].split(), "gid": status["Gid"].split(), "comm": open("/proc/self/comm").read().strip(),
    "caps": [int(status[c], 16) for c in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "namespaces": {n: os.stat(f"/proc/self/ns/{n}").st_ino for n in names},
    "start": int(open("/proc/self/stat").read().rpartition(")")[2].split()[19]),
    "file": [os.stat("/proc/self/exe").st_ino, os.stat("/proc/self/exe").st_mode, os.stat("/proc/self/exe").st_nlink,
             os.stat("/proc/self/exe").st_dev],
    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
}))
"""


def _one(rows: list[dict[str, Any]]) -> dict[str, Any]:
    assert len(rows) == 1, f"expected one row, found {len(rows)}: {rows}"
    return rows[0]


def _exec_of(observed: Observed | Watch, pid: int) -> dict[str, Any]:
    return _one(
        observed.rows(f"SELECT * FROM process WHERE event = 'exec' AND pid = {pid} ORDER BY exec_number DESC LIMIT 1")
    )


def _exit_of(observed: Observed | Watch, pid: int) -> dict[str, Any]:
    return _one(observed.rows(f"SELECT * FROM process WHERE event = 'exit' AND pid = {pid}"))


def test_every_column_agrees_with_proc(watch: Watch, tmp_path: Path) -> None:
    """What a process reads of itself in /proc is what its exec row says, column by column."""
    import json

    with watch as observed:
        child = watch.run(
            ["/usr/bin/python3", "-c", _SELF_PORTRAIT, "plain", "with blank", ""],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            cwd=tmp_path,
            env={"PATH": "/usr/bin", "FH_SECRET_VALUE": "visible-nowhere"},
        )
        portrait = json.loads(child.communicate()[0])
        assert child.returncode == 0
    row, ended = _exec_of(observed, child.pid), _exit_of(observed, child.pid)
    assert row["boot"] == boot_id() and row["node"] == os.uname().nodename
    assert row["exec_tgid"] == row["pid"] == row["tid"] == row["namespace_pid"] == portrait["pid"]
    assert row["parent_tgid"] == portrait["ppid"] == os.getpid()
    assert row["exe"] == portrait["exe"] and row["cwd"] == portrait["cwd"] == str(tmp_path)
    assert row["args"] == portrait["args"] and row["filename_raw"] == "/usr/bin/python3"
    assert sorted(row["env_names"]) == sorted(portrait["environment"]) and row["env_values"] is None
    assert [str(row[c]) for c in ("uid", "euid", "suid", "fsuid")] == portrait["uid"]
    assert [str(row[c]) for c in ("gid", "egid", "sgid", "fsgid")] == portrait["gid"]
    sets = ("cap_inheritable", "cap_permitted", "cap_effective", "cap_bounding", "cap_ambient")
    assert [row[c] for c in sets] == portrait["caps"]
    assert {_NAMESPACES[c]: row[c] for c in _NAMESPACES} == portrait["namespaces"]
    assert row["host_namespaces"] == "mount uts ipc net pid cgroup time user"
    assert row["exec_start"] // (1_000_000_000 // os.sysconf("SC_CLK_TCK")) == portrait["start"]
    inode, mode, links, device = portrait["file"]
    assert (row["file_inode"], row["file_mode"], row["file_links"]) == (inode, mode, links)
    assert row["file_device"] == f"{os.major(device)}:{os.minor(device)}"
    assert (row["stdin"], row["stdout"]) == ("null", "pipe")
    assert row["cgroup_id"] == watch.cgroup.path.stat().st_ino and row["container"] is None
    assert row["comm"] == portrait["comm"] and row["parent_name"] == Path(os.readlink("/proc/self/exe")).name
    assert row["previous_number"] == row["exec_number"] - 1
    assert ended["exit_code"] == 0 and ended["exit_signal"] is None and not ended["core_dumped"]
    assert ended["exec_id"] == row["exec_id"] and ended["exe"] == row["exe"]
    assert ended["peak_memory"] >= portrait["peak"] * 1024
    assert ended["duration"] >= ended["ktime"] - ended["exec_start"] - 1_000_000
    assert "visible-nowhere" not in str(observed.rows("SELECT * FROM process"))


def test_nothing_outside_the_scope_is_recorded(watch: Watch) -> None:
    """A process outside the scope leaves no row, while one inside does."""
    with watch as observed:
        outside = subprocess.Popen(["/bin/true"])
        outside.wait()
        inside = watch.run(["/bin/true"])
        inside.wait()
    assert observed.everything(f"SELECT pid FROM process WHERE pid = {outside.pid}") == []
    assert observed.everything(strangers(watch.pooled.cgroup.where)) == []
    assert _exec_of(observed, inside.pid)["exe"] == "/usr/bin/true"
    assert observed.rows("SELECT DISTINCT cgroup_id FROM process") == [{"cgroup_id": watch.cgroup.path.stat().st_ino}]


@pytest.mark.parametrize(
    ("command", "code", "ended_by"),
    [("exit 0", 0, None), ("exit 42", 42, None), ("kill -KILL $$", None, 9), ("kill -SEGV $$", None, 11)],
)
def test_exit_rows_say_how_it_ended(watch: Watch, command: str, code: int | None, ended_by: int | None) -> None:
    """Code and signal are what wait(2) reports."""
    with watch as observed:
        child = watch.run(["/bin/sh", "-c", command])
        status = child.wait()
    row = _exit_of(observed, child.pid)
    assert (row["exit_code"], row["exit_signal"]) == (code, ended_by)
    assert status == (code if code is not None else -(ended_by or 0))


def test_a_script_names_script_and_interpreter(watch: Watch, executable_dir: Path) -> None:
    """exe is the interpreter's binary; the script and the name of the interpreter are kept as given."""
    script = executable_dir / "job.sh"
    script.write_text("#!/bin/sh -e\nexit 0\n")
    script.chmod(0o755)
    with watch as observed:
        child = watch.run([str(script), "argument"])
        child.wait()
    row = _exec_of(observed, child.pid)
    assert (row["exe"], row["script_raw"], row["interpreter_raw"]) == ("/usr/bin/dash", str(script), "/bin/sh")
    assert row["args"] == ["/bin/sh", "-e", str(script), "argument"] and "SCRIPT" in row["flag_names"]


def test_memfd_and_deleted_binaries_are_flagged(watch: Watch, executable_dir: Path) -> None:
    """An anonymous memory file and an unlinked binary are told apart from ordinary ones."""
    doomed = executable_dir / "doomed"
    shutil.copy("/bin/true", doomed)
    code = """
        import os, sys
        if sys.argv[1] == "memfd":
            fd = os.memfd_create("payload")
            os.write(fd, open("/bin/true", "rb").read())
        else:
            fd = os.open(sys.argv[2], os.O_RDONLY)
            os.unlink(sys.argv[2])
        os.execve(fd, ["innocent"], {})
    """
    with watch as observed:
        memory = watch.run(["/usr/bin/python3", "-c", textwrap.dedent(code), "memfd"])
        deleted = watch.run(["/usr/bin/python3", "-c", textwrap.dedent(code), "deleted", str(doomed)])
        assert (memory.wait(), deleted.wait()) == (0, 0)
    row = _exec_of(observed, memory.pid)
    assert "MEMFD" in row["flag_names"] and "memfd:payload" in row["exe"] and row["args"] == ["innocent"]
    row = _exec_of(observed, deleted.pid)
    assert "DELETED" in row["flag_names"] and row["file_links"] == 0 and row["exe"] == str(doomed)


def test_set_uid_counts_only_with_a_gain(watch: Watch, executable_dir: Path) -> None:
    """A set-uid root binary run by another user is flagged SETUID and SECURE; run by root it gains nothing."""
    binary = executable_dir / "elevated"
    shutil.copy("/bin/true", binary)
    binary.chmod(0o4755)
    with watch as observed:
        gained = watch.run([str(binary)], user=65534)
        nothing = watch.run([str(binary)])
        assert (gained.wait(), nothing.wait()) == (0, 0)
    row = _exec_of(observed, gained.pid)
    assert {"SETUID", "SECURE"} <= set(row["flag_names"].split(","))
    assert (row["uid"], row["euid"], row["suid"]) == (65534, 0, 0) and row["file_mode"] & stat.S_ISUID
    assert "SETUID" not in (_exec_of(observed, nothing.pid)["flag_names"] or "")


def test_file_capabilities_with_a_gain_are_flagged(watch: Watch, executable_dir: Path) -> None:
    """A binary with file capabilities run by a user without them is flagged FILECAPS and holds them."""
    binary = executable_dir / "capable"
    shutil.copy("/bin/true", binary)
    net_raw = 1 << 13
    # struct vfs_cap_data, revision 2 with the effective bit: include/uapi/linux/capability.h
    value = (0x02000001).to_bytes(4, "little") + net_raw.to_bytes(4, "little") + bytes(12)
    os.setxattr(binary, "security.capability", value)
    with watch as observed:
        child = watch.run([str(binary)], user=65534)
        assert child.wait() == 0
    row = _exec_of(observed, child.pid)
    assert "FILECAPS" in row["flag_names"] and row["cap_permitted"] == row["cap_effective"] == net_raw


def test_drift_is_a_binary_of_the_upper_layer(watch: Watch, executable_dir: Path) -> None:
    """On an overlay, what the image holds is no drift; what was written into it is. Paths cross the mount."""
    for name in ("lower", "upper", "work", "merged"):
        (executable_dir / name).mkdir()
    shutil.copy("/bin/true", executable_dir / "lower/shipped")
    merged = executable_dir / "merged"
    options = ",".join(
        f"{k}={executable_dir / v}"
        for k, v in zip(("lowerdir", "upperdir", "workdir"), ("lower", "upper", "work"), strict=True)
    )
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(merged)], check=True)
    try:
        shutil.copy("/bin/true", merged / "dropped")
        with watch as observed:
            shipped, dropped = watch.run([str(merged / "shipped")]), watch.run([str(merged / "dropped")])
            assert (shipped.wait(), dropped.wait()) == (0, 0)
    finally:
        subprocess.run(["umount", str(merged)], check=True)
    assert "DRIFT" not in (_exec_of(observed, shipped.pid)["flag_names"] or "")
    row = _exec_of(observed, dropped.pid)
    assert "DRIFT" in row["flag_names"] and row["exe"] == str(merged / "dropped")


def test_a_bind_mount_does_not_hide_where_a_binary_is_run_from(watch: Watch, executable_dir: Path) -> None:
    """The path is that of the mount it was opened through, whatever symlinks the caller used."""
    for name in ("real", "bound"):
        (executable_dir / name).mkdir()
    shutil.copy("/bin/true", executable_dir / "real/tool")
    (executable_dir / "link").symlink_to(executable_dir / "bound")
    subprocess.run(["mount", "--bind", str(executable_dir / "real"), str(executable_dir / "bound")], check=True)
    try:
        with watch as observed:
            child = watch.run([f"{executable_dir}/link/../bound/./tool"])
            assert child.wait() == 0
    finally:
        subprocess.run(["umount", str(executable_dir / "bound")], check=True)
    row = _exec_of(observed, child.pid)
    assert row["exe"] == str(executable_dir / "bound/tool")
    assert row["filename_raw"] == f"{executable_dir}/link/../bound/./tool"


def test_long_arguments_and_environments_are_cut_and_say_so(watch: Watch) -> None:
    """The first 4096 bytes are kept; the true length and a flag stand beside them."""
    long = "x" * 9000
    with watch as observed:
        child = watch.run(["/bin/true", "first", long, "last"], env={"A": "1", "LONG": long, "Z": "1"})
        child.wait()
    row = _exec_of(observed, child.pid)
    assert row["args_length"] == len("/bin/true") + 1 + len("first") + 1 + 9001 + len("last") + 1
    assert row["args"][:2] == ["/bin/true", "first"] and set(row["args"][2]) == {"x"} and len(row["args"]) == 3
    assert sum(len(argument) + 1 for argument in row["args"]) == 4097
    assert {"ARGS_TRUNCATED", "ENV_TRUNCATED"} <= set(row["flag_names"].split(","))
    assert row["env_names"][0] == "A" and row["env_length"] > 9000


def test_hostile_bytes_reach_the_disk_unchanged(watch: Watch) -> None:
    """Newlines, terminal escapes, quotes and bytes that are not UTF-8 are kept as they were."""
    arguments: list[str | bytes] = ["/bin/true", "two\nlines", "\x1b]0;owned\x07\x1b[2J", "'\"" * 500]
    with watch as observed:
        valid = watch.run(arguments)
        broken = watch.run([*arguments, b"caf\xe9 \xff\xfe"])
        assert (valid.wait(), broken.wait()) == (0, 0)
    row = _exec_of(observed, valid.pid)
    assert row["args"] == arguments and row["args_bytes"] is None
    row = _exec_of(observed, broken.pid)
    original = b"\0".join(a if isinstance(a, bytes) else a.encode() for a in [*arguments, b"caf\xe9 \xff\xfe"])
    assert row["args_bytes"].rstrip(b"\0") == original and row["args"][-1] == "caf\\xe9 \\xff\\xfe"


def test_secrets_do_not_reach_the_disk(watch: Watch) -> None:
    """A password on a command line is in no file of the history; the rest of the line is."""
    with watch as observed:
        child = watch.run(["/bin/true", "--password", "hunter2-hunter2", "--user", "alice"])
        child.wait()
    row = _exec_of(observed, child.pid)
    assert row["args"] == ["/bin/true", "--password", "[redacted]", "--user", "alice"]
    assert row["redacted"] and row["redaction"]
    files = [path for path in watch.history.rglob("*") if path.is_file()]
    assert files and not any(b"hunter2-hunter2" in path.read_bytes() for path in files)


def test_a_chain_of_shells_is_one_lineage(watch: Watch) -> None:
    """Twelve shells, each forking the next: every parent id names the row before it."""
    command = 'if [ "$1" -gt 1 ]; then sh -c "$0" "$0" $(($1 - 1)); exit $?; fi; exit 5'
    with watch as observed:
        child = watch.run(["/bin/sh", "-c", command, command, "12"])
        assert child.wait() == 5
    rows = observed.rows("SELECT exec_id, parent_exec_id, pid FROM process WHERE event = 'exec' ORDER BY ktime")
    assert len(rows) == 12 and rows[0]["pid"] == child.pid
    for parent, row in itertools.pairwise(rows):
        assert row["parent_exec_id"] == parent["exec_id"]


def test_a_double_fork_keeps_the_parent_that_forked(watch: Watch) -> None:
    """A daemon's parent is the process that forked it, although that ended and it was given to another."""
    code = """
        import os, sys
        reading, writing = os.pipe()
        if os.fork() == 0:
            if os.fork() == 0:
                os.close(writing)
                os.read(reading, 1)
                os.execv("/bin/echo", ["echo", "daemon"])
            os._exit(0)
        os.close(reading)
        os.wait()
        os.close(writing)
    """
    with watch as observed:
        child = watch.run(["/usr/bin/python3", "-c", textwrap.dedent(code)], stdout=subprocess.PIPE)
        assert child.communicate()[0] == b"daemon\n"
    daemon = _one(observed.rows("SELECT * FROM process WHERE event = 'exec' AND exe = '/usr/bin/echo'"))
    middle = _one(observed.rows(f"SELECT * FROM process WHERE event = 'fork' AND pid = {daemon['parent_tgid']}"))
    assert middle["exec_id"] == daemon["parent_exec_id"] and middle["parent_tgid"] == child.pid
    assert "PARENT_UNSURE" not in (daemon["flag_names"] or "")
    assert middle["exe"].startswith("/usr/bin/python3")


def test_the_leader_may_exit_first(watch: Watch, tmp_path: Path) -> None:
    """One exit row, when the last thread goes, with the code of the whole process."""
    program = compiled("leader_exits_first", tmp_path)
    with watch as observed:
        child = watch.run([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdin is not None and child.stdout is not None and child.stdout.read(1) == b"t"
        while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
            os.sched_yield()
        child.stdin.close()
        assert child.wait() == 7
    row = _exit_of(observed, child.pid)
    assert (row["exit_code"], row["exit_signal"]) == (7, None)
    assert row["exec_id"] == _exec_of(observed, child.pid)["exec_id"] and row["tid"] != row["pid"]


def test_exec_from_a_thread_stays_the_same_process(watch: Watch, tmp_path: Path) -> None:
    """The new image keeps tgid and start, its previous image is the one whose thread called, and it has one exit."""
    program = compiled("exec_from_thread", tmp_path)
    with watch as observed:
        child = watch.run([str(program), "/bin/true"])
        assert child.wait() == 0
    first, second = observed.rows(
        f"SELECT * FROM process WHERE event = 'exec' AND pid = {child.pid} ORDER BY exec_number"
    )
    assert second["exe"] == "/usr/bin/true" and "FROM_THREAD" in second["flag_names"]
    assert second["previous_exec_id"] == first["exec_id"] and second["parent_exec_id"] == first["parent_exec_id"]
    assert _exit_of(observed, child.pid)["exec_id"] == second["exec_id"]


def test_forks_that_never_exec_have_a_life(watch: Watch) -> None:
    """A forked child has a fork and an exit row under one id, with the binary that it inherited."""
    code = "import os\nfor i in range(3):\n p = os.fork()\n if p == 0: os._exit(i)\n os.waitpid(p, 0)"
    with watch as observed:
        child = watch.run(["/usr/bin/python3", "-c", code])
        assert child.wait() == 0
    parent = _exec_of(observed, child.pid)
    rows = observed.rows(f"SELECT * FROM process WHERE parent_tgid = {child.pid} ORDER BY ktime")
    assert [(r["event"], r["exit_code"]) for r in rows] == [
        (e, c) for i in range(3) for e, c in (("fork", None), ("exit", i))
    ]
    assert {r["exe"] for r in rows} == {parent["exe"]} and {r["parent_exec_id"] for r in rows} == {parent["exec_id"]}
    for fork, ended in zip(rows[::2], rows[1::2], strict=True):
        assert fork["exec_id"] == ended["exec_id"]


def test_threads_are_no_processes(watch: Watch) -> None:
    """A thread leaves neither fork nor exit rows."""
    code = "import threading\nfor _ in range(20):\n t = threading.Thread(target=int); t.start(); t.join()"
    with watch as observed:
        child = watch.run(["/usr/bin/python3", "-c", code])
        assert child.wait() == 0
    counted = observed.rows("SELECT event, count(*) AS n FROM process GROUP BY event ORDER BY event")
    assert counted == [{"event": "exec", "n": 1}, {"event": "exit", "n": 1}]


def test_a_reused_pid_joins_no_two_processes(watch: Watch, tmp_path: Path) -> None:
    """A thousand owners of one pid, each with an orphan that outlives it: as many ids, and each orphan keeps its parent."""
    program = compiled("reuse_pid", tmp_path)
    pid, times = _free_pid(), 1000
    with watch as observed:
        child = watch.run([str(program), str(pid), str(times)], stdout=subprocess.PIPE)
        output = child.communicate()[0].decode()
        assert child.returncode == 0, output[-500:]
    orphans = [int(line.split()[1]) for line in output.splitlines()]
    owners = observed.rows(f"SELECT * FROM process WHERE event = 'fork' AND pid = {pid} ORDER BY ktime")
    assert len(owners) == times == len({row["exec_id"] for row in owners})
    exits = observed.rows(f"SELECT exec_id FROM process WHERE event = 'exit' AND pid = {pid}")
    assert {row["exec_id"] for row in exits} == {row["exec_id"] for row in owners} and len(exits) == times
    forks = observed.rows(f"SELECT * FROM process WHERE event = 'fork' AND parent_tgid = {pid} ORDER BY ktime")
    assert [row["pid"] for row in forks] == orphans
    for owner, orphan in zip(owners, forks, strict=True):
        assert orphan["parent_exec_id"] == owner["exec_id"]
    execs = observed.rows("SELECT * FROM process WHERE event = 'exec' AND exe = '/usr/bin/true' ORDER BY ktime")
    parents = {row["pid"]: row["parent_exec_id"] for row in forks}
    assert len(execs) == times
    for row in execs:
        assert row["parent_exec_id"] == parents[row["pid"]] and "PARENT_UNSURE" not in (row["flag_names"] or "")


def _free_pid() -> int:
    """A pid far from those that the kernel hands out next, and from another worker's."""
    most = int(Path("/proc/sys/kernel/pid_max").read_text())
    least = most - 100 - 1000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return next(pid for pid in range(least, 2, -1) if not Path(f"/proc/{pid}").exists())


def test_cgroups_come_go_and_take_processes_in(watch: Watch) -> None:
    """create, move and remove rows of a cgroup below the scope, under its kernfs id and path."""
    with watch as observed:
        inner = watch.cgroup.path / "inner"
        inner.mkdir()
        number = inner.stat().st_ino
        child = subprocess.Popen(
            ["/bin/true"], preexec_fn=lambda: (inner / "cgroup.procs").write_text(str(os.getpid())) and None
        )
        child.wait()
        inner.rmdir()
    rows = observed.rows(f"SELECT * FROM container WHERE cgroup_id = {number} ORDER BY ktime")
    assert [row["event"] for row in rows] == ["create", "move", "remove"]
    assert all(row["cgroup_path"].endswith(f"{watch.cgroup.path.name}/inner") for row in rows)
    assert rows[1]["exec_tgid"] == child.pid
    assert _exec_of(observed, child.pid)["cgroup_path"] == rows[0]["cgroup_path"]


class ProgramRun:
    """One run from its start to its end: what ran before, a second run on the same instance, a last program, SIGTERM."""

    def __init__(self, cgroup: TestCgroup, folder: Path) -> None:
        self.early = cgroup.run(["/bin/cat", "-"], stdin=subprocess.PIPE)
        assert self.early.stdin is not None
        self.observed = Observed(folder / "history", [cgroup.path])
        self.observed.start()
        self.pins = pins.folder_of(self.observed.instance)
        self.pinned = [path.name for path in self.pins.iterdir()]
        other = [str(folder / "other") if word == str(folder / "history") else word for word in self.observed.command]
        self.second = subprocess.run(other, capture_output=True, text=True, check=False)
        self.early.stdin.close()
        self.early.wait()
        self.last = cgroup.run(["/bin/true"])
        self.last.wait()
        self.observed.process.send_signal(signal.SIGTERM)
        self.code = self.observed.process.wait()


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProgramRun]:
    """Of a run that no other test shares: of its start and its end."""
    require.bpf()
    with TestCgroup() as cgroup:
        yield ProgramRun(cgroup, tmp_path_factory.mktemp("run"))


def test_processes_that_ran_before_are_seen(ended: ProgramRun) -> None:
    """What runs when observing begins has a row `seen`, with arguments, and its end is recorded under the same id."""
    seen = _one(ended.observed.rows(f"SELECT * FROM process WHERE event = 'seen' AND pid = {ended.early.pid}"))
    assert (seen["exe"], seen["args"], seen["stdin"]) == ("/usr/bin/cat", ["/bin/cat", "-"], "pipe")
    assert "PARENT_UNSURE" in seen["flag_names"]
    assert _exit_of(ended.observed, ended.early.pid)["exec_id"] == seen["exec_id"]


def test_a_session_leaves_nothing_behind(ended: ProgramRun) -> None:
    """After the end neither pins nor attached programs of the instance are left."""
    assert any(name.startswith("link_") for name in ended.pinned)
    assert not ended.pins.exists()


def test_a_second_reader_is_refused(ended: ProgramRun) -> None:
    """Two observers on one instance: the second says who holds it, and exits 1."""
    assert ended.second.returncode == 1 and "another observer" in ended.second.stderr
    assert "ready" not in ended.second.stderr


def test_a_terminal_ends_it_cleanly(ended: ProgramRun) -> None:
    """SIGTERM, as SIGINT, drains and exits 0, and the last process before it is recorded."""
    assert ended.code == 0
    assert _exit_of(ended.observed, ended.last.pid)["exit_code"] == 0


def test_a_wrong_scope_is_refused(history: Path, tmp_path: Path) -> None:
    """A folder that is no cgroup is a usage error that names a right one."""
    command = [sys.executable, "-m", "firsthand", "run", "--history", str(history), "--scope", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "not a cgroup's folder" in done.stderr


def test_an_ordinary_user_is_told_what_is_missing(tmp_path: Path) -> None:
    """Without root it does not start, says so and exits 1."""
    place = Path("/var/tmp") / f"firsthand-user-{os.getpid()}"
    command = [sys.executable, "-m", "firsthand", "run", "--history", str(place)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, user=65534, group=65534, env={"HOME": "/"}
    )
    assert done.returncode == 1 and "root" in done.stderr


def test_personal_pid_namespaces(watch: Watch) -> None:
    """In a pid namespace of its own the process is 1 there, and its namespace is not the host's."""
    CLONE_NEWPID = 0x20000000
    libc = ctypes.CDLL(None, use_errno=True)
    code = f"import ctypes, os\nctypes.CDLL(None).unshare({CLONE_NEWPID})\nos.waitpid(os.posix_spawn('/bin/true', ['true'], {{}}), 0)"
    assert libc is not None
    with watch as observed:
        assert watch.run(["/usr/bin/python3", "-c", code]).wait() == 0
    row = _one(observed.rows("SELECT * FROM process WHERE event = 'exec' AND exe = '/usr/bin/true'"))
    assert row["namespace_pid"] == 1 and row["pid"] != 1
    assert "pid" not in row["host_namespaces"].split() and "mount" in row["host_namespaces"].split()


@pytest.mark.landing("more processes than the ring holds")
def test_more_than_the_ring_holds_may_run_before(
    cgroup: TestCgroup, history: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The iterator waits for room: of 1,000 processes none is lost in a ring that holds a few hundred."""
    configured(tmp_path, monkeypatch, "ring_bytes = 262144\n")
    script = "i=0; while [ $i -lt 1000 ]; do read line <&3 & i=$((i+1)); done; echo; wait"
    reading, writing = os.pipe()
    words = ["/bin/sh", "-c", f"exec 3<&0; {script}"]
    child = cgroup.run(words, stdin=reading, stdout=subprocess.PIPE, env={"A": "b" * 3000})
    assert child.stdout is not None and child.stdout.readline() == b"\n"
    with Observed(history, [cgroup.path]) as observed:
        pass
    os.close(writing)
    os.close(reading)
    assert observed.rows("SELECT count(*) AS n FROM process WHERE event = 'seen'")[0]["n"] == 1001
    assert observed.lost() == 0
