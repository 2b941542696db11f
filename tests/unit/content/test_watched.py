"""content/watched.py: which files are on the list."""

from __future__ import annotations

import os
from pathlib import Path

from firsthand.content import watched
from firsthand.content.watched import WatchedFile
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


def _found(roots: tuple[str, ...], files: tuple[str, ...] = (), *, default: bool = True) -> list[WatchedFile]:
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
    assert WatchedFile(str(path), "capabilities") in _found((str(root),))


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
