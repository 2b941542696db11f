"""Where a path leads, without touching what is not local: the mounts of this process, and symbolic links followed step by step.

A file system of the network or of FUSE may answer never. So nothing is asked of a path below one: before each step it is looked up in
/proc/self/mountinfo (proc_pid_mountinfo(5)).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

#: File systems on which nothing is looked up; all of FUSE besides. autofs mounts others when it is looked at.
NEVER = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "9p",
    "ceph",
    "afs",
    "ocfs2",
    "gfs2",
    "lustre",
    "glusterfs",
    "autofs",
    "beegfs",
    "virtiofs",
}
#: Symbolic links in one path, as the kernel's own limit.
_LINKS = 40
_ESCAPED = re.compile(r"\\(\d{3})")


class Mounts:
    """The mount points as they are now, those on which nothing is asked marked."""

    def __init__(self, lines: Iterable[str] | None = None) -> None:
        told = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines() if lines is None else lines
        self._remote: dict[str, str] = {}
        for line in told:
            words = line.split(" ")
            kind, point = words[words.index("-", 6) + 1], _ESCAPED.sub(lambda found: chr(int(found[1], 8)), words[4])
            if kind in NEVER or kind.partition(".")[0] in ("fuse", "fuseblk"):
                self._remote[point] = kind
            else:
                self._remote.pop(point, None)  # mounted over it

    def remote(self, path: str) -> str | None:
        """The kind of file system, if a path is on or below one on which nothing is asked."""
        while self._remote:
            if path in self._remote:
                return self._remote[path]
            if path == "/":
                break
            path = path.rpartition("/")[0] or "/"
        return None

    def resolve(self, path: str, root: str = "/") -> str:
        """A path without symbolic links, below `root`, whose own absolute links begin there. OSError where it leads nowhere, with
        EREMOTE where it leads to what is not asked."""
        waiting, at, links = [*reversed(_steps(path.removeprefix(root.rstrip("/"))))], root.rstrip("/"), 0
        while waiting:
            step = waiting.pop()
            if step == "..":
                at = at.rpartition("/")[0] if len(at) > len(root.rstrip("/")) else at
                continue
            here = f"{at}/{step}"
            if kind := self.remote(here):
                raise OSError(66, kind, here)
            target = _link(here)
            if target is None:
                at = here
                continue
            links += 1
            if links > _LINKS:
                raise OSError(40, os.strerror(40), path)
            at = root.rstrip("/") if target.startswith("/") else at
            waiting += reversed(_steps(target))
        return at or "/"

    def expand(self, pattern: str) -> Iterator[str]:
        """The paths that a pattern stands for, `*` and `?` within a step; the pattern itself where it has none."""
        at = [""]
        for step in _steps(pattern):
            found = []
            for one in at:
                if not set("*?[") & set(step):
                    found.append(f"{one}/{step}")
                elif self.remote(one or "/") is None:
                    found += [f"{one}/{name}" for name in _names(one or "/") if fnmatchcase(name, step)]
            at = found
        yield from at


def _steps(path: str) -> list[str]:
    return [step for step in path.split("/") if step not in ("", ".")]


def _link(path: str) -> str | None:
    return str(Path(path).readlink()) if stat.S_ISLNK(os.lstat(path).st_mode) else None


def _names(folder: str) -> list[str]:
    try:
        return sorted(entry.name for entry in Path(folder).iterdir())
    except OSError:
        return []
