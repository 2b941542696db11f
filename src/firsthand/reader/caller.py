"""Whether the process at the other end of a socket may read the history's files itself. The kernel reports who it is.

SO_PEERCRED and SO_PEERGROUPS (unix(7), socket(7)) give the process, user and groups at the time of the connect. The reader reads as a
member of the history's group. It answers members of that group, root with a capability for it, and its own user. A caller that could read
in another way (owner, bits for all, an ACL) reads for itself.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from pathlib import Path

from firsthand.schema import capability

#: asm-generic/socket.h.
_SO_PEERGROUPS = 59
_CREDENTIALS = struct.Struct("iII")
#: Bytes of a list of groups: the most that Python accepts, for 256 groups.
_GROUPS = 1024
_OVERRIDES = ("dac_override", "dac_read_search")
_ACL = "system.posix_acl_access"


def may_read(peer: socket.socket, directory: Path) -> bool:
    """Whether the peer may read the history. Returns False in doubt."""
    pid, uid, gid = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    try:
        if uid == 0 and _overrides(pid):
            return True
        if uid == os.geteuid() != 0:
            return True
        return os.geteuid() != 0 and os.getegid() in {gid, *_groups(peer)} and _by_group(directory)
    except OSError:
        return False


def _overrides(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    held = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff"))
    return bool(held & capability.bits(_OVERRIDES))


def _groups(peer: socket.socket) -> tuple[int, ...]:
    told = peer.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS)
    return struct.unpack(f"{len(told) // 4}I", told)


def _by_group(directory: Path) -> bool:
    """Whether membership of the group alone is enough to read the history."""
    found = directory.stat()
    if found.st_gid != os.getegid() or found.st_mode & 0o050 != 0o050 or _has_acl(directory):
        return False
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in directory.absolute().parents)


def _has_acl(directory: Path) -> bool:
    try:
        return _ACL in os.listxattr(directory)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return False
        raise
