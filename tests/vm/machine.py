"""One boot of a kernel in QEMU, by software emulation: no disk, no network; its results are read from the console."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_MARK = "FIRSTHAND "
TIMEOUT = 300


@dataclass
class Boot:
    """What one boot said; `mode`: the cgroups that were mounted."""

    mode: str = ""
    kernel: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    pod: dict[str, Any] = field(default_factory=dict)
    truth: dict[str, Any] = field(default_factory=dict)
    stats: dict[str, Any] = field(default_factory=dict)
    clock: dict[str, Any] = field(default_factory=dict)
    malformed: int = -1

    def socket(self, cookie: int) -> list[dict[str, Any]]:
        """The rows of one socket's connection, as they came."""
        return [row for row in self.rows if row["table"] == "connection" and row["cookie"] == cookie]

    def of(self, pid: int, event: str) -> dict[str, Any]:
        """The one row of a process and event; the last where an exec happened twice."""
        found = [
            row for row in self.rows if row["table"] == "process" and row["exec_tgid"] == pid and row["event"] == event
        ]
        assert found, f"no {event} row of {pid}"
        return found[-1]


def boot(kernel: Path, initramfs: Path, cgroups: str, work: str = "events") -> Boot:
    """Boot, run guest.py with that work, power off. AssertionError with the console's end where it did not come to its end."""
    command = [
        "qemu-system-x86_64",
        "-accel",
        "tcg,thread=multi",
        "-machine",
        "q35",
        "-cpu",
        "max",
        "-smp",
        "2",
        "-m",
        "1536",
    ]
    command += ["-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]
    command += ["-kernel", str(kernel), "-initrd", str(initramfs)]
    command += ["-append", f"console=ttyS0 panic=-1 quiet lsm=lockdown,capability,bpf cgroups={cgroups} work={work}"]
    done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL, check=False)
    return read(done.stdout.decode(errors="replace"), cgroups)


def read(console: str, mode: str) -> Boot:
    """The lines that guest.py printed."""
    found = Boot(mode)
    ended = False
    for line in console.splitlines():
        _, mark, text = line.partition(_MARK)
        if not mark:
            continue
        said = json.loads(text)
        kind = said.pop("kind")
        assert kind != "error", said["text"]
        if kind == "row":
            found.rows.append(said)
        elif kind == "decoded":
            found.malformed = said["malformed"]
        elif kind == "end":
            ended = True
        else:
            setattr(found, kind, said)
    assert ended, f"the guest did not come to its end:\n{console[-3000:]}"
    return found
