"""One boot of a kernel in QEMU, by software emulation: no disk, no network; its results are read from the console."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.vm.initramfs import REACHED

_MARK = "FIRSTHAND "
#: Seconds of a machine that is busy with others; a boot costs some 30 seconds of a processor.
TIMEOUT = 600
#: The x86-64-v2 that NumPy's wheels want, and no more: AVX, five levels of page tables and SMAP cost the emulation more than they give.
CPU = "Nehalem"
#: A busy host lets the check of the timer fail ("IO-APIC + timer doesn't work"); Spectre is no matter here, and costs.
CMDLINE = "console=ttyS0 panic=-1 quiet no_timer_check mitigations=off lsm=lockdown,capability,bpf"


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
    """Boot, run guest.py with that work, power off. AssertionError with the console's end where it did not come to its end.

    Once more where the machine did not even come to our init: then it is the emulation that failed, and nothing of ours ran.
    """
    console = _console(kernel, initramfs, cgroups, work)
    if REACHED not in console:
        print(f"vm: init was not reached; once more. The console ended:\n{console[-3000:]}")
        console = _console(kernel, initramfs, cgroups, work)
    assert REACHED in console, f"vm: init was not reached, twice:\n{console[-3000:]}"
    return read(console, cgroups)


def _console(kernel: Path, initramfs: Path, cgroups: str, work: str) -> str:
    """What one boot prints; what it printed until then where it does not end."""
    command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", CPU]
    command += ["-smp", "2", "-m", "1536", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"]
    command += ["-kernel", str(kernel), "-initrd", str(initramfs)]
    command += ["-append", f"{CMDLINE} cgroups={cgroups} work={work}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired as error:
        return f"{(error.stdout or b'').decode(errors='replace')}\nvm: not over after {TIMEOUT} s"
    return (done.stdout + done.stderr).decode(errors="replace")


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
