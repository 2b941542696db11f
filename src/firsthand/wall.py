"""The wall (law 9): each role has a user of its own, the capabilities that it is shown to need, and a filter of system calls.

`python -m firsthand.wall ROLE HISTORY MODULE ARGUMENTS...` goes behind the wall and only then imports the role's module: in its
working directory, the history, since the folders above may be closed to it. Users are those of an installation
(firsthand-observer, ...) or, where there are none, numbers that nobody else has.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import runpy
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from firsthand import rights, seccomp
from firsthand.errors import FirsthandError
from firsthand.seccomp import Filter

GROUP = "firsthand"
#: The group, and after it the users, where the installation made none.
FIRST_NUMBER = 4_242_420


@dataclass(frozen=True)
class Role:
    """What a process of ours may do; SECURITY.md gives the reason for each. `user` none: it stays root's; `reads`: the history."""

    capabilities: tuple[str, ...] = ()
    filter: Filter | None = None
    user: bool = True
    reads: bool = True


ROLES: dict[str, Role] = {
    # Loads and attaches (bpf, perfmon; net_admin at a cgroup's sockets), pins and mounts the BPF filesystem (sys_admin, which
    # older kernels ask for BTF by id too).
    "loader": Role(("bpf", "perfmon", "net_admin", "sys_admin"), user=False),
    "observer": Role(filter=seccomp.OBSERVER),
    "keeper": Role(filter=seccomp.KEEPER),
    # Reads what others wrote: it gets at nothing but the line to the observer, and closes itself up further (dissecting.py).
    "dissector": Role(filter=seccomp.DISSECTOR, reads=False),
    # The runtimes' sockets are root's.
    "follower": Role(filter=seccomp.FOLLOWER, user=False),
}
#: What each role writes in a history: folder and owner; the keeper owns the history itself and removes logs.
_OWNERS = {"log": "observer", "schema": "observer", "names": "follower", "generations": "keeper", "damaged": "keeper"}


@dataclass(frozen=True)
class Identity:
    """Numbers of a role: its user, its own group and the group of those who may read."""

    uid: int
    gid: int
    readers: int


def identity(role: str, directory: Path) -> Identity:
    """Whose a role's process is, for a history in `directory`: root without capabilities where its own user could not reach it."""
    if not _open_to_all(directory):
        return Identity(0, 0, _group(GROUP, 0))
    readers = _group(GROUP, FIRST_NUMBER)
    if not ROLES[role].user:
        return Identity(0, 0, readers)
    name = f"firsthand-{role}"
    number = FIRST_NUMBER + 1 + list(ROLES).index(role)
    with contextlib.suppress(KeyError):
        found = pwd.getpwnam(name)
        return Identity(found.pw_uid, found.pw_gid, readers)
    return Identity(number, number, readers)


def _group(name: str, default: int) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return default


def _open_to_all(directory: Path) -> bool:
    """Whether every user can go through the folders above the history, and read the program."""
    here = Path(__file__).resolve().parent
    folders = {*directory.absolute().parents, here, *here.parents, *Path(sys.executable).absolute().parents}
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in folders)


def prepare(directory: Path) -> None:
    """Give each role what it writes in a history, new or of before. For root, which other users' processes come from."""
    if os.geteuid() != 0:
        return
    keeper = identity("keeper", directory)
    directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    _give(directory, keeper.uid, keeper.readers, 0o750)
    for name, role in _OWNERS.items():
        owner = identity(role, directory)
        folder = directory / name
        folder.mkdir(exist_ok=True)
        shared = name in (
            "log",
            "names",
        )  # the keeper removes what it has handed over; the history's own mode keeps others out
        _give(folder, owner.uid, keeper.gid if shared else owner.readers, 0o775 if shared and keeper.uid else 0o750)
        for path in _below(folder):
            _give(path, owner.uid, owner.readers)
    for path in directory.iterdir():
        if path.name not in _OWNERS and path.name != "run.lock":
            _give(path, keeper.uid, keeper.readers)


def prepare_file(path: Path, role: str, directory: Path) -> None:
    """A file outside of the history that a role appends to, and its folder; the role itself says what it cannot do."""
    own = identity(role, directory)
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.touch(mode=0o640)
        _give(path, own.uid, own.readers)


def _below(folder: Path) -> Iterable[Path]:
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(root) / name


def _give(path: Path, uid: int, gid: int, mode: int | None = None) -> None:
    with contextlib.suppress(FileNotFoundError):
        found = path.lstat()
        if (found.st_uid, found.st_gid) != (uid, gid):
            os.lchown(path, uid, gid)
        if mode is not None and stat.S_IMODE(found.st_mode) != mode:
            path.chmod(mode)


def enter(role: str, directory: Path) -> None:
    """Become a role for good: its working directory is the history, where it has to do with that. FirsthandError where the kernel refuses a step.

    Before any thread is started. Who is not root has nothing to give up but what an exec could gain.
    """
    chosen = ROLES[role]
    os.chdir(directory if chosen.reads else "/")
    if os.geteuid() == 0:
        own = identity(role, directory)
        os.setgroups([own.gid])
        group = own.readers if chosen.reads else own.gid
        os.setresgid(group, group, group)  # of what it writes
        rights.bound(chosen.capabilities)
        os.setresuid(own.uid, own.uid, own.uid)
    rights.keep(chosen.capabilities)
    if chosen.filter is not None:
        seccomp.apply(chosen.filter)


def read(directory: Path) -> None:
    """Become one who only reads a history: root keeps its user, and has no capability but the history's group."""
    if os.geteuid() == 0:
        os.setgroups([directory.stat().st_gid])
    rights.keep(())


def main(arguments: list[str]) -> None:
    """Go behind the wall, and run the role's module there."""
    role, directory, module, *rest = arguments
    try:
        enter(role, Path(directory))
    except (FirsthandError, OSError) as error:
        print(f"firsthand: the {role} could not give up its rights and did not begin: {error}", file=sys.stderr)
        sys.exit(1)
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
