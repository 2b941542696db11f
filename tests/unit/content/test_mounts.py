"""content/mounts.py: paths are followed without asking anything of a file system that may never answer."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from firsthand.content.mounts import Mounts


def _line(point: str, kind: str) -> str:
    return f"36 35 98:0 / {point} rw,noatime master:1 - {kind} source rw"


def _mounts(**kinds: str) -> Mounts:
    return Mounts([_line("/", "ext4"), *(_line(f"/{name.replace('_', '/')}", kind) for name, kind in kinds.items())])


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/mnt/share", "nfs4"),
        ("/mnt/share/deep/below", "nfs4"),
        ("/mnt/shared", None),
        ("/mnt/tool/x", "fuse.sshfs"),
        ("/etc/passwd", None),
        ("/", None),
    ],
)
def test_what_is_below_a_remote_mount(path: str, kind: str | None) -> None:
    """Law: the nearest mount above decides, by whole steps of the path."""
    assert _mounts(mnt_share="nfs4", mnt_tool="fuse.sshfs").remote(path) == kind


def test_the_last_mount_at_a_place_counts() -> None:
    """Law: what is mounted over a share is what a path reaches; names with spaces are as the kernel writes them."""
    assert Mounts([_line("/mnt", "nfs"), _line("/mnt", "tmpfs")]).remote("/mnt/x") is None
    assert Mounts([_line("/mnt/a\\040b", "9p")]).remote("/mnt/a b/x") == "9p"


def test_links_are_followed_below_a_root(tmp_path: Path) -> None:
    """Law: an absolute link of a container leads below its root, and no number of `..` out of it."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").touch()
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "out").symlink_to("../../../../../etc/passwd")
    found = Mounts([])
    for name in ("link", "out", "etc/passwd"):
        assert found.resolve(f"{tmp_path}/{name}", str(tmp_path)) == f"{tmp_path}/etc/passwd"


def test_nothing_is_asked_of_what_may_not_answer(tmp_path: Path) -> None:
    """Law: a link into a share is refused before the share is touched; a circle of links ends."""
    share = tmp_path / "share"
    (tmp_path / "link").symlink_to(share / "file")
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    found = Mounts([_line(str(share), "nfs")])
    for name, number in (("link", errno.EREMOTE), ("one", errno.ELOOP), ("none", errno.ENOENT)):
        with pytest.raises(OSError) as error:
            found.resolve(str(tmp_path / name))
        assert error.value.errno == number


def test_patterns(tmp_path: Path) -> None:
    """Law: `*` and `?` stand within one step; a folder of a share is not listed; a path without them is itself, there or not."""
    for name in ("a1", "a2", "b1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").touch()
    found = Mounts([])
    assert list(found.expand(f"{tmp_path}/a?/*")) == [f"{tmp_path}/a1/x", f"{tmp_path}/a2/x"]
    assert list(found.expand("/no/such")) == ["/no/such"]
    assert list(Mounts([_line(str(tmp_path), "nfs")]).expand(f"{tmp_path}/*")) == []
