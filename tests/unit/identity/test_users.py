"""users.py: names that a container says its users have, and everything that must not be followed on the way to them."""

from __future__ import annotations

import os
import queue
from pathlib import Path

import pytest

from firsthand.identity.runtimes import specification
from firsthand.identity.runtimes.facts import ContainerFacts
from firsthand.identity.users import MOST_BYTES, MOST_NAMES, Rooted, Users, UsersReader, outside, read, roots, told

TEXT = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A container's root with a passwd file."""
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/passwd").write_bytes(TEXT)
    return tmp_path / "root"


def test_it_is_read(root: Path) -> None:
    """The file, as it is."""
    assert read(root) == TEXT


def _link(root: Path) -> None:
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to("/etc/passwd")


def _link_within(root: Path) -> None:
    (root / "etc/passwd").rename(root / "etc/other")
    (root / "etc/passwd").symlink_to("other")


def _folder_is_a_link(root: Path) -> None:
    (root / "etc").rename(root / "other")
    (root / "etc").symlink_to("/etc")


def _pipe(root: Path) -> None:
    (root / "etc/passwd").unlink()
    os.mkfifo(root / "etc/passwd")


def _large(root: Path) -> None:
    os.truncate(root / "etc/passwd", MOST_BYTES + 1)


def _folder(root: Path) -> None:
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").mkdir()


def _gone(root: Path) -> None:
    (root / "etc/passwd").unlink()


@pytest.mark.parametrize("trick", [_link, _link_within, _folder_is_a_link, _pipe, _large, _folder, _gone])
def test_what_is_not_read(root: Path, trick: object) -> None:
    """Law: no link on the way, nothing but a regular file, nothing large; and nothing waits."""
    trick(root)  # type: ignore[operator]
    with pytest.raises(OSError):
        read(root)


def test_neither_the_machines_own_root_nor_a_strange_file_system() -> None:
    """Law: the machine's names are no container's, and procfs stands for all file systems that are not on the list."""
    with pytest.raises(OSError, match=r"the machine's own root|not the kernel's own"):
        read(Path("/"))
    with pytest.raises(OSError, match="not the kernel's own"):
        read(Path("/proc"))


def test_names_by_the_machines_numbers() -> None:
    """The first name of a number; lines that are none are left out; a user namespace's numbers are the machine's; bounds hold."""
    text = (
        TEXT
        + b"second:x:0:0::/:\nshort:x\n:x:5:5::/:\nbad:x:-1:0::/:\nb\xe9:x:7:7::/:\n"
        + b"x" * 300
        + b":x:9:9::/:\n"
    )
    assert told(text, ()) == ["0=root", "1000=app", "7=b\\xe9"]
    assert told(TEXT, ((0, 100_000, 1000),)) == ["100000=root"]
    assert told(TEXT, ((0, 100_000, 1000), (1000, 7, 1))) == ["100000=root", "7=app"]
    assert outside(999, ((0, 100_000, 1000),)) == 100_999 and outside(1000, ((0, 100_000, 1000),)) is None
    many = b"".join(b"u%d:x:%d:0::/:\n" % (number, number) for number in range(MOST_NAMES + 5))
    assert len(told(many, ())) == MOST_NAMES


def test_where_a_root_is(tmp_path: Path) -> None:
    """Absolute, or in the bundle of containerd's state beside its socket."""
    assert list(roots(Rooted("c", "/run/x.sock", "/var/merged"))) == [Path("/var/merged")]
    bundle = tmp_path / "state/io.containerd.runtime.v2.task/k8s.io/c/rootfs"
    bundle.mkdir(parents=True)
    assert list(roots(Rooted("c", f"{tmp_path}/socket", "rootfs"))) == [bundle]


def test_a_root_that_comes_later(tmp_path: Path, root: Path) -> None:
    """It is tried again: a runtime tells a container before its root is there."""
    out: queue.SimpleQueue[object] = queue.SimpleQueue()
    reader = UsersReader(out)
    reader.start()
    reader.ask(Rooted("late", "", str(tmp_path / "later")))
    reader.ask(Rooted("now", "", str(root)))
    assert out.get(timeout=20) == Users("now", ["0=root", "1000=app"])
    root.rename(tmp_path / "later")
    assert out.get(timeout=20) == Users("late", ["0=root", "1000=app"])


@pytest.mark.parametrize(
    ("namespaces", "mapped", "root", "ranges"),
    [
        ([], None, "rootfs", ()),
        (["user"], [{"containerID": 0, "hostID": 7, "size": 2}], "rootfs", ((0, 7, 2),)),
        (["user"], None, None, ()),
    ],
)
def test_what_a_specification_says(namespaces: list[str], mapped: object, root: str | None, ranges: object) -> None:
    """A user namespace of which the ranges are not told has no names: they would be of other numbers."""
    linux = {"namespaces": [{"type": kind} for kind in namespaces], "uidMappings": mapped}
    facts = ContainerFacts("c")
    specification.take(facts, {"root": {"path": "rootfs"}, "linux": linux})
    assert (facts.root, facts.ranges) == (root, ranges)
