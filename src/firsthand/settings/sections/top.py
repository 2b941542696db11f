"""The settings at the top of the file, under no heading."""

from __future__ import annotations

import os
from typing import Annotated

from firsthand.settings.declare import TOP, Section, section, setting
from firsthand.settings.kinds import POWER, POWER_OR_ZERO

#: The ordinary ring's least and greatest size where the setting leaves it to the machine, bytes.
RING_BYTES = (8 << 20, 64 << 20)
_ORDINARY = (
    "chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "net_bind_service", "net_raw",
    "sys_chroot", "mknod", "audit_write", "setfcap",
)  # fmt: skip


@section(TOP, role="observer")
class Top(Section, frozen=True):
    """Where and how is observed; the kernel's rings; the live view."""

    history: Annotated[
        str | None,
        setting(
            "Where the history is kept. Default: /var/lib/firsthand for root, the user's state directory else. $FIRSTHAND_HISTORY.",
            role="",
        ),
    ] = None
    instance: Annotated[str, setting("Name of the pin folder below /sys/fs/bpf; two observers need two names.")] = (
        "default"
    )
    hierarchy: Annotated[
        str, setting("Which cgroup hierarchy carries the containers: auto, v2, or a v1 controller such as memory.")
    ] = "auto"
    ring_bytes: Annotated[
        int,
        setting(
            "The kernel's ordinary ring in bytes, a power of two. 0: by the machine, 4 MiB a processor and at most a 512th of its memory, "
            "from 8 to 64 MiB.",
            "bytes",
            kind=POWER_OR_ZERO,
        ),
    ] = 0
    urgent_bytes: Annotated[
        int,
        setting(
            "The kernel's ring for records of privilege and of cgroups, in bytes, a power of two.", "bytes", kind=POWER
        ),
    ] = 1 << 20
    patience_seconds: Annotated[
        int,
        setting("Seconds without a reader after which the kernel side only counts what happens.", "seconds", least=1),
    ] = 600
    restart_most_seconds: Annotated[
        int,
        setting(
            "A process of Firsthand that dies is started again at once; if it dies again soon after 0.1 s, then 0.2 and so on up to this "
            "many seconds.",
            "seconds",
            least=1,
            role="",
        ),
    ] = 30
    canary_seconds: Annotated[
        int,
        setting(
            "Seconds between two canaries: events that Firsthand causes itself and that must come back by every hook; 0 for none, not even "
            "at the start.",
            "seconds",
            least=0,
        ),
    ] = 60
    poll_ms: Annotated[
        int, setting("Milliseconds between looks at the ring; twice that while nothing waits.", "milliseconds", least=1)
    ] = 40
    commit_ms: Annotated[
        int,
        setting(
            "Milliseconds between durable commits; two and a half times that while more than 3 MiB of records a second come.",
            "milliseconds",
            least=1,
        ),
    ] = 80
    fold: Annotated[
        int, setting("Live view: more lines a second than this are folded into one.", "lines", least=1, role="")
    ] = 20
    ordinary_capabilities: Annotated[
        tuple[str, ...],
        setting(
            "What the runtime gives an ordinary container; `ask privileged` shows what goes beyond. Names of linux/capability.h.",
            role="",
        ),
    ] = _ORDINARY

    @property
    def rings(self) -> dict[str, int]:
        """Sizes of the rings by map, bytes, powers of two."""
        return {"ring": self.ring_bytes or ring_bytes(os.cpu_count() or 1, _memory()), "urgent": self.urgent_bytes}


def ring_bytes(processors: int, memory: int) -> int:
    """The ordinary ring's size for a machine: a power of two from 8 to 64 MiB, 4 MiB a processor, of `memory` bytes a 512th at most.

    A processor that does nothing but start processes makes 5 MB of records a second.
    """
    least, most = RING_BYTES
    wanted = min(processors * (4 << 20), memory // 512, most)
    return max(least, 1 << wanted.bit_length() - 1 if wanted else 0)


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
