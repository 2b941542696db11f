"""What a person would look at first: the machine, the kernel side, rights, disk, clock, and what was left behind."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from firsthand.errors import FirsthandError
from firsthand.health import status
from firsthand.history.store.connection import History
from firsthand.probe import load, pins
from firsthand.probe.spec import EXISTING, HOOKS, PLAIN, UNNEEDED
from firsthand.subjects.registry import SUBJECTS

_LEAST = 0.05
_SLOW_MS = 100
_TIME_ERROR = 5


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `state` ok, warn or fail; what it means; what to do where it is not ok."""

    state: str
    what: str
    detail: str
    remedy: str = ""


def examine(directory: Path, sockets: Sequence[str]) -> list[Finding]:
    """Everything, in the order in which things depend on one another. What cannot be looked at is a finding."""
    looks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("kernel", _kernel),
        ("rights", _rights),
        ("disk", lambda: _disk(directory)),
        ("history", lambda: _record(directory)),
        ("runtimes", lambda: _runtimes(sockets)),
        ("clock", _clock),
        ("orphans", _orphans),
    ]
    return [finding for what, look in looks for finding in _looked(what, look)]


def _looked(what: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a look finds; that this user may not look is a finding too."""
    try:
        yield from look()
    except PermissionError as error:
        named = error.filename or what
        yield Finding(
            "warn", what, f"{named}: you may not look ({error.strerror})", "be root or in the group firsthand"
        )


def _kernel() -> Iterator[Finding]:
    release = os.uname().release
    try:
        load.check_machine()
        yield Finding("ok", "kernel", f"{release} with BTF")
    except FirsthandError as error:
        yield Finding(
            "fail" if os.geteuid() == 0 else "warn", "kernel", str(error), "run as root on a kernel that has it"
        )
    lockdown = _read("/sys/kernel/security/lockdown")
    if "[confidentiality]" in lockdown:
        yield Finding(
            "fail", "lockdown", "confidentiality: programs may not read kernel memory", "boot with lockdown=integrity"
        )
    modules = _read("/sys/kernel/security/lsm")
    if modules and "bpf" not in modules.split(","):
        yield Finding("ok", "lsm", f"bpf is not among {modules}: tracepoints are used, which need no LSM")


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _rights() -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield Finding("ok", "rights", "root: may observe and ask")
    else:
        yield Finding("warn", "rights", "not root: may ask, not observe", "sudo, for `firsthand run`")


def _disk(directory: Path) -> Iterator[Finding]:
    if not directory.is_dir():
        yield Finding("warn", "history", f"{directory}: nothing was recorded yet", "firsthand run")
        return
    try:
        found = status.disk(directory)
        low = found["free"] < _LEAST * found["total"]
        yield Finding(
            "fail" if low else "ok",
            "disk",
            f"{found['free'] / 1e9:.1f} of {found['total'] / 1e9:.1f} GB free",
            "free space there",
        )
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(bytes(4096))
            began = time.monotonic()
            os.fsync(file.fileno())
            passed = (time.monotonic() - began) * 1000
        yield Finding(
            "warn" if passed > _SLOW_MS else "ok",
            "fsync",
            f"{passed:.1f} ms for 4 KB",
            "a faster disk: each commit waits for it",
        )
    except PermissionError:
        yield Finding("ok", "fsync", "not measured: this user may not write there")
    except OSError as error:
        yield Finding(
            "fail", "disk", f"{directory} cannot be written: {error.strerror}", "mount it writable or free space"
        )


def _record(directory: Path) -> Iterator[Finding]:
    if not directory.is_dir():
        return
    try:
        with History(directory).connection() as connection:
            found = status.status(connection, datetime.now(UTC), directory)
    except FirsthandError as error:
        yield Finding("fail", "record", str(error), "firsthand verify tells what else is damaged")
        return
    observing = [one for one in found["observers"] if one["observing"]]
    if not observing:
        yield Finding("warn", "observer", "nothing is being observed", "firsthand run")
    for one in observing:
        yield Finding("ok", "observer", f"{one['node']}: since {one['since']}")
        yield from _blind_spots(one)
    for reason in found["reasons"]:
        if reason != "nothing is being observed":
            yield Finding("warn", "health", reason, "firsthand status")


def _blind_spots(observer: dict[str, Any]) -> Iterator[Finding]:
    """Of each missing hook with the reason, and of what is not seen though every hook is there."""
    spots = {hook.name: hook.blind_spot for hook in (*HOOKS, *EXISTING, PLAIN)}
    for name in observer["missing"]:
        why = observer["hooks"][name].removeprefix("missing: ")
        spot = spots.get(name, name)
        state, what = ("ok", "blind spot") if name in UNNEEDED else ("warn", "hook")
        yield Finding(state, what, f"{name} is missing: blind spot: {spot} ({why})", "see docs/kernels.md")
    for spot in observer["blind_spots"]:
        if spot not in spots.values():
            yield Finding("warn", "blind spot", spot, "docs/install.md, As a pod")
    for subject in SUBJECTS:
        for spot in subject.standing:
            yield Finding("ok", "blind spot", f"on every kernel: {spot}", subject.page)


def _runtimes(sockets: Sequence[str]) -> Iterator[Finding]:
    found = [name.rpartition(":")[2] for name in sockets if Path(name.rpartition(":")[2]).exists()]
    if not found:
        yield Finding("ok", "runtimes", "no container runtime's socket is here: containers go by their ids")
    for name in found:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            try:
                connection.connect(name)
                yield Finding("ok", "runtime", f"{name} takes connections")
            except OSError as error:
                yield Finding(
                    "warn",
                    "runtime",
                    f"{name}: {error.strerror or error}",
                    "start the runtime, or take it out of runtimes.sockets",
                )


def _clock() -> Iterator[Finding]:
    """The kernel's own word (adjtimex(2)): TIME_ERROR is a clock that nobody disciplines."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(256))  # struct timex, modes 0: only read
    if state == _TIME_ERROR:
        yield Finding("warn", "clock", f"{now}, not synchronised", "run an NTP client: rows carry this time")
    else:
        yield Finding("ok", "clock", f"{now}, synchronised")


def _orphans() -> Iterator[Finding]:
    """Kernel sides that nobody reads, and what they hold."""
    if os.geteuid() != 0:
        return
    for folder in sorted(pins.bpffs().glob("firsthand-*")):
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # it ended meanwhile
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield Finding("ok", "pins", f"{folder} is being read")
        else:
            held = _memory(folder)
            what = f"{folder}: nobody reads it; it records into its rings, {held / 1e6:.1f} MB of kernel memory"
            instance = folder.name.removeprefix("firsthand-")
            yield Finding("warn", "pins", what, f"firsthand run --instance {instance} takes over, uninstall removes it")
        finally:
            os.close(descriptor)


def _memory(folder: Path) -> int:
    """Bytes of the pinned maps, by their descriptors' own word (proc(5), fdinfo: memlock)."""
    total = 0
    for path in folder.iterdir():
        if path.name.startswith(("link_", "spine_", "iterator_")):
            continue
        fd = pins.open_pin(path)
        if fd is None:
            continue
        lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("memlock"))
        os.close(fd)
    return total
