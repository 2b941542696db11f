"""Watched files, live: which rows each way to open, write, rename, link, remove and change a file leaves; none of what is not watched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import asking, require
from tests.kernel.agent import Agent, RefusedCall
from tests.kernel.live import flags
from tests.kernel.observed import Observed
from tests.kernel.pool import ObserverKind, Watch

pytestmark = pytest.mark.xdist_group("pool")

#: A folder that only these tests watch; `read` and `write` below it are the lists' own.
_ROOT = Path(f"/var/tmp/firsthand-files-{uuid.uuid4().hex[:8]}")
_SETTINGS = f"""
[files]
enabled = true
read = ["{_ROOT}/read/", "**/only-{_ROOT.name}-*/secret", "{_ROOT}/deep/a/b/c/d/file", "**/above-{_ROOT.name}/secret",
    "{_ROOT}/?/secret"]
write = ["{_ROOT}/write/", "{_ROOT}/one"]
"""


@pytest.fixture(scope="module")
def observer_kind() -> ObserverKind:
    """One that watches."""
    return ObserverKind(_SETTINGS)


@pytest.fixture
def root() -> Iterator[Path]:
    """The folder, empty, on a file system with a disk."""
    shutil.rmtree(_ROOT, ignore_errors=True)
    for name in ("read", "write", "plain"):
        (_ROOT / name).mkdir(parents=True)
    yield _ROOT
    shutil.rmtree(_ROOT)


@pytest.fixture
def agent(watch: Watch, root: Path) -> Iterator[Agent]:
    """A process in the watched cgroup that does what it is told."""
    made = Agent(watch.cgroup)
    made.do("import ctypes, fcntl; libc = ctypes.CDLL(None, use_errno=True)")
    yield made
    made.process.kill()
    made.process.wait()


def _rows(watch: Watch, least: int, where: str = "true") -> list[dict[str, Any]]:
    """So many rows of `file`, and no more: those of what is not watched would be among them."""
    rows = watch.wait(f"SELECT * FROM file WHERE {where} ORDER BY ktime, seq", least)
    assert len(rows) == least, [(row["event"], row["path"], row["target"]) for row in rows]
    return rows


def _told(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["event"], row["path"]) for row in rows]


_OPENS = {
    "open": "os.open({path!r}, {flags})",
    "relative": "os.chdir({folder!r}); os.open({name!r}, {flags})",
    "of a folder's descriptor": "os.open({name!r}, {flags}, dir_fd=os.open({folder!r}, os.O_PATH))",
    "dots": "os.open({folder!r} + '/../' + os.path.basename({folder!r}) + '/./' + {name!r}, {flags})",
    "openat2": "libc.syscall(437, -100, {path!r}.encode(), struct.pack('3Q', {flags}, 0, 0), 24)",
    "O_PATH, then /proc/self/fd": "os.open('/proc/self/fd/%d' % os.open({path!r}, os.O_PATH), {flags})",
    "handle": "libc.syscall(304, os.open('/var/tmp', os.O_RDONLY), handle({path!r}), {flags})",
    "symbolic link": "os.symlink({path!r}, {other!r}); os.open({other!r}, {flags})",
    "/proc/self/root": "os.open('/proc/self/root' + {path!r}, {flags})",
}
_HANDLE = """
def handle(path):
    found, mount = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 8 + 128), ctypes.c_int()
    assert libc.syscall(303, -100, path.encode(), found, ctypes.byref(mount), 0) == 0
    return found
"""
#: Those whose word leads elsewhere by its letters.
_REDIRECTED = {"O_PATH, then /proc/self/fd", "symbolic link", "/proc/self/root"}


@pytest.mark.parametrize("how", _OPENS)
def test_each_way_to_open(watch: Watch, agent: Agent, root: Path, how: str) -> None:
    """Read-only of a file watched for reading: one row, with the resolved path; of one watched for writing and of another: none."""
    agent.do(_HANDLE)
    for folder in ("read", "write", "plain"):
        (root / folder / "file").write_text("x")
        words = {"path": str(root / folder / "file"), "folder": str(root / folder), "name": "file"}
        code = _OPENS[how].format(**words, other=str(root / f"plain/link-{folder}"), flags="os.O_RDONLY")
        assert agent.do(code) is None or agent.do("True")
    (row,) = _rows(watch, 1)
    inode = (root / "read/file").stat()
    assert (row["event"], row["path"], row["opened_for"]) == ("open", f"{root}/read/file", "read")
    assert (row["file_inode"], row["file_uid"], row["file_links"], row["error"]) == (inode.st_ino, 0, 1, None)
    assert (row["pid"], row["tier"], row["exe"].rpartition("/")[2][:6]) == (agent.pid, "tracepoint", "python")
    assert ("REDIRECTED" in flags(row)) is (how in _REDIRECTED) is (row["path_raw"] is not None)


@pytest.mark.parametrize(
    ("code", "opened_for", "created"),
    [
        ("os.open({path!r}, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)", "write create truncate", True),
        ("os.open({path!r}, os.O_RDWR | os.O_CREAT | os.O_EXCL)", "read write create exclusive", True),
        ("libc.syscall(85, {path!r}.encode(), 0o600)", "write create truncate", True),
        ("open({path!r}, 'x').close(); os.open({path!r}, os.O_WRONLY | os.O_APPEND)", "write append", False),
        ("os.open({folder!r}, os.O_WRONLY | os.O_TMPFILE)", "write tmpfile", False),
    ],
)
def test_opens_for_writing(watch: Watch, agent: Agent, root: Path, code: str, opened_for: str, created: bool) -> None:
    """Of what is watched for reading or for writing alone."""
    for folder in ("read", "write", "plain"):
        agent.do(code.format(path=str(root / folder / "file"), folder=str(root / folder)))
    found = watch.wait("SELECT * FROM file WHERE event = 'open' ORDER BY ktime", 2)
    rows = [row for row in found if row["opened_for"].startswith(opened_for)]
    assert [Path(row["path"]).parent.name if created else row["path"].split("/")[4] for row in rows] == [
        "read",
        "write",
    ]
    assert all(("CREATED" in flags(row)) is created for row in rows), rows


@pytest.mark.parametrize(
    ("code", "opened_for", "created"),
    [
        ("os.close(os.open({path!r}, os.O_RDONLY | os.O_TRUNC))", "read truncate", False),
        ("os.close(os.open({path!r}, 3 | os.O_TRUNC))", "read truncate", False),
        ("libc.syscall(437, -100, {path!r}.encode(), struct.pack('3Q', os.O_TRUNC, 0, 0), 24)", "read truncate", False),
        ("os.close(os.open({path!r} + '-new', os.O_RDONLY | os.O_CREAT))", "read create", True),
    ],
)
def test_changes_by_an_open_for_reading(
    watch: Watch, agent: Agent, root: Path, code: str, opened_for: str, created: bool
) -> None:
    """An open that empties or makes a file changes it, whatever it is for afterwards: rows of files watched for writing alone, too."""
    for folder in ("write", "plain"):
        (root / folder / "file").write_text("x")
        agent.do(code.format(path=str(root / folder / "file")))
    assert (root / "write/file").stat().st_size == created
    (row,) = _rows(watch, 1)
    name = "file-new" if created else "file"
    assert (row["path"], row["opened_for"]) == (f"{root}/write/{name}", opened_for)
    assert ("CREATED" in flags(row)) is created
    found = asking.answered(watch.history, "writes", str(root / "write" / name)).found.rows
    assert [one["event"] for one in found if one["time"] == row["time"]] == ["open"]


@pytest.mark.parametrize(
    ("code", "event", "raw"),
    [
        ("os.utime({path!r}, (1, 1))", "times", True),
        ("f = os.open({path!r}, os.O_RDONLY); os.utime(f, (1, 1)); os.close(f)", "times", False),
        ("libc.syscall(235, {path!r}.encode(), None)", "times", True),
        (
            "f = os.open({path!r}, os.O_WRONLY); libc.fallocate(f, 3, ctypes.c_long(0), ctypes.c_long(1)); os.close(f)",
            "allocate",
            False,
        ),
    ],
)
def test_times_and_parts_of_a_file(watch: Watch, agent: Agent, root: Path, code: str, event: str, raw: bool) -> None:
    """Times that are set, by name or descriptor, and parts that are cut out."""
    for folder in ("write", "plain"):
        (root / folder / "file").write_text("x")
        agent.do(code.format(path=str(root / folder / "file")) + "; None")
    (row,) = _rows(watch, 1, "event <> 'open'")
    assert (row["event"], row["path"], "PATH_RAW" in flags(row)) == (event, f"{root}/write/file", raw)
    assert row["new_mode"] == (3 if event == "allocate" else None)


def test_a_second_mount_of_a_whole_file_system(watch: Watch, root: Path) -> None:
    """As a pod's hostPath `/` has it at /host: the path from the root of that file system is compared, and recorded."""
    for folder in ("read", "plain"):
        (root / folder / "file").write_text("x")
    (root / "plain/host").mkdir()
    script = (
        f"mount --bind / {root}/plain/host && cat {root}/plain/host{root}/read/file {root}/plain/host{root}/plain/file"
    )
    assert watch.run(["unshare", "-m", "sh", "-c", script], stdout=subprocess.DEVNULL).wait() == 0
    (row,) = _rows(watch, 1)
    assert (row["path"], row["source_path"]) == (f"{root}/plain/host{root}/read/file", f"{root}/read/file")
    found = asking.answered(watch.history, "touched", str(root / "read/file")).found.rows
    assert row["time"] in [one["time"] for one in found]


@pytest.mark.parametrize(
    ("folder", "moved"), [("deep/a/b/c/d", "deep/x"), (f"above-{_ROOT.name}", "above")], ids=["deep", "by a pattern"]
)
def test_a_folder_above_is_renamed(watch: Watch, agent: Agent, root: Path, folder: str, moved: str) -> None:
    """However deep it lies, also by a pattern: the file is read by a path that is not watched, and the rename is found by its own."""
    name = "file" if folder.startswith("deep") else "secret"
    (root / folder).mkdir(parents=True)
    (root / folder / name).write_text("x")
    agent.do(f"os.rename({str(root / folder)!r}, {str(root / moved)!r})")
    agent.do(f"open({str(root / moved / name)!r}).read()")
    agent.do(f"os.rename({str(root / moved)!r}, {str(root / folder)!r})")
    rows = _rows(watch, 2)
    assert [(row["path"], row["target"]) for row in rows] == [
        (str(root / folder), str(root / moved)),
        (str(root / moved), str(root / folder)),
    ]
    found = asking.answered(watch.history, "touched", str(root / folder / name)).found.rows
    assert [one["time"] for one in found][-2:] == [row["time"] for row in rows]


def test_a_path_that_is_cut(watch: Watch, agent: Agent, root: Path) -> None:
    """Longer than what is recorded, below a watched folder: the row lacks its beginning, and an answer says that it may be of any."""
    agent.do(f"os.chdir({str(root / 'write')!r})")
    agent.do("for _ in range(21): os.mkdir('d' * 200); os.chdir('d' * 200)")
    agent.do("open('file', 'w').close(); os.rename('file', 'other'); os.unlink('other')")
    rows = watch.wait("SELECT * FROM file WHERE event <> 'mkdir' ORDER BY ktime", 3)
    assert [row["event"] for row in rows] == ["open", "rename", "unlink"]
    assert all("PATH_TRUNCATED" in flags(row) and row["path"].startswith("/ddd") for row in rows), rows
    reasons = asking.answered(watch.history, "writes", f"{root}/write/").completeness.reasons
    assert [reason for reason in reasons if "is cut" in reason], reasons
    agent.do("os.chdir('/')")
    subprocess.run(["rm", "-rf", root / "write"], check=True)  # shutil.rmtree gives the whole path
    (root / "write").mkdir()


_WRITES = {
    "write": ("os.write(f, b'12345')", 5),
    "pwrite": ("os.pwrite(f, b'12345', 3)", 5),
    "writev": ("os.writev(f, [b'12', b'345'])", 5),
    "pwritev": ("os.pwritev(f, [b'12', b'345'], 0)", 5),
    "sendfile": ("os.sendfile(f, source, 0, 5)", 5),
    "copy_file_range": ("os.copy_file_range(source, f, 5, 0)", 5),
    "splice": ("r, w = os.pipe(); os.write(w, b'12345'); os.splice(r, f, 5)", 5),
    "many": ("[os.write(f, b'12345') for _ in range(1000)]; None", 5000),
    "a duplicate": ("g = os.dup(f); os.close(f); f = g; os.write(f, b'12345')", 5),
}


@pytest.mark.parametrize("how", _WRITES)
def test_each_way_to_write(watch: Watch, agent: Agent, root: Path, how: str) -> None:
    """One row for each open, when the last descriptor is closed: what was written, by how many calls; of another file none."""
    code, bytes_ = _WRITES[how]
    (root / "source").write_text("123456789")
    agent.do(f"source = os.open({str(root / 'source')!r}, os.O_RDONLY)")
    for folder in ("write", "plain"):
        agent.do(f"f = os.open({str(root / folder / 'file')!r}, os.O_WRONLY | os.O_CREAT)")
        agent.do(code)
        agent.do("os.close(f)")
    opened, written = _rows(watch, 2)
    assert _told([opened, written]) == [("open", f"{root}/write/file"), ("write", f"{root}/write/file")]
    assert (written["bytes_written"], written["writes"]) == (bytes_, 1000 if how == "many" else 1)
    assert (written["opener_tgid"], written["opened"]) == (agent.pid, opened["ktime"])
    assert written["file_inode"] == opened["file_inode"] and "INHERITED" not in flags(written)


@pytest.mark.parametrize(
    ("how", "mapped"), [("1, 2", True), ("1, 1", True), ("2, 2", False)], ids=("shared", "to be raised", "private")
)
def test_a_map(watch: Watch, agent: Agent, root: Path, how: str, mapped: bool) -> None:
    """Of a shared one nobody counts what is written: that is marked, and the bytes are unknown. It keeps the file open."""
    for folder in ("write", "plain"):
        (root / folder / "file").write_bytes(b"x" * 4096)
        agent.do(f"import mmap; f = os.open({str(root / folder / 'file')!r}, os.O_RDWR)")
        agent.do(f"m = mmap.mmap(f, 4096, *({how})); os.close(f)")
        agent.do("m.close()")
    rows = _rows(watch, 2 if mapped else 1)
    assert [(row["event"], row["bytes_written"], "MAPPED" in flags(row)) for row in rows[1:]] == [
        ("write", None, True)
    ] * mapped


def test_a_shell_opens_and_another_program_writes(watch: Watch, root: Path) -> None:
    """`cat > file`: each process that wrote has its row, and the shell that opened the file is named in it."""
    script = f"cat /etc/hostname > {root}/write/a; (echo x; /bin/echo y) > {root}/write/a"
    shell = watch.run(["/bin/sh", "-c", script])
    assert shell.wait() == 0
    rows = _rows(watch, 5)
    writes = [(row["exe"].rpartition("/")[2], row["bytes_written"]) for row in rows if row["event"] == "write"]
    assert sorted(writes) == sorted([("cat", len(Path("/etc/hostname").read_bytes())), (_shell(), 2), ("echo", 2)])
    assert all("INHERITED" in flags(row) for row in rows if row["exe"].endswith(("/cat", "/echo")))


def _shell() -> str:
    return Path("/bin/sh").resolve().name


def test_a_descriptor_that_was_passed(watch: Watch, agent: Agent, root: Path) -> None:
    """Over a unix socket: the process that writes has the row, the one that opened is named."""
    other = Agent(watch.cgroup)
    name = f"\0firsthand-{uuid.uuid4().hex}"
    other.do(f"l = socket.socket(socket.AF_UNIX); l.bind({name!r}); l.listen()")
    agent.do(f"f = os.open({str(root / 'write/file')!r}, os.O_WRONLY | os.O_CREAT)")
    agent.do(f"s = socket.socket(socket.AF_UNIX); s.connect({name!r}); socket.send_fds(s, [b'.'], [f]); os.close(f)")
    other.do("s = l.accept()[0]; f = socket.recv_fds(s, 1, 1)[1][0]; os.write(f, b'123'); os.close(f)")
    _, written = _rows(watch, 2)
    assert (written["pid"], written["opener_tgid"], written["bytes_written"]) == (other.pid, agent.pid, 3)
    other.process.kill()
    other.process.wait()


def test_a_file_that_is_open_when_its_process_is_killed(watch: Watch, agent: Agent, root: Path) -> None:
    """What was written has its row."""
    agent.do(f"f = os.open({str(root / 'write/file')!r}, os.O_WRONLY | os.O_CREAT); os.write(f, b'1234')")
    agent.process.kill()
    agent.process.wait()
    assert [row["bytes_written"] for row in _rows(watch, 2)] == [None, 4]


_CHANGES = {
    "rename": ("os.rename('{}/a', '{}/b')", "rename", "a", "b"),
    "renameat2": ("libc.syscall(316, -100, b'{}/a', -100, b'{}/b', 1)", "rename", "a", "b"),
    "link": ("os.link('{}/a', '{}/b')", "link", "a", "b"),
    "symlink": ("os.symlink('anywhere', '{0}/b')", "symlink", "b", None),
    "unlink": ("os.unlink('{0}/a')", "unlink", "a", None),
    "unlinkat": ("os.unlink('a', dir_fd=os.open('{0}', os.O_RDONLY | os.O_DIRECTORY))", "unlink", "a", None),
    "relative": (
        "os.chdir('{0}'); os.unlink('../../' + os.path.basename(os.path.dirname('{0}')) + '/{1}/a')",
        "unlink",
        "a",
        None,
    ),
    "dots": ("os.unlink('{0}//./x/../a')", "unlink", "a", None),
    "mkdir": ("os.mkdir('{0}/b')", "mkdir", "b", None),
    "rmdir": ("os.rmdir('{0}/d')", "rmdir", "d", None),
    "rmdir by unlinkat": ("libc.unlinkat(-100, b'{0}/d', 0x200)", "rmdir", "d", None),
    "mknod": ("os.mkfifo('{0}/b')", "mknod", "b", None),
    "truncate": ("os.truncate('{0}/a', 0)", "truncate", "a", None),
    "chmod": ("os.chmod('{0}/a', 0o640)", "chmod", "a", None),
    "chown": ("os.chown('{0}/a', 1, 2)", "chown", "a", None),
    "lchown": ("os.lchown('{0}/a', 1, 2)", "chown", "a", None),
    "setxattr": ("os.setxattr('{0}/a', 'user.x', b'y')", "xattr", "a", None),
}


@pytest.mark.parametrize("how", _CHANGES)
def test_each_way_to_change_by_name(watch: Watch, agent: Agent, root: Path, how: str) -> None:
    """One row, with both names of a rename or link; of what is not watched none."""
    code, event, path, target = _CHANGES[how]
    for folder in ("write", "plain"):
        (root / folder / "a").write_text("x")
        (root / folder / "d").mkdir()
        (root / folder / "x").mkdir()
        at = str(root / folder)
        agent.do(code.format(at, at if target else folder))
    (row,) = _rows(watch, 1)
    assert (row["event"], row["path"]) == (event, f"{root}/write/{path}")
    assert row["target"] == (
        f"{root}/write/{target}" if target else {"symlink": "anywhere", "xattr": "user.x"}.get(event)
    )
    assert "PATH_RAW" in flags(row) and row["error"] is None and row["pid"] == agent.pid
    assert (row["new_mode"] or 0) & 0o7777 == {"chmod": 0o640}.get(event, (row["new_mode"] or 0) & 0o7777)
    assert (row["new_uid"], row["new_gid"]) == ((1, 2) if event == "chown" else (None, None))


def test_changes_by_descriptor(watch: Watch, agent: Agent, root: Path) -> None:
    """Mode, owner, length and attributes of an open file: the resolved path."""
    for folder in ("write", "plain"):
        (root / folder / "a").write_text("x")
        agent.do(f"f = os.open({str(root / folder / 'a')!r}, os.O_RDWR)")
        agent.do(
            "os.fchmod(f, 0o600); os.fchown(f, 3, 4); os.ftruncate(f, 9); os.setxattr(f, 'user.a', b'b'); os.close(f)"
        )
    rows = _rows(watch, 5)
    assert [row["event"] for row in rows] == ["open", "chmod", "chown", "truncate", "xattr"]
    assert {row["path"] for row in rows} == {f"{root}/write/a"} and not any("PATH_RAW" in flags(row) for row in rows)


def test_a_file_that_comes_in_and_one_that_goes(watch: Watch, agent: Agent, root: Path) -> None:
    """A rename, or a link, between a watched and an unwatched folder is seen from either side; so is a folder above."""
    for name in ("a", "b"):
        (root / "plain" / name).write_text("x")
    agent.do(
        f"os.chdir({str(root)!r}); os.rename('plain/a', 'write/a'); os.rename('write/a', 'plain/c'); os.link('plain/b', 'one')"
    )
    agent.do("os.rename('write', 'elsewhere'); os.rename('elsewhere', 'write')")
    rows = _rows(watch, 5)
    assert [(row["path"].removeprefix(f"{root}/"), row["target"].removeprefix(f"{root}/")) for row in rows] == [
        ("plain/a", "write/a"),
        ("write/a", "plain/c"),
        ("plain/b", "one"),
        ("write", "elsewhere"),
        ("elsewhere", "write"),
    ]


def test_o_tmpfile_that_is_linked(watch: Watch, agent: Agent, root: Path) -> None:
    """A file without a name gets one: the open has the folder's name in its path, the link the new one."""
    folder, name = str(root / "write"), str(root / "write/made")
    agent.do(f"f = os.open({folder!r}, os.O_RDWR | os.O_TMPFILE); os.write(f, b'12')")
    agent.do(f"assert libc.linkat(-100, b'/proc/self/fd/%d' % f, -100, {name!r}.encode(), 0x400) == 0; os.close(f)")
    opened, linked, written = sorted(_rows(watch, 3), key=lambda row: ["open", "link", "write"].index(row["event"]))
    assert opened["path"].startswith(f"{folder}/") and "tmpfile" in opened["opened_for"].split()
    assert linked["target"] == name and written["bytes_written"] == 2


def test_refused_tries(watch: Watch, root: Path) -> None:
    """With the errno, by the name that was given; a file that is not there was not touched."""
    (root / "read/file").write_text("x")
    (root / "read/file").chmod(0o600)
    root.chmod(0o755)
    other = Agent(watch.cgroup, user=65534)
    for code, error in (
        (f"os.open({str(root / 'read/file')!r}, os.O_RDONLY)", "PermissionError"),
        (f"os.unlink({str(root / 'read/file')!r})", "PermissionError"),
        (f"os.open({str(root / 'read/none')!r}, os.O_RDONLY)", "FileNotFoundError"),
        (f"os.open({str(root / 'plain/file')!r}, os.O_WRONLY | os.O_CREAT)", "PermissionError"),
    ):
        with pytest.raises(RefusedCall, match=error):
            other.do(code)
    opened, removed = _rows(watch, 2)
    assert [(row["event"], row["path"], row["error"], row["uid"]) for row in (opened, removed)] == [
        ("open", f"{root}/read/file", 13, 65534),
        ("unlink", f"{root}/read/file", 13, 65534),
    ]
    assert opened["file_inode"] is None and opened["opened_for"] == "read"
    other.process.kill()
    other.process.wait()


def test_a_pattern(watch: Watch, agent: Agent, root: Path) -> None:
    """Below any folder: `**` is any letters, `*` any but a slash."""
    for name, met in (("", True), ("x", True), ("x/y", False)):
        folder = root / "plain" / f"only-{root.name}-{name}"
        folder.mkdir(parents=True)
        (folder / "secret").write_text("x")
        agent.do(f"open({str(folder / 'secret')!r}).close()")
        (folder / "secret2").write_text("x")
        agent.do(f"open({str(folder / 'secret2')!r}).close(), {met}")
    assert [row["path"].rpartition("-")[2] for row in _rows(watch, 2)] == ["/secret", "x/secret"]


def test_a_letter_of_several_bytes(watch: Watch, agent: Agent, root: Path) -> None:
    """It is one letter for `?`, as an answer takes it."""
    for name in ("e", "é", "€", "ee", "éé"):
        (root / name).mkdir()
        (root / name / "secret").write_text("x")
        agent.do(f"open({str(root / name / 'secret')!r}).close()")
    assert [row["path"].split("/")[-2] for row in _rows(watch, 3)] == ["e", "é", "€"]


def test_through_a_bind_mount(watch: Watch, agent: Agent, root: Path) -> None:
    """A watched folder that is mounted elsewhere: both paths are in the row."""
    (root / "read/deep").mkdir()
    (root / "read/deep/file").write_text("x")
    (root / "plain/here").mkdir()
    agent.do(
        f"""
        assert libc.unshare(0x20000) == 0
        assert libc.mount(b"none", b"/", None, 0x44000, None) == 0
        assert libc.mount({str(root / "read/deep")!r}.encode(), {str(root / "plain/here")!r}.encode(), None, 0x1000, None) == 0
        """
    )
    agent.do(f"open({str(root / 'plain/here/file')!r}).close()")
    (row,) = _rows(watch, 1)
    assert row["path"] == f"{root}/plain/here/file"
    assert row["source_path"].endswith("/read/deep/file")


def test_a_file_that_was_open_before(observer_kind: ObserverKind, tmp_path: Path, root: Path, cgroup: Any) -> None:
    """When observing begins: it is marked, and what is written from then on counts."""
    require.bpf()
    agent = Agent(cgroup)
    agent.do(f"f = os.open({str(root / 'write/file')!r}, os.O_WRONLY | os.O_CREAT); os.write(f, b'before')")
    (tmp_path / "config.toml").write_text(observer_kind.settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIRSTHAND_CONFIG", str(tmp_path / "config.toml"))
        with Observed(tmp_path / "history", [cgroup.path]) as observed:
            agent.do("os.write(f, b'123'); os.close(f)")
            opened, written = observed.wait("SELECT * FROM file ORDER BY ktime", 2)
    assert flags(opened) == {"BEFORE"} and opened["opened_for"] == "write"
    assert (written["bytes_written"], written["path"]) == (3, f"{root}/write/file")
    asked = _ask(tmp_path, "writes", f"{root}/write/file")
    assert asked["answer"].startswith("Yes: 2 events of 1 file by 1 process, 3 bytes written")
    assert _ask(tmp_path, "touched", f"{root}/plain/file")["answer"].startswith("Not watched: ")
    assert _ask(tmp_path, "touched", f"{root}/write/file")["completeness"]["complete"] is False  # not for reading
    agent.process.kill()
    agent.process.wait()


def _ask(folder: Path, *words: str) -> Any:
    command = [sys.executable, "-m", "firsthand", "ask", "--history", str(folder / "history"), "--json", *words]
    environment = {**os.environ, "FIRSTHAND_CONFIG": str(folder / "config.toml")}
    return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True).stdout)
