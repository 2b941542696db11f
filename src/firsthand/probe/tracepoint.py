"""One program at many of the kernel's static tracepoints, such as the ends of single system calls, by links that can be pinned.

libbpf's own links disable the event when their object is destroyed, pinned or not (bpf_link_perf_detach): so they are made here.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import struct
from collections.abc import Sequence
from pathlib import Path

from firsthand.probe import libbpf

#: Where tracefs is looked for, the last one in a pod; where it is mounted nowhere, a mount of our own is in sight of nobody (fsmount(2)).
PLACES = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"), Path("/run/firsthand/tracing"))
_UNMOUNTED = (
    f"tracefs is mounted on none of {', '.join(map(str, PLACES))}, and mounting it needs CAP_SYS_ADMIN: "
    f"mount -t tracefs tracefs {PLACES[0]} on the machine; a pod mounts the machine's {PLACES[0]} on {PLACES[2]}"
)
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432  # the same on every machine
_CONFIG_CREATE = 6  # enum fsconfig_command of linux/mount.h
_TYPE_TRACEPOINT = 2  # enum perf_type_id of linux/perf_event.h
_ATTRIBUTES = 64  # PERF_ATTR_SIZE_VER0
_ENABLE = 0x2400  # PERF_EVENT_IOC_ENABLE
_CLOSE_ON_EXEC = 8  # PERF_FLAG_FD_CLOEXEC
_ATTACH_PERF_EVENT = 41  # BPF_PERF_EVENT, enum bpf_attach_type of linux/bpf.h


def attach(program: int, names: Sequence[str]) -> list[int]:
    """Descriptors of links of a program, by its descriptor, at those of the tracepoints (CATEGORY/NAME) that this kernel has.

    OSError where it has none, or refuses one: nothing is attached then.
    """
    links: list[int] = []
    folder = _tracefs()
    try:
        for name in names:
            number = _id(folder, name)
            if number is not None:
                links.append(_link(program, number))
        if not links:
            raise FileNotFoundError(2, f"none of the tracepoints {', '.join(names)} is in this kernel")
    except OSError:
        for link in links:
            os.close(link)
        raise
    finally:
        os.close(folder)
    return links


def _tracefs() -> int:
    """The root of tracefs. OSError where it cannot be mounted."""
    for place in PLACES:
        if (place / "events").is_dir():
            return os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        filesystem = _syscall(_FSOPEN, b"tracefs", 1)
    except PermissionError as error:
        raise PermissionError(error.errno, _UNMOUNTED) from error
    try:
        _syscall(_FSCONFIG, filesystem, _CONFIG_CREATE, None, None, 0)
        return _syscall(_FSMOUNT, filesystem, 1, 0)
    finally:
        os.close(filesystem)


def _id(folder: int, name: str) -> int | None:
    """The number of a tracepoint; None where this kernel has none of that name."""
    try:
        file = os.open(f"events/{name}/id", os.O_RDONLY, dir_fd=folder)
    except FileNotFoundError:
        return None
    with os.fdopen(file) as stream:
        return int(stream.read())


def _link(program: int, number: int) -> int:
    """A link, which holds the event: on one processor for all, as the program is the tracepoint's and not the event's."""
    attributes = struct.pack("<IIQ", _TYPE_TRACEPOINT, _ATTRIBUTES, number).ljust(_ATTRIBUTES, b"\0")
    call = _PERF_EVENT_OPEN[platform.machine()]
    event = _syscall(call, attributes, -1, 0, -1, _CLOSE_ON_EXEC)
    try:
        link = libbpf.call("bpf_link_create", program, event, _ATTACH_PERF_EVENT, None)
        fcntl.ioctl(event, _ENABLE, 0)
        return link
    finally:
        os.close(event)


def _syscall(number: int, *arguments: bytes | int | None) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    told = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *told))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
