"""Watched files: who opened, wrote, renamed, linked, removed and changed what."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from firsthand.settings import Settings
from firsthand.settings.declare import Notation, Section, section, setting
from firsthand.settings.watchlist import Watchlist, checked
from firsthand.subjects.column import Column
from firsthand.subjects.columns import CGROUP, CLAIMED, OUTSIDE, OWNER_NAMES, WHO
from firsthand.subjects.declare import OWNER, Canary, CanaryEvent, Hook, Subject, SubjectTable, Switch, TimelineRow

#: The file that a round of the canary makes, writes and removes.
_CANARY = "firsthand-canary"
_ENTRIES = Notation(
    'a list of paths such as "/etc/shadow", "/etc/cron.d/" or "**/.ssh/"',
    checked,
    {"type": "array", "items": {"type": "string"}},
    list,
)


@section("files", role="observer")
class WatchedFiles(Section, frozen=True):
    """Which files are watched. The kernel side has the lists in maps (kernel/include/watch.h)."""

    enabled: Annotated[
        bool,
        setting(
            "true: opens and changes of the files below become rows of `file`. That takes hooks at the ends of system calls, which cost "
            "each system call of the machine some 40 ns (docs/files.md)."
        ),
    ] = False
    read: Annotated[
        tuple[str, ...],
        setting(
            "Files of which each open is recorded, and each change. With / at the end a folder and all below it; * is any letters but /, ? "
            "is one, ** is any.",
            kind=_ENTRIES,
        ),
    ] = (
        *("/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/sudoers.d/", "/etc/kubernetes/", "/run/secrets/"),
        *("/var/lib/kubelet/pki/", "**/.ssh/", "**/.aws/credentials", "**/.azure/", "**/.config/gcloud/"),
        *("**/.kube/config", "**/.docker/config.json"),
    )
    write: Annotated[
        tuple[str, ...],
        setting("Files of which opens for writing are recorded, and each change.", kind=_ENTRIES),
    ] = (
        *("/etc/passwd", "/etc/group", "/etc/ld.so.preload", "/etc/pam.d/", "/etc/profile", "/etc/profile.d/"),
        *("/etc/crontab", "/etc/cron.d/", "/etc/cron.hourly/", "/etc/cron.daily/", "/var/spool/cron/"),
        *("/etc/systemd/", "/usr/lib/systemd/", "/etc/init.d/", "**/.bashrc", "**/.profile"),
        *("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "**/release_agent"),
        *("/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/"),
        *("/etc/containerd/", "/etc/docker/", "/var/lib/kubelet/config.yaml"),
    )

    def check(self) -> None:
        """Both lists together fit into the kernel's tables."""
        try:
            self._list.check()
        except ValueError as error:
            raise ValueError(f"read and write: {error}") from error

    @property
    def _list(self) -> Watchlist:
        return Watchlist((*self.read, f"**/{_CANARY}"), self.write)

    @property
    def watched(self) -> Watchlist:
        """What the kernel side watches, the canary's file too; empty where nothing is watched."""
        return self._list if self.enabled else Watchlist()


def _watches(settings: Settings) -> bool:
    return settings[WatchedFiles].enabled


def _cause(token: str) -> None:
    """A file is made, written and removed, in a folder that nobody else has."""
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"firsthand-{token}"
    folder.mkdir(mode=0o700)
    file = folder / _CANARY
    file.write_bytes(b".")
    file.unlink()
    folder.rmdir()


_TABLE = SubjectTable(
    "file",
    "Watched files: who opened, wrote, renamed, linked, removed and changed what",
    (
        Column(
            "event",
            "text",
            "open; write: what was written to an open file, when it is closed, or each minute; rename, link, symlink, unlink, mkdir, rmdir, "
            "mknod, truncate, allocate (fallocate: reserve, zero or cut out a part), chmod, chown, times (utimensat and the like), xattr",
        ),
        *CGROUP,
        *OWNER_NAMES,
        CLAIMED,
    ),
    roles={"exe": OWNER},
    chosen=True,
    summary=(*WHO, "event", "path", "target", "source_path"),
    facts=OUTSIDE,
    line=TimelineRow("exe", "concat_ws(' ', path, target, opened_for, bytes_written || ' bytes', 'errno ' || error)"),
)


def _ends(*calls: str) -> tuple[str, ...]:
    """The tracepoints at the ends of system calls."""
    return tuple(f"syscalls/sys_exit_{call}" for call in calls)


#: Why rows that are not there prove nothing where these hooks are all.
_UNSEEN = (
    "hooks at system calls do not see those of 32-bit programs, operations through io_uring, io_submit and ioctl, what the kernel itself "
    "opens (exec, core dumps), and changes by a name that goes over a symbolic link or a mount of a part (docs/files.md)"
)
SUBJECT = Subject(
    "file",
    (_TABLE,),
    hooks=(
        Hook(
            "file_open",
            "file",
            ("file_open",),
            "file",
            "opens of watched files",
            at_tracepoints={"file_open": _ends("open", "openat", "openat2", "creat", "open_by_handle_at")},
            doubt=_UNSEEN,
        ),
        Hook(
            "file_write",
            "file",
            ("file_write",),
            "file",
            "what was written to watched files, and by which process",
            at_tracepoints={
                "file_write": _ends(
                    *("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile64", "splice", "copy_file_range"),
                )
            },
        ),
        Hook(
            "file_map",
            "file",
            ("file_map",),
            "file",
            "which process has mapped a watched file to write to it",
            at_tracepoints={"file_map": _ends("mmap")},
        ),
        Hook(
            "file_change",
            "file",
            ("file_change",),
            "file",
            "changes of watched files by name: rename, link, removal, mode, owner, times, attributes",
            at_tracepoints={
                "file_change": _ends(
                    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat"),
                    *("unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "mknod", "mknodat", "truncate", "ftruncate"),
                    *("fallocate", "utime", "utimes", "futimesat", "utimensat"),
                    *("chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat"),
                    *("setxattr", "lsetxattr", "fsetxattr", "setxattrat"),
                    *("removexattr", "lremovexattr", "fremovexattr", "removexattrat"),
                )
            },
        ),
    ),
    existing=(
        Hook("existing_files", "file", ("existing_files",), "file", "watched files that were open for writing already"),
    ),
    canary=Canary(
        (
            CanaryEvent("file", "open", ("file_open",)),
            CanaryEvent("file", "write", ("file_write",)),
            CanaryEvent("file", "unlink", ("file_change",)),
        ),
        _cause,
    ),
    wanted=_watches,
    section=WatchedFiles,
    switches=(Switch(("file", "enabled"), "file", "no file was watched", "files.enabled"),),
    rank=70,
)
