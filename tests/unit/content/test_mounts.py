"""content/mounts.py: where a path leads, and that nothing remote is touched on the way."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from firsthand.content.mounts import Mounts

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
