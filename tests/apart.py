"""A mount namespace of a test's own, with a BPF file system and a place for logs that nobody else has.

What runs in it sees the machine without others' observers: `firsthand uninstall` removes the pins of a test and no others.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

_MADE = "mount -t bpf bpf /sys/fs/bpf && mount -t tmpfs tmpfs /var/log && echo apart && exec cat"


class Apart:
    """Until the block ends. `within`: the words before a command that is to run there, as the process that was started."""

    def __enter__(self) -> Apart:
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _MADE]
        self._holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._holder.stdout is not None and self._holder.stdout.readline() == b"apart\n"
        self.within = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "--wdns=/"]
        return self

    @property
    def bpffs(self) -> Path:
        """Its BPF file system, seen from outside."""
        return Path(f"/proc/{self._holder.pid}/root/sys/fs/bpf")

    def __exit__(self, *_: object) -> None:
        assert self._holder.stdin is not None
        self._holder.stdin.close()
        self._holder.wait()
