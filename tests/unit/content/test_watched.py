"""content/watched.py and content/mounts.py: which files are on the list, and that nothing remote is touched on the way."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from firsthand.content import watched
from firsthand.content.mounts import Mounts
from firsthand.content.watched import Watched
from tests import require


def _root(folder: Path) -> Path:
    for name in ("usr/bin", "usr/lib/a/b/c/d", "etc"):
        (folder / name).mkdir(parents=True)
    for name, mode in {"su": 0o4755, "wall": 0o2755, "shared": 0o2644, "true": 0o755}.items():
        (folder / "usr/bin" / name).write_bytes(b"x")
        (folder / "usr/bin" / name).chmod(mode)
    for name in ("usr/lib/a/b/c/near", "usr/lib/a/b/c/d/far"):
        (folder / name).write_bytes(b"x")
        (folder / name).chmod(0o4755)
    (folder / "bin").symlink_to("/usr/bin")
    (folder / "etc/passwd").symlink_to("/etc/real")
    (folder / "etc/real").write_bytes(b"x")
    return folder


def _found(roots: tuple[str, ...], files: tuple[str, ...] = (), *, default: bool = True) -> list[Watched]:
    return [one for one in watched.found(roots, files, default=default) if one is not None]


def test_the_default_list(tmp_path: Path) -> None:
    """Law: programs with set-uid or set-gid and account files, each once by its true path; absolute links begin at the root they are in."""
    root = _root(tmp_path / "layers" / "1")
    told = {one.path.removeprefix(str(root)): one.kind for one in _found((f"{tmp_path}/layers/*",))}
    assert told == {
        "/usr/bin/su": "setuid",
        "/usr/bin/wall": "setgid",
        "/usr/lib/a/b/c/near": "setuid",
        "/etc/real": "account",
    }
    assert _found((str(root),), default=False) == []


def test_capabilities(tmp_path: Path) -> None:
    """Law: a program with file capabilities is on the list."""
    require.root()
    root = _root(tmp_path)
    path = root / "usr/bin/true"
    # struct vfs_cap_data of linux/capability.h, revision 2: cap_net_raw, effective
    os.setxattr(path, "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    assert Watched(str(path), "capabilities") in _found((str(root),))


def test_named_files(tmp_path: Path) -> None:
    """Law: what a user names is on the list by its true path, and also where it is not there."""
    root = _root(tmp_path)
    (tmp_path / "link").symlink_to(root / "usr/bin/true")
    found = _found((), (f"{tmp_path}/link", f"{tmp_path}/usr/bin/s*", f"{tmp_path}/u*", f"{tmp_path}/none"))
    assert [(one.path.removeprefix(str(root)), one.kind) for one in found] == [
        ("/usr/bin/true", "named"),
        ("/usr/bin/shared", "named"),
        ("/usr/bin/su", "named"),
        ("/none", "named"),
    ]


_LINES = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / {0}/far rw - nfs4 server:/ rw
31 22 0:41 / {0}/user rw - fuse.sshfs x rw
32 22 0:42 / {0}/a\\040b rw - cifs x rw
33 22 0:43 / {0}/over rw - nfs x rw
34 22 254:0 / {0}/over rw - ext4 /dev/vdb rw"""


@pytest.mark.parametrize("name", ["far", "user", "a b"])
def test_nothing_remote_is_touched(tmp_path: Path, name: str) -> None:
    """Law: no path on or below a file system of the network or of FUSE is asked for, also not by a link to it."""
    mounts = Mounts(_LINES.format(tmp_path).splitlines())
    (tmp_path / "link").symlink_to(f"{tmp_path}/{name}/file")
    for path in (f"{tmp_path}/{name}", f"{tmp_path}/{name}/x/y", f"{tmp_path}/link"):
        with pytest.raises(OSError) as error:
            mounts.resolve(path)
        assert error.value.errno == 66
    assert list(mounts.expand(f"{tmp_path}/{name}/*")) == []
    (tmp_path / "over").mkdir()
    assert mounts.resolve(f"{tmp_path}/over") == f"{tmp_path}/over", "another one is mounted over it"


def test_links(tmp_path: Path) -> None:
    """Law: links are followed as the kernel does, below a root, and one that leads to itself ends."""
    mounts = Mounts()
    (tmp_path / "a").symlink_to("b/../c")
    (tmp_path / "b").mkdir()
    (tmp_path / "c").touch()
    (tmp_path / "round").symlink_to("round")
    assert mounts.resolve(f"{tmp_path}/a") == str((tmp_path / "a").resolve())
    assert mounts.resolve(f"{tmp_path}/b/../../../c", str(tmp_path)) == f"{tmp_path}/c", "it does not leave its root"
    with pytest.raises(OSError):
        mounts.resolve(f"{tmp_path}/round")
    shutil.rmtree(tmp_path / "b")
