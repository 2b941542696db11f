"""Changes of mount trees, live: each call in a mount namespace of its own, from which nothing goes back to the machine's."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cgroups import TestCgroup
from tests.kernel.live import flags
from tests.kernel.mounter import Mounter
from tests.kernel.observed import Observed
from tests.kernel.pool import Watch

pytestmark = pytest.mark.xdist_group("pool")

_OF_MOUNT = ("mount_id", "device", "root", "filesystem", "source")


@pytest.fixture
def mounter(watch: Watch, tmp_path: Path) -> Iterator[Mounter]:
    """An agent, with its folder as the working one."""
    made = Mounter(watch.cgroup, tmp_path)
    yield made
    made.process.kill()
    made.process.wait()


def _rows(watch: Watch, mounter: Mounter) -> list[dict[str, Any]]:
    """The rows of all that the mounter did, but of its own beginning: unshare, private propagation and its tmpfs."""
    watch.pooled.settle()
    rows = watch.rows(f"SELECT * FROM mount WHERE pid = {mounter.pid} ORDER BY ktime")
    begin = [row["event"] for row in rows[:3]]
    assert begin == ["unshare", "propagation", "mount"], rows
    return rows[3:]


def _row(watch: Watch, mounter: Mounter) -> dict[str, Any]:
    (row,) = _rows(watch, mounter)
    return row


def _options(row: dict[str, Any]) -> set[str]:
    return set((row["options"] or "").split())


def test_a_new_mount(watch: Watch, mounter: Mounter) -> None:
    """Where, of what and which one it is, as /proc/PID/mountinfo says; whose it is, and in which namespace."""
    mounter.do("os.mkdir('a'); sure('mount', 'some name', 'a', 'tmpfs', flags('NOSUID', 'NODEV'), 'size=1m')")
    row, target = _row(watch, mounter), str(mounter.folder / "a")
    assert (row["event"], row["call"], row["error"]) == ("mount", "mount", None)
    assert row["tier"] in ("fexit", "tracepoint")
    assert (row["target"], row["target_raw"], row["source_raw"]) == (target, "a", "some name")
    assert {name: row[name] for name in _OF_MOUNT} == mounter.mounted(target) | {"source": "some name"}
    assert _options(row) == {"nosuid", "nodev"} and flags(row) == set()
    assert row["ns_mount"] == mounter.namespace
    assert row["exe"] == os.path.realpath("/usr/bin/python3")


def test_threads_that_mount_at_once(watch: Watch, mounter: Mounter) -> None:
    """Each row names the place and the source of its own call, whatever another made meanwhile in the same namespace; where it is not sure
    which mount is its own, by the caller's words alone."""
    mounter.do("import threading; [os.mkdir(f'{name}{i}') for name in 'ab' for i in range(100)]")
    mounter.do("def many(name): [sure('mount', f'{name}{i}', f'{name}{i}', 'tmpfs', 0, 'size=4k') for i in range(100)]")
    mounter.do("both = [threading.Thread(target=many, args=name) for name in 'ab']; [one.start() for one in both]")
    mounter.do("[one.join() for one in both]")
    rows = _rows(watch, mounter)
    assert len(rows) == 200
    for row in rows:
        assert (row["target"], row["source_raw"]) == (str(mounter.folder / row["target_raw"]), row["target_raw"]), row
        assert row["source"] == (None if row["mount_id"] is None else row["target_raw"]), row


def test_a_bind_over_a_symbolic_link(watch: Watch, mounter: Mounter) -> None:
    """The place to which the link leads, and which folder of the file system is shown there."""
    mounter.do("os.makedirs('from/deep'); os.mkdir('to'); os.symlink('to', 'link')")
    mounter.do("sure('mount', './from//deep/../deep/', 'link', None, flags('BIND'), None)")
    row = _row(watch, mounter)
    assert (row["event"], row["target"], row["target_raw"]) == ("bind", str(mounter.folder / "to"), "link")
    assert (row["source"], row["source_raw"]) == (str(mounter.folder / "from/deep"), "./from//deep/../deep/")
    assert (row["root"], row["filesystem"]) == ("/from/deep", "tmpfs")
    assert flags(row) == {"REDIRECTED", "SOURCE_RAW"} and _options(row) == {"bind"}


def test_a_bind_of_a_file(watch: Watch, mounter: Mounter) -> None:
    """Of a file over a file."""
    mounter.do("open('one', 'w').close(); open('other.sock', 'w').close()")
    mounter.do("sure('mount', os.path.abspath('other.sock'), os.path.abspath('one'), None, flags('BIND'), None)")
    row = _row(watch, mounter)
    assert (row["target"], row["root"]) == (str(mounter.folder / "one"), "/other.sock")
    assert flags(row) == {"SOURCE_RAW", "SENSITIVE"}


@pytest.mark.parametrize("below", [0, 1, 3])
def test_a_recursive_bind(watch: Watch, mounter: Mounter, below: int) -> None:
    """With mounts below the source: the one row is never one of those, whose places the kernel made last."""
    mounter.do("os.mkdir('from'); os.mkdir('to')")
    for number in range(below):
        mounter.do(f"os.mkdir('from/{number}'); sure('mount', 'below', 'from/{number}', 'tmpfs', 0, None)")
    mounter.do("sure('mount', 'from', 'to', None, flags('BIND', 'REC'), None)")
    row = _rows(watch, mounter)[-1]
    assert (row["event"], row["target"], _options(row)) == ("bind", str(mounter.folder / "to"), {"bind", "rec"})
    known = {} if below else {"root": "/from"}
    assert (row["root"], "TARGET_RAW" in flags(row)) == (known.get("root"), bool(below))


def test_a_recursive_mount_over_its_own_folder(watch: Watch, mounter: Mounter) -> None:
    """As a runtime makes a container's root a mount."""
    mounter.do("os.mkdir('a'); sure('mount', 'a', 'a', None, flags('BIND', 'REC'), None)")
    row = _row(watch, mounter)
    assert (row["target"], row["source"], row["root"]) == (*[str(mounter.folder / "a")] * 2, "/a")
    assert row["mount_id"] == mounter.mounted(row["target"])["mount_id"]


def test_options_are_changed(watch: Watch, mounter: Mounter) -> None:
    """By mount(2): to read-only, of the mount and of its file system, and back."""
    for words in (("REMOUNT", "BIND", "RDONLY"), ("REMOUNT", "RDONLY", "NOEXEC"), ("REMOUNT",)):
        mounter.do(f"sure('mount', None, '.', None, flags(*{words!r}), None)")
    rows = _rows(watch, mounter)
    assert [_options(row) for row in rows] == [
        {"remount", "bind", "rdonly"},
        {"remount", "rdonly", "noexec"},
        {"remount"},
    ]
    assert {row["event"] for row in rows} == {"remount"} and {row["target"] for row in rows} == {str(mounter.folder)}
    assert [flags(row) - {"TARGET_RAW"} for row in rows] == [set(), set(), {"WRITABLE"}]


def test_a_move(watch: Watch, mounter: Mounter) -> None:
    """By mount(2) and by move_mount(2), with descriptors of folders: both names."""
    mounter.do("for name in 'abc': os.mkdir(name)")
    mounter.do("sure('mount', 'x', 'a', 'tmpfs', 0, None); sure('mount', 'a', 'b', None, flags('MOVE'), None)")
    mounter.do("d = os.open('.', os.O_PATH); os.chdir('/'); sure('move_mount', d, 'b', d, 'c', 0)")
    rows = _rows(watch, mounter)[1:]
    at = {name: str(mounter.folder / name) for name in "abc"}
    assert [(row["event"], row["call"]) for row in rows] == [("move", "mount"), ("move", "move_mount")]
    assert [(row["source"], row["target"]) for row in rows] == [(at["a"], at["b"]), (at["b"], at["c"])]
    assert {frozenset(flags(row)) for row in rows} == {frozenset({"SOURCE_RAW", "TARGET_RAW"})}


def test_a_move_by_a_descriptor(watch: Watch, mounter: Mounter) -> None:
    """Of the mount that the descriptor is of: it stood in the tree, so it is no new one. A path below it is moved as any other."""
    mounter.do("for name in 'abc': os.mkdir(name)")
    mounter.do("sure('mount', 'x', 'a', 'tmpfs', 0, None); t = sure('open_tree', -100, 'a', 0)")
    mounter.do("d = os.open('.', os.O_PATH); sure('move_mount', t, '', -100, 'b', 4)")
    mounter.do("sure('move_mount', d, 'b', d, 'c', 4)")
    first, then = _rows(watch, mounter)[1:]
    at = {name: str(mounter.folder / name) for name in "abc"}
    assert (first["event"], first["target"], first["mount_id"]) == (
        "move",
        at["b"],
        then["mount_id"] or first["mount_id"],
    )
    assert first["filesystem"] == "tmpfs" and flags(first) == set()
    assert (then["event"], then["source"], then["target"]) == ("move", at["b"], at["c"])


def test_propagation(watch: Watch, mounter: Mounter) -> None:
    """By both calls; below a shared mount, what is mounted has the flag."""
    mounter.do("sure('mount', None, '.', None, flags('SHARED'), None); os.mkdir('a')")
    mounter.do("sure('mount', 'x', 'a', 'tmpfs', 0, None)")
    mounter.do("sure('mount_setattr', -100, 'a', 0x8000, struct.pack('4Q', 0, 0, MS['SLAVE'], 0), 32)")
    shared, mounted, slave = _rows(watch, mounter)
    assert (shared["event"], _options(shared)) == ("propagation", {"shared"})
    assert mounted["event"] == "mount" and "SHARED" in flags(mounted)
    assert (slave["event"], slave["call"], _options(slave)) == ("propagation", "mount_setattr", {"slave", "rec"})


def test_a_mount_that_goes_to_a_peer(watch: Watch, mounter: Mounter) -> None:
    """In the same namespace: the row's place is where it was asked for, not where its copy is, which is newer."""
    mounter.do("os.mkdir('a'); os.mkdir('b'); sure('mount', 'x', 'a', 'tmpfs', 0, None)")
    mounter.do(
        "sure('mount', None, 'a', None, flags('SHARED'), None); sure('mount', 'a', 'b', None, flags('BIND'), None)"
    )
    mounter.do("os.mkdir('a/c'); sure('mount', 'y', 'a/c', 'tmpfs', 0, None)")
    row = _rows(watch, mounter)[-1]
    assert row["target"] == str(mounter.folder / "a/c")
    assert mounter.mounted(str(mounter.folder / "b/c"))["source"] == "y"


def test_umounts(watch: Watch, mounter: Mounter) -> None:
    """Refused as busy, then lazy; and of what is no mount."""
    mounter.do("os.mkdir('a'); sure('mount', 'x', 'a', 'tmpfs', 0, None); busy = open('a/file', 'w')")
    assert mounter.call("umount", "a", 0) == -errno.EBUSY
    assert mounter.call("umount", "a", 2) == 0
    assert mounter.call("umount", "a", 8) == -errno.EINVAL
    rows = _rows(watch, mounter)[1:]
    assert {(row["event"], row["target"]) for row in rows} == {("umount", str(mounter.folder / "a"))}
    assert [row["error"] for row in rows] == [errno.EBUSY, None, errno.EINVAL]
    assert [_options(row) for row in rows] == [set(), {"detach"}, {"nofollow"}]


def test_the_new_calls(watch: Watch, mounter: Mounter) -> None:
    """A file system that is made, changed and put into the tree: one row when it is made, one when it is attached."""
    mounter.do("os.mkdir('a'); f = sure('fsopen', 'tmpfs', 1)")
    mounter.do("sure('fsconfig', f, 1, 'source', 'the source', 0); sure('fsconfig', f, 6, None, None, 0)")
    mounter.do("m = sure('fsmount', f, 1, 8 | 2)")
    mounter.do("sure('mount_setattr', m, '', 0x1000, struct.pack('4Q', 1, 8, 0, 0), 32)")
    mounter.do("sure('move_mount', m, '', -100, 'a', 4)")
    created, changed, attached = _rows(watch, mounter)
    assert (created["event"], created["call"], created["target"], _options(created)) == (
        *("create", "fsmount", None),
        {"noexec", "nosuid"},
    )
    assert (created["filesystem"], created["source"]) == ("tmpfs", "the source")
    assert (changed["event"], _options(changed), changed["cleared"]) == ("remount", {"rdonly"}, "noexec")
    assert (attached["event"], attached["target"]) == ("attach", str(mounter.folder / "a"))
    assert {name: attached[name] for name in _OF_MOUNT} == mounter.mounted(attached["target"]) | {
        "source": "the source"
    }
    assert flags(attached) == set() and created["device"] == attached["device"]


def test_a_tree_that_is_copied(watch: Watch, mounter: Mounter) -> None:
    """By open_tree, relative to a descriptor; a tree that is only opened is no change."""
    mounter.do("os.makedirs('a/b'); os.mkdir('to'); d = os.open('a', os.O_PATH)")
    mounter.do("o = sure('open_tree', d, 'b', 0); t = sure('open_tree', d, 'b', 1 | 0x8000)")
    mounter.do("sure('move_mount', t, '', -100, 'to', 4)")
    created, attached = _rows(watch, mounter)
    assert (created["event"], created["call"], _options(created)) == ("create", "open_tree", {"clone", "rec"})
    assert (created["source"], created["source_raw"], created["root"]) == (str(mounter.folder / "a/b"), "b", "/a/b")
    assert (attached["event"], attached["target"], attached["root"]) == ("attach", str(mounter.folder / "to"), "/a/b")


def test_a_file_system_is_changed_by_the_new_calls(watch: Watch, mounter: Mounter) -> None:
    """fspick and fsconfig: refused tries of the first, and the last step of the second."""
    assert mounter.call("fspick", -100, "nowhere", 0) == -errno.ENOENT
    mounter.do("p = sure('fspick', -100, '.', 0); sure('fsconfig', p, 7, None, None, 0)")
    picked, changed = _rows(watch, mounter)
    assert (picked["event"], picked["call"], picked["error"]) == ("remount", "fspick", errno.ENOENT)
    assert (changed["event"], changed["call"], changed["error"]) == ("remount", "fsconfig", None)


def test_roots(watch: Watch, mounter: Mounter) -> None:
    """pivot_root and chroot; then names are relative to the new root, and shown from the namespace's."""
    mounter.do("sure('mount', '.', '.', None, flags('BIND'), None)")
    mounter.do(f"os.chdir({str(mounter.folder)!r}); os.mkdir('old'); os.makedirs('jail/a')")
    mounter.do("sure('pivot_root', '.', 'old'); sure('chroot', 'jail'); sure('mount', 'x', '/a', 'tmpfs', 0, None)")
    pivoted, jailed, mounted = _rows(watch, mounter)[1:]
    assert (pivoted["event"], pivoted["source_raw"], pivoted["target_raw"]) == ("pivot_root", ".", "old")
    assert (pivoted["target"], pivoted["filesystem"]) == (None, "tmpfs")
    assert (jailed["event"], jailed["target"], flags(jailed)) == ("chroot", "/jail", set())
    assert (mounted["target"], mounted["target_raw"]) == ("/jail/a", "/a")


def test_namespaces(watch: Watch, mounter: Mounter) -> None:
    """A mount namespace is left and entered again; into the machine's own, the row has the flag."""
    mounter.do("mine = os.open('/proc/self/ns/mnt', os.O_RDONLY); net = os.open('/proc/self/ns/net', os.O_RDONLY)")
    mounter.do(f"theirs = os.open('/proc/{os.getpid()}/ns/mnt', os.O_RDONLY)")
    mine = mounter.namespace
    mounter.do("sure('setns', net, 0); sure('setns', theirs, 0); sure('setns', mine, 0x20000)")
    assert mounter.call("setns", -1, 0x20000) == -errno.EBADF
    theirs, back, refused = _rows(watch, mounter)
    assert {row["event"] for row in (theirs, back, refused)} == {"enter"}
    assert (theirs["ns_mount"], back["ns_mount"]) == (os.stat("/proc/self/ns/mnt").st_ino, mine)
    (began,) = watch.rows(f"SELECT host_namespaces FROM process WHERE pid = {mounter.pid} AND event = 'exec'")
    assert ("HOST" in flags(theirs)) == ("mount" in began["host_namespaces"].split())
    assert (flags(back), refused["error"]) == (set(), errno.EBADF)


def test_refused_tries(watch: Watch, mounter: Mounter) -> None:
    """With their errno and what was tried; an address that is wrong is said to be unread."""
    assert mounter.call("mount", "x", "nowhere", "tmpfs", 0, None) == -errno.ENOENT
    assert mounter.call("mount", "x", ".", "no such type", 0, None) == -errno.ENODEV
    assert mounter.call("mount", "x", 1, "tmpfs", 0, None) == -errno.EFAULT
    assert mounter.call("fsopen", "no such type", 0) == -errno.ENODEV
    assert mounter.call("pivot_root", "/", "/") == -errno.EBUSY
    rows = _rows(watch, mounter)
    assert [row["error"] for row in rows] == [*(errno.ENOENT, errno.ENODEV, errno.EFAULT, errno.ENODEV, errno.EBUSY)]
    assert [row["target_raw"] for row in rows] == ["nowhere", ".", None, None, "/"]
    assert rows[0]["target"] == str(mounter.folder / "nowhere")
    assert [row["filesystem"] for row in rows] == ["tmpfs", "no such type", "tmpfs", "no such type", None]
    assert [("UNREAD" in flags(row)) for row in rows] == [False, False, True, False, False]
    assert [row["mount_id"] for row in rows] == [None] * 5


def test_a_user_who_may_not(watch: Watch, mounter: Mounter) -> None:
    """What is refused for want of a right is recorded with who asked."""
    mounter.do("os.chdir('/'); os.setresuid(65534, 65534, 65534)")
    assert mounter.call("mount", "x", "/proc", "tmpfs", 0, None) == -errno.EPERM
    assert mounter.call("unshare", 0x20000) == -errno.EPERM
    mount, unshare = _rows(watch, mounter)
    assert (mount["event"], mount["error"], mount["uid"], mount["euid"]) == ("mount", errno.EPERM, 65534, 65534)
    assert "OVER_PROC" in flags(mount)
    assert (unshare["event"], unshare["error"]) == ("unshare", errno.EPERM)


def test_what_is_laid_over(watch: Watch, mounter: Mounter) -> None:
    """Over /proc and /etc, whatever the letters of the word; and over a mount that is there already."""
    mounter.do(
        "sure('mount', 'x', '/etc/../proc/sys', 'tmpfs', 0, None); sure('mount', 'x', '/etc/', 'tmpfs', 0, None)"
    )
    mounter.do("os.mkdir('etc'); sure('mount', 'x', os.path.abspath('etc'), 'tmpfs', 0, None)")
    mounter.do("sure('mount', '/etc/', '.', None, flags('BIND'), None)")
    found = [flags(row) & {"OVER_PROC", "OVER_ETC", "OVER_MOUNT", "SENSITIVE"} for row in _rows(watch, mounter)]
    assert found == [{"OVER_PROC"}, {"OVER_ETC"}, set(), {"OVER_MOUNT", "SENSITIVE"}]


@pytest.mark.parametrize(
    "name",
    [
        b"new\nline",
        b"esc\x1b[2J",
        b"not utf-8 \xff\xfe",
        b" ",
        b"a" * 255,
        b"...",
        b"\\134",
        "\u202e\U0001f40d".encode(),
    ],
    ids=["newline", "escape", "bytes", "blank", "long", "dots", "octal", "unicode"],
)
def test_hostile_names(watch: Watch, mounter: Mounter, name: bytes) -> None:
    """As they are, in a mount and in its umount."""
    mounter.do(f"n = os.fsdecode({name!r}); os.mkdir(n); sure('mount', n, n, 'tmpfs', 0, None); sure('umount', n, 0)")
    mounted, gone = _rows(watch, mounter)
    shown = mounted["target"]
    assert gone["target"] == shown and mounted["target_raw"] == mounted["source"] == gone["target_raw"]
    assert shown == f"{mounter.folder}/{mounted['target_raw']}"
    if name.isascii():
        assert mounted["target_raw"] == name.decode()


def test_the_longest_path(watch: Watch, mounter: Mounter) -> None:
    """As long as a call can name: whole, where its place is as long as a row can show; else cut, and said so."""
    mounter.do("deep = ['d' * 250] * 16; long = '/'.join(deep); assert len(long) == 4015")
    mounter.do(f"for name in deep: os.mkdir(name); os.chdir(name)\nos.chdir({str(mounter.folder)!r})")
    mounter.do("sure('mount', 'x', './' * 40 + long, 'tmpfs', 0, None)")
    mounter.do("os.chdir(long); [(os.mkdir('e' * 250), os.chdir('e' * 250)) for _ in range(4)]")
    mounter.do("sure('mount', 'y', '.', 'tmpfs', 0, None)")
    long, deep = _rows(watch, mounter)
    assert len(long["target_raw"]) == 4095 and long["target_raw"].endswith("/" + "d" * 250)
    whole = f"{mounter.folder}/{'/'.join(['d' * 250] * 16)}"
    assert (long["target"] == whole) == ("TRUNCATED" not in flags(long)) == (len(whole) < 4096)
    assert whole.endswith(long["target"])
    assert "TRUNCATED" in flags(deep) and deep["target"].endswith("/" + "e" * 250) and deep["mount_id"]


def test_a_burst(watch: Watch, mounter: Mounter) -> None:
    """Every one of many calls has its row, in their order; nothing was lost (the shared observer's check)."""
    mounter.do("for number in range(400): os.mkdir(str(number))")
    mounter.do("for number in range(400): sure('mount', str(number), str(number), 'tmpfs', 0, None)")
    mounter.do("for number in range(400): sure('umount', str(number), 2)")
    rows = _rows(watch, mounter)
    wanted = [str(mounter.folder / str(number)) for number in range(400)]
    assert [row["target"] for row in rows] == wanted * 2
    assert [row["source"] for row in rows[:400]] == [str(number) for number in range(400)]
    assert {row["event"] for row in rows[:400]} == {"mount"} and {row["event"] for row in rows[400:]} == {"umount"}


def test_secrets(watch: Watch, mounter: Mounter) -> None:
    """What a file system is told is never recorded; what looks like a password in a source is replaced."""
    mounter.do("call('mount', '//server/share', '.', 'tmpfs', 0, 'size=1m,password=hunter-of-data')")
    mounter.do("call('mount', 'https://user:hunter-of-urls@host/', '.', 'tmpfs', 0, None)")
    mounter.do("f = sure('fsopen', 'tmpfs', 1); call('fsconfig', f, 1, 'password', 'hunter-of-strings', 0)")
    mounter.do("sure('fsconfig', f, 6, None, None, 0); sure('fsmount', f, 0, 0)")
    rows = _rows(watch, mounter)
    assert len(rows) == 3 and "hunter" not in repr(rows)
    assert [row["redacted"] for row in rows] == [False, True, False]


if os.uname().machine == "x86_64":
    #: int call(int number, int a, int b, int c, int d, int e), by int 0x80.
    _INT80 = bytes.fromhex("53 89f8 89f3 4189ca 89d1 4489d2 4489c6 4489cf cd80 5b c3")

    def test_a_32_bit_call_is_a_blind_spot(watch: Watch, mounter: Mounter) -> None:
        """By the hook at its own function, or it has no row, and that is a blind spot of the answers."""
        mounter.do("os.mkdir('a'); sure('mount', 'x', 'a', 'tmpfs', 0, None); libc.mmap.restype = ctypes.c_void_p")
        mounter.do("page = libc.mmap(None, 4096, 7, 0x62, -1, 0)")  # MAP_32BIT
        mounter.do(f"ctypes.memmove(page, {_INT80!r} + bytes(64) + b'a\\0', {len(_INT80) + 66})")
        mounter.do("call32 = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int] * 6)(page)")
        assert mounter.do(f"call32(52, page + {len(_INT80) + 64}, 2, 0, 0, 0)") == 0  # umount2
        (observed,) = watch.observed.rows("SELECT hooks, blind_spots FROM observer WHERE event = 'ready'")
        seen = json.loads(observed["hooks"])["mount_compat"].startswith("present")
        assert [row["event"] for row in _rows(watch, mounter)] == ["mount", *(["umount"] if seen else [])]
        assert ("changes of the mount tree by 32-bit system calls (int 0x80)" in observed["blind_spots"]) == (not seen)


@pytest.mark.budget(30, "three observers follow each other")
def test_observers_that_follow_each_other(cgroup: TestCgroup, history: Path, tmp_path: Path) -> None:
    """What is mounted while nobody reads is recorded, once: all links outlive the observer; when the last one ends, all are gone."""
    observed = Observed(history, [cgroup.path], "--keep-attached")
    observed.start()
    mounter = Mounter(cgroup, tmp_path)
    mounter.do("[os.mkdir(name) for name in 'abc']; sure('mount', 'first', 'a', 'tmpfs', 0, None)")
    assert observed.stop() == 0, observed.errors
    mounter.do("sure('mount', 'alone', 'b', 'tmpfs', 0, None); sure('umount', 'a', 0)")
    observed.start()
    mounter.do("sure('mount', 'then', 'c', 'tmpfs', 0, None)")
    assert observed.stop() == 0, observed.errors
    observed.command.remove("--keep-attached")
    observed.start()
    assert observed.stop() == 0, observed.errors
    mounter.do("sure('umount', 'b', 0)")
    mounter.leave()
    rows = observed.rows(f"SELECT event, source, target_raw FROM mount WHERE pid = {mounter.pid} ORDER BY ktime")
    told = [(row["event"], row["source"] or row["target_raw"]) for row in rows[3:]]
    assert told == [("mount", "first"), ("mount", "alone"), ("umount", "a"), ("mount", "then")]
    assert observed.rows("SELECT * FROM loss") == []
