"""Which machine this is, and whether this process stands in the machine's own namespaces or in a container's."""

from __future__ import annotations

import os
from pathlib import Path

#: Names the machine where the host name is a container's own (in a pod: spec.nodeName).
NODE = "FIRSTHAND_NODE"
#: Inode numbers of the first namespace of each kind: the same on every machine (include/linux/proc_ns.h, PROC_*_INIT_INO).
_FIRST = {"pid": 0xEFFFFFFC, "uts": 0xEFFFFFFE, "cgroup": 0xEFFFFFFB}


def node() -> str:
    """The machine's name in every row: $FIRSTHAND_NODE, else the host name."""
    return os.environ.get(NODE) or os.uname().nodename


def boot() -> str:
    """This boot's id, the same in every container (Documentation/admin-guide/sysctl/kernel.rst)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def apart() -> bool:
    """Whether this is a container whose network namespace is its own: where /proc does not tell, it is not.

    Files below /proc/PID/net have a number in each network namespace (fs/proc/generic.c), which anybody may read; the namespace
    itself may be read by few.
    """
    if first("uts"):
        return False
    try:
        return Path("/proc/self/net/dev").stat().st_ino != Path("/proc/1/net/dev").stat().st_ino
    except OSError:
        return False


def first(kind: str) -> bool:
    """Whether this process is in the machine's own namespace of a kind: pid, uts or cgroup. True where /proc does not tell."""
    try:
        return Path(f"/proc/self/ns/{kind}").stat().st_ino == _FIRST[kind]
    except OSError:
        return True
