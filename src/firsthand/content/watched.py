"""Which files are checked: those by which somebody becomes another user, found again and again, and those that the settings name.

Below each root: programs with set-uid, set-gid or capabilities in the folders of programs, the files of accounts, /etc/ld.so.preload.
A root is the machine's own, or a layer of images: containers of one image read the same pages of it, and no change of them has a trace.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from firsthand.content.mounts import Mounts

#: Below a root, with how many levels of folders below them. /bin and others are links to these where they are none of their own.
FOLDERS = {
    "usr/bin": 0,
    "usr/sbin": 0,
    "usr/local/bin": 0,
    "usr/local/sbin": 0,
    "usr/lib": 3,
    "usr/libexec": 3,
    "bin": 0,
    "sbin": 0,
    "lib": 3,
    "opt": 3,
}
#: Below a root: accounts, and what is loaded into every program.
FILES = {
    "etc/passwd": "account",
    "etc/shadow": "account",
    "etc/group": "account",
    "etc/gshadow": "account",
    "etc/sudoers": "account",
    "etc/ld.so.preload": "preload",
}
#: At most so many files; more are counted.
MOST = 2_000
#: Entries of folders between two rests of a search.
_SOME = 128


@dataclass(frozen=True)
class WatchedFile:
    """A file by its path without symbolic links, and why it is checked: setuid, setgid, capabilities, account, preload or named.

    `reason`: why it cannot be, where that is known before it is opened. `named`: the path that a user gave, where it is another one.
    """

    path: str
    kind: str
    reason: str | None = None


def found(roots: tuple[str, ...], files: tuple[str, ...], *, default: bool = True) -> Iterator[WatchedFile | None]:
    """Every file once; None now and then, where whoever searches may rest. Without `default` those alone that `files` name.

    `roots`, `files`: absolute, with `*` for anything within a step.
    """
    mounts, seen = Mounts(), set[str]()
    for one in _all(mounts, roots if default else (), files):
        if one is None or one.path not in seen:
            yield one
        if one is not None:
            seen.add(one.path)


def _all(mounts: Mounts, roots: tuple[str, ...], files: tuple[str, ...]) -> Iterator[WatchedFile | None]:
    for pattern in files:
        for path in mounts.expand(pattern):
            one = _placed(mounts, path, "/", "named", always=True)
            if path == pattern or not _folder(one):  # a pattern means files
                yield one
    for pattern in roots:
        for root in mounts.expand(pattern):
            yield from _below(mounts, root)
            yield None


def _below(mounts: Mounts, root: str) -> Iterator[WatchedFile | None]:
    """What a root has."""
    for name, kind in FILES.items():
        one = _placed(mounts, f"{root.rstrip('/')}/{name}", root, kind, always=root == "/")
        if one is not None:
            yield one
    for name, depth in FOLDERS.items():
        try:
            folder = mounts.resolve(f"{root.rstrip('/')}/{name}", root)
        except OSError:
            continue
        if folder == f"{root.rstrip('/')}/{name}":  # a link to another of them is searched there
            yield from _programs(mounts, folder, depth)


def _placed(mounts: Mounts, path: str, root: str, kind: str, *, always: bool = False) -> WatchedFile | None:
    """A file by its path; None for one that is not there, but where it is `always` to be on the list."""
    try:
        return WatchedFile(mounts.resolve(path, root), kind)
    except FileNotFoundError:
        return WatchedFile(path, kind) if always else None
    except OSError as error:
        return WatchedFile(path, kind, f"it is not looked at ({error.strerror})")


def _folder(one: WatchedFile | None) -> bool:
    return one is not None and one.reason is None and Path(one.path).is_dir()


def _programs(mounts: Mounts, folder: str, depth: int) -> Iterator[WatchedFile | None]:
    """Programs with rights in a folder and below it."""
    if mounts.remote(folder):
        return
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for number, entry in enumerate(entries):
        if number % _SOME == _SOME - 1:
            yield None
        if entry.is_dir(follow_symlinks=False):
            if depth:
                yield from _programs(mounts, entry.path, depth - 1)
        elif entry.is_file(follow_symlinks=False) and (kind := _kind(entry)):
            yield WatchedFile(entry.path, kind)


def _kind(entry: os.DirEntry[str]) -> str | None:
    try:
        mode = entry.stat(follow_symlinks=False).st_mode
        if mode & stat.S_ISUID:
            return "setuid"
        if mode & stat.S_ISGID and mode & stat.S_IXGRP:
            return "setgid"
        if mode & 0o111 and "security.capability" in os.listxattr(entry.path, follow_symlinks=False):
            return "capabilities"
    except OSError:
        return None
    return None
