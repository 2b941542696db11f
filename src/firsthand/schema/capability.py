"""Capabilities by number. Source: include/uapi/linux/capability.h (Linux 6.18), in order from 0."""

from __future__ import annotations

from collections.abc import Iterable

from firsthand.errors import UsageError

NAMES = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
]


def names(bits: int) -> list[str]:
    """Names of a set's bits; a bit without a name here is `cap_NN`."""
    return [NAMES[i] if i < len(NAMES) else f"cap_{i}" for i in range(64) if bits >> i & 1]


def bits(wanted: Iterable[str]) -> int:
    """The set of these names, with or without `CAP_`. UsageError for a name that is none."""
    total = 0
    for name in wanted:
        word = name.lower().removeprefix("cap_")
        if word not in NAMES:
            raise UsageError(f"{name!r} is no capability; names are those of linux/capability.h, such as net_admin")
        total |= 1 << NAMES.index(word)
    return total
