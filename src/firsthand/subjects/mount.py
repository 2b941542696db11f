"""The mount tree: what was mounted, moved, changed and unmounted, by whom, and which tries were refused."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Annotated

from firsthand.settings.declare import Section, Settings, section, setting
from firsthand.subjects.column import Column
from firsthand.subjects.columns import OUTSIDE, OWNED, WHO
from firsthand.subjects.declare import (
    OWNER,
    SECRET,
    Canary,
    CanaryEvent,
    Hook,
    Listing,
    Subject,
    SubjectTable,
    Switch,
    TimelineRow,
)


@section("mounts", role="observer")
class RecordedMounts(Section, frozen=True):
    """Whether changes of mount trees are recorded."""

    enabled: Annotated[
        bool,
        setting(
            "Whether changes of mount trees become rows of `mount`. If the kernel refuses fexit, that takes hooks at the ends of system "
            "calls, which cost each system call of the machine some 40 ns (docs/mounts.md)."
        ),
    ] = True


def _recorded(settings: Settings) -> bool:
    return settings[RecordedMounts].enabled


_DETAIL = """concat_ws(' ', coalesce(source, source_raw), '→ ' || coalesce(target, target_raw), filesystem, options,
        'without ' || cleared, 'errno ' || error, flag_names)"""
_TABLE = SubjectTable(
    "mount",
    "Changes of mount trees: mounts, binds, moves, changed options and propagation, umounts, roots and namespaces; refused tries too",
    (
        Column(
            "event",
            "text",
            "mount; bind; remount (options changed); move; propagation (shared, private, slave); umount; create (a mount that stands in no "
            "tree yet: fsmount, open_tree); attach (such a one was put into the tree); pivot_root; chroot; unshare (a mount namespace of its "
            "own); enter (another's, by setns)",
        ),
        *OWNED,
        Column("redacted", "bool", "something in the source was replaced before it reached the disk"),
        Column("redaction", "text", "names of the redaction patterns that matched, comma separated"),
    ),
    roles={"exe": OWNER, "source": SECRET, "source_raw": SECRET},
    summary=(*WHO, "event", "target"),
    facts=OUTSIDE,
    line=TimelineRow("exe", _DETAIL),
)
_CALLS = (
    *("mount", "umount", "move_mount", "open_tree", "open_tree_attr", "fsopen", "fspick", "fsconfig", "fsmount"),
    *("mount_setattr", "pivot_root", "chroot", "unshare", "setns"),
)


#: getpriority(2), and the argument that kernel/include/mounting.h knows (CANARY_WORD): it names nothing whose priority there is.
_GETPRIORITY = {"x86_64": 140, "aarch64": 141}
_CANARY_WORD = 0x66687264


def _cause(token: str) -> None:
    """A mount that is refused, for there is no such target; where a filter of system calls refuses it, a call that the hook knows.
    Nothing changes."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount(token.encode(), f"/proc/self/{token}".encode(), b"tmpfs", 0, None)
    if ctypes.get_errno() == errno.EPERM:
        number = _GETPRIORITY[os.uname().machine]
        libc.syscall(ctypes.c_long(number), ctypes.c_long(_CANARY_WORD), *[ctypes.c_long(0)] * 4)


SUBJECT = Subject(
    "mount",
    (_TABLE,),
    hooks=(
        Hook(
            "mount_change",
            "mount",
            ("mount_returned", "mount_called"),
            "mount",
            "changes of the mount tree",
            at_tracepoints={"mount_called": tuple(f"syscalls/sys_exit_{call}" for call in _CALLS)},
            at_functions=("mount_returned",),
        ),
        Hook(
            "mount_compat",
            "mount",
            ("mount_compat",),
            "mount",
            "changes of the mount tree by 32-bit system calls (int 0x80)",
            at_functions=("mount_compat",),
            needed=False,
        ),
    ),
    standing=(
        "mounts that the kernel makes by itself (automounts), copies by propagation, and mounts that end with their namespace",
    ),
    page="docs/mounts.md",
    canary=Canary((CanaryEvent("mount", "mount", ("mount_change",)),), _cause),
    questions=(
        Listing(
            "mounts",
            "what was mounted, moved, changed and unmounted; refused tries too",
            "mount",
            "change of a mount tree",
            ("source", "target", "filesystem", "options", "call", "error", "flag_names"),
            many="changes of mount trees",
            rank=300,
        ),
    ),
    wanted=_recorded,
    section=RecordedMounts,
    switches=(Switch(("mount", "enabled"), "mount", "changes of mount trees were not recorded", "mounts.enabled"),),
    rank=35,
)
