"""What outlives a reader in the kernel: an instance's folder on the BPF filesystem, with rings, programs and links pinned.

FOLDER/<map>             the shared maps (spec.shared)
FOLDER/entry_<program>   the array of one place whose entry the attached program calls
FOLDER/spine_<program>   the attached program
FOLDER/link_<program>    its link: gone with it, the program is detached
FOLDER/iterator_<program> one that tells what runs already

A crash of the reader, `--keep-attached` or an upgrade leaves them; nothing else does.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import struct
import time
from dataclasses import astuple, dataclass
from pathlib import Path

from firsthand.errors import BusyError, NotSupportedError
from firsthand.probe import libbpf

#: Where the BPF filesystem is looked for. The second is for containers: their AppArmor profile denies every write below /sys/fs/bpf,
#: by its path (containerd, contrib/apparmor/template.go), whatever is mounted there.
PLACES = (Path("/sys/fs/bpf"), Path("/run/firsthand/bpf"))
_BPFFS_MAGIC = 0xCAFE4A11  # include/uapi/linux/magic.h
#: Seconds for which a lock of somebody who is dying is waited for.
PATIENCE = 2.0
_KEY = struct.pack("<I", 0)


@dataclass
class Control:
    """struct control of kernel/include/maps.h: nanoseconds of CLOCK_BOOTTIME, and the build of programs and settings."""

    incarnation: int
    heartbeat: int
    patience: int
    build: int

    def write(self, fd: int) -> None:
        """Into the map `control`."""
        libbpf.call("bpf_map_update_elem", fd, _KEY, struct.pack("<4Q", *astuple(self)), 0)

    @classmethod
    def read(cls, fd: int) -> Control:
        """From the map `control`."""
        value = ctypes.create_string_buffer(32)
        libbpf.call("bpf_map_lookup_elem", fd, _KEY, value)
        return cls(*struct.unpack("<4Q", value.raw))


@dataclass(frozen=True)
class MapInfo:
    """The first members of struct bpf_map_info (include/uapi/linux/bpf.h), the id aside."""

    type: int
    key_size: int
    value_size: int
    max_entries: int


def folder_of(instance: str) -> Path:
    """An instance's folder."""
    return bpffs() / f"firsthand-{instance}"


def bpffs() -> Path:
    """Where the BPF filesystem is mounted, or would be."""
    return next((place for place in PLACES if _filesystem(place) == _BPFFS_MAGIC), PLACES[0])


def mount_bpffs() -> list[str]:
    """Mount the BPF filesystem where it is not; says so in the list that it returns. NotSupportedError where that is refused."""
    place = bpffs()
    if _filesystem(place) == _BPFFS_MAGIC:
        return []
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", bytes(place), b"bpf", 0, None):
        why = os.strerror(ctypes.get_errno())
        raise NotSupportedError(
            f"the BPF filesystem is mounted on none of {', '.join(map(str, PLACES))}, and cannot be mounted ({why}): "
            f"mount -t bpf bpf {PLACES[0]} on the machine; a pod mounts the machine's {PLACES[0]} on {PLACES[1]}"
        )
    return [f"mounted the BPF filesystem on {place}"]


def _filesystem(path: Path) -> int:
    """f_type of statfs(2), the first word of struct statfs, which os.statvfs lacks; 0 where there is nothing."""
    found = ctypes.create_string_buffer(256)
    if ctypes.CDLL(None).statfs(bytes(path), found):
        return 0
    return int(struct.unpack_from("l", found.raw)[0])


def claim(instance: str) -> tuple[Path, int]:
    """The instance's folder, locked for as long as the descriptor or a copy of it is open. BusyError where another has it.

    One that was just killed may still be on its way out: it is waited for a moment.
    """
    folder = folder_of(instance)
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    until = time.monotonic() + PATIENCE
    while not _locked(lock):
        if time.monotonic() >= until:
            os.close(lock)
            raise BusyError(
                f"another observer runs as instance {instance!r} ({folder} is locked); stop it, or choose another --instance"
            )
        time.sleep(0.02)
    return folder, lock


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def pin(fd: int, path: Path) -> None:
    """Pin a map, program or link; one that an interrupted loader left there is replaced."""
    path.unlink(missing_ok=True)
    libbpf.call("bpf_obj_pin", fd, str(path).encode())


def open_pin(path: Path) -> int | None:
    """A descriptor of what is pinned there, or None."""
    if not path.exists():
        return None
    return libbpf.call("bpf_obj_get", str(path).encode())


def info(fd: int) -> MapInfo:
    """What a map is."""
    raw = ctypes.create_string_buffer(224)
    size = ctypes.c_uint32(len(raw))
    libbpf.call("bpf_obj_get_info_by_fd", fd, raw, ctypes.byref(size))
    kind, _, key, value, most = struct.unpack_from("<5I", raw.raw)
    return MapInfo(kind, key, value, most)


def remove(instance: str) -> None:
    """Unpin everything of an instance and remove its folder; what is attached by pins alone is detached."""
    folder = folder_of(instance)
    with contextlib.suppress(FileNotFoundError):
        unpin(folder)
        folder.rmdir()


def unpin(folder: Path, beginning: str = "") -> None:
    """Unpin what begins so: "link_" detaches and keeps the rings."""
    for path in folder.iterdir():
        if path.name.startswith(beginning):
            path.unlink(missing_ok=True)
