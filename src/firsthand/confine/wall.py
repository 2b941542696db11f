"""The wall (law 9): each role has a user of its own, the capabilities that it is shown to need, and a filter of system calls.

`python -m firsthand.confine.wall ROLE HISTORY MODULE ARGUMENTS...` goes behind the wall and only then imports the role's module: in its
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
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from firsthand.confine import rights, seccomp
from firsthand.confine.roles import FIRST_NUMBER, OWNERS, ROLES, RUN_LOCK
from firsthand.errors import FirsthandError, HistoryError
from firsthand.schema import capability

GROUP = "firsthand"
#: In a history, held by the supervisor, and what readers may know of it: root's.
LOCK, SIGN = RUN_LOCK, f"{RUN_LOCK}.json"
_OURS = {LOCK: 0o600, SIGN: 0o640}
#: In a history, what tells it from others (history/place.py).
ID = "id"


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
    if ROLES[role].number is None:
        return Identity(0, 0, readers)
    with contextlib.suppress(KeyError):
        found = pwd.getpwnam(f"firsthand-{role}")
        return Identity(found.pw_uid, found.pw_gid, readers)
    return Identity(number(role), number(role), readers)


def number(role: str) -> int:
    """A role's user and own group, where no installation named others. KeyError for a role that stays root's."""
    found = ROLES[role].number
    if found is None:
        raise KeyError(role)
    return found


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
    """Give each role what it writes in a history, new or of before. For root, which other users' processes come from.

    CAP_CHOWN is enough where root is in the readers' group, which it enters by CAP_SETGID: what it is to change is taken first and
    given away last. HistoryError where it may not.
    """
    if os.geteuid() != 0:
        return
    try:
        _prepare(directory)
    except PermissionError as error:
        raise HistoryError(
            f"{directory} cannot be given to the roles that write it ({error}): CAP_CHOWN and CAP_SETGID are needed"
        ) from error


def _prepare(directory: Path) -> None:
    keeper = identity("keeper", directory)
    if keeper.readers not in os.getgroups():
        os.setgroups([*os.getgroups(), keeper.readers])
    directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    _make(directory)
    for name, role in OWNERS.items():
        owner = identity(role, directory)
        for path in _below(directory / name):
            _give(path, owner.uid, owner.readers)
        shared = name in (
            "log",
            "names",
        )  # the keeper removes what it handed over; the history's own mode keeps others out
        group, mode = (keeper.gid, 0o775) if shared and keeper.uid else (owner.readers, 0o750)
        _give(directory / name, owner.uid, group, mode)
    for path in directory.iterdir():
        if path.name not in (*OWNERS, LOCK, SIGN):
            _give(path, keeper.uid, keeper.readers)
    _give(directory, keeper.uid, keeper.readers, 0o750)


def _make(directory: Path) -> None:
    """What a history always has, and which root makes."""
    _open(directory)
    missing = [name for name in (*OWNERS, LOCK, SIGN, ID) if not (directory / name).exists()]
    if missing:
        os.chown(directory, 0, -1)
    for name in missing:
        path = directory / name
        path.mkdir(mode=0o750) if name in OWNERS else path.touch(mode=_OURS.get(name, 0o640))
    if ID in missing:
        (directory / ID).write_text(f"{uuid.uuid4().hex}\n")


def prepare_file(path: Path, role: str, directory: Path) -> None:
    """A file outside of the history that a role appends to, and its folder; the role itself says what it cannot do."""
    own = identity(role, directory)
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o640)
        _give(path, own.uid, own.readers)


def _below(folder: Path) -> Iterator[Path]:
    """Everything in a folder, what it holds before itself."""
    _open(folder)
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry))
        yield Path(entry)


def _open(folder: Path) -> None:
    """Take a folder that root may not look through: somebody else's, and it has no right to all files."""
    if not os.access(folder, os.R_OK | os.X_OK):
        os.chown(folder, 0, -1)


def _give(path: Path, uid: int, gid: int, mode: int | None = None) -> None:
    with contextlib.suppress(FileNotFoundError):
        found = path.lstat()
        if mode is not None and stat.S_IMODE(found.st_mode) != mode:
            os.chown(path, 0, -1)  # only an owner may change the mode
            path.chmod(mode)
            found = path.lstat()
        if (found.st_uid, found.st_gid) != (uid, gid):
            os.lchown(path, uid, gid)


def enter(role: str, directory: Path) -> None:
    """Become a role for good: its working directory is the history, where it has to do with that. FirsthandError where the kernel refuses a step.

    Before any thread is started. Who is not root has nothing to give up but what an exec could gain.
    """
    chosen = ROLES[role]
    if chosen.nice:
        rights.prefer(chosen.nice)
    if not chosen.spared:
        rights.first_to_go()
    os.chdir(directory if chosen.reads else "/")
    if os.geteuid() == 0:
        own = identity(role, directory)
        os.setgroups([own.gid])
        group = own.readers if chosen.reads else own.gid
        os.setresgid(group, group, group)  # of what it writes
        if left := rights.bound(chosen.capabilities):
            names = ", ".join(capability.names(left))
            print(
                f"firsthand: the {role}'s bounding set keeps {names}: setpcap is missing", file=sys.stderr, flush=True
            )
        if chosen.capabilities:
            rights.survive()
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
        needed = "; CAP_SETUID and CAP_SETGID are needed" if isinstance(error, PermissionError) else ""
        print(f"firsthand: the {role} could not give up its rights and did not begin: {error}{needed}", file=sys.stderr)
        sys.exit(1)
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
