"""Runs in the guest: bring the programs in, cause known events in one cgroup, and print what came through the ring; or `clock.py`.

Prints lines `FIRSTHAND {json}` on the console: hooks, then one row for each record, then the known truth, then `end`.
"""

import ctypes
import json
import os
import shutil
import signal
import struct
import sys
import traceback
from pathlib import Path
from typing import Any

import mounts
import sockets

from firsthand.confine import rights
from firsthand.probe import handover, hierarchy, load, pins, programs, rounds, stats
from firsthand.probe.loaded import RINGS
from firsthand.probe.options import LoadOptions
from firsthand.probe.ring import Ring
from firsthand.schema.layout import enumerators, installed
from firsthand.settings import Settings
from firsthand.settings.sections.folding import Folding
from firsthand.settings.sections.top import Top
from firsthand.wire import _drain
from firsthand.wire.batch import Fixed
from firsthand.wire.decode import Decoder

RING = 8 << 20


def say(**what: Any) -> None:
    """One line for the host."""
    print("FIRSTHAND " + json.dumps(what), flush=True)


def main() -> None:
    """The whole run; an exception is told as well."""
    try:
        if sys.argv[1:] == ["clock"]:
            import clock

            say(kind="clock", **clock.run())
        else:
            _run()
    except BaseException:
        say(kind="error", text=traceback.format_exc())
    say(kind="end")


def _run() -> None:
    scope = hierarchy.here()[0].mount / "scope"
    scope.mkdir()
    chosen = hierarchy.choose([scope])
    layout, keys = installed(), [hierarchy.key(scope)]
    folding = Folding(processes=True, connections=True, most_ms=10_000)
    options = LoadOptions(layout, chosen, keys, Settings(Top(instance="vm", ring_bytes=RING), folding))
    refused: list[str] = []
    made = programs.RefusedError.__init__

    def watched(self: programs.RefusedError, error: OSError, lines: Any) -> None:
        made(self, error, lines)
        refused.extend(list(lines)[-40:])

    programs.RefusedError.__init__ = watched  # type: ignore[method-assign]
    verified: dict[str, int] = {}
    ended = programs.Programs.__exit__

    def counted(self: programs.Programs, *error: Any) -> None:
        verified.update({name: stats.verified(fd) for name, fd in self.fds.items()})
        ended(self, *error)

    programs.Programs.__exit__ = counted  # type: ignore[method-assign]
    _as_a_pod_loads(options, refused)  # and leaves it as a crash does: pinned and attached
    loaded = load.bring_in(options)
    say(
        kind="kernel",
        release=os.uname().release,
        hierarchy=chosen.controller or "v2",
        hooks=loaded.hooks(),
        taken_over=loaded.taken_over,
        verified=verified,
        log=refused[-120:],
    )
    rings = [Ring(loaded.maps[name], loaded.size(name)) for name in RINGS]
    early = _early(scope)
    _running(early)
    for _ in handover.read_existing(loaded):
        pass
    truth = _cause(scope)
    conversations = sockets.cause(scope)
    mounted = mounts.cause(scope)
    os.kill(early, signal.SIGKILL)
    os.waitpid(early, 0)
    loaded.detach()
    left = loaded.sweeper.flush(lambda: None)
    _tell(rings)
    say(
        kind="truth",
        scope=scope.stat().st_ino,
        early=early,
        parent=os.getpid(),
        sockets=conversations,
        mounts=mounted,
        **truth,
    )
    say(
        kind="stats",
        produced=sum(sum(stats.produced(loaded, ring)) for ring in range(len(rings))),
        withheld=left,
        failures=stats.failures(loaded, enumerators("failure")),
    )


def _as_a_pod_loads(options: LoadOptions, refused: list[str]) -> None:
    """With the three capabilities that deploy/daemonset.yaml gives the loader, the BPF filesystem being mounted; and a canary's way there."""
    pins.mount_bpffs()
    child = os.fork()
    if not child:
        try:
            canaries = _canary_in_a_namespace(options.hierarchy)
            rights.keep(("bpf", "perfmon", "net_admin"))
            loaded = load.bring_in(options)
            say(kind="pod", hooks=loaded.hooks(), canaries=canaries, log=refused[-120:])
            loaded.forget()
        except BaseException:
            say(kind="error", text=traceback.format_exc())
        os._exit(0)
    os.waitpid(child, 0)


def _canary_in_a_namespace(chosen: hierarchy.Hierarchy) -> dict[str, str]:
    """From a cgroup namespace of our own: what the hierarchy's root says to a canary, and the place that is found for it."""
    own = chosen.mount / "pod"
    own.mkdir()
    (own / "cgroup.procs").write_text("0")
    ctypes.CDLL(None).unshare(0x02000000)
    (chosen.mount / "border").mkdir()
    try:
        rounds.cause(chosen.mount / "border", "token")
        (chosen.mount / "border/cgroup.procs").write_text("0")
        told = "taken"
    except OSError as error:
        told = os.strerror(error.errno or 0)
    folder = rounds.make(chosen, "vm")
    (folder / "cgroup.procs").write_text("0")
    (own / "cgroup.procs").write_text("0")
    folder.rmdir()
    return {"border": told, "place": str(folder.relative_to(chosen.mount))}


def _early(scope: Path) -> int:
    """A process that runs before observing is complete: the iterator must find it."""
    return _spawn(scope, ["/bin/cat"], stdin=os.pipe()[0])


def _running(pid: int) -> None:
    """Until a child of ours has executed its binary (its own command line tells)."""
    while b"cat" not in Path(f"/proc/{pid}/cmdline").read_bytes():
        os.sched_yield()


def _spawn(
    scope: Path, argv: list[str], uid: int = 0, binary: str | int | None = None, stdin: int | None = None
) -> int:
    """Fork, enter the scope's cgroup, exec; the child's pid."""
    child = os.fork()
    if child:
        return child
    try:
        (scope / "cgroup.procs").write_text(str(os.getpid()))
        if stdin is not None:
            os.dup2(stdin, 0)
        if uid:
            os.setgid(uid)
            os.setuid(uid)
        os.execve(argv[0] if binary is None else binary, argv, {"PATH": "/bin", "NAMED": "value"})
    except OSError:
        traceback.print_exc()
    os._exit(127)


def _cause(scope: Path) -> dict[str, int]:
    """Known processes, each waited for: name and pid."""
    shutil.copy("/bin/busybox", "/tmp/elevated")
    os.chmod("/tmp/elevated", 0o4755)
    os.chmod("/tmp", 0o755)
    Path("/tmp/script").write_text("#!/bin/sh\nexit 4\n")
    os.chmod("/tmp/script", 0o755)
    memory = os.memfd_create("payload")
    os.write(memory, Path("/bin/busybox").read_bytes())
    pids = {
        "plain": _spawn(scope, ["/bin/true", "one", "two words"]),
        "coded": _spawn(scope, ["/bin/sh", "-c", "exit 7"]),
        "killed": _spawn(scope, ["/bin/sh", "-c", "kill -9 $$"]),
        "elevated": _spawn(scope, ["/tmp/elevated", "true"], uid=1000),
        "script": _spawn(scope, ["/tmp/script"]),
        "memory": _spawn(scope, ["true"], binary=memory),
        "shells": _spawn(scope, ["/bin/sh", "-c", "(/bin/true); exit 0"]),
    }
    for pid in pids.values():
        os.waitpid(pid, 0)
    equal = _spawn(scope, ["/bin/sh", "-c", "for i in 1 2 3 4 5 6 7 8; do /bin/true equal; done; /bin/true unlike"])
    os.waitpid(equal, 0)
    outside = os.posix_spawn("/bin/true", ["outside"], {})
    os.waitpid(outside, 0)
    return {**pids, "outside": outside, "namespaced": _namespaced(scope)}


def _namespaced(scope: Path) -> int:
    """A process that is 1 in a pid namespace of its own: its parent's pid."""
    child = os.fork()
    if not child:
        (scope / "cgroup.procs").write_text(str(os.getpid()))
        ctypes.CDLL(None).unshare(0x20000000)
        os.waitpid(os.posix_spawn("/bin/true", ["namespaced"], {}), 0)
        os._exit(0)
    os.waitpid(child, 0)
    return child


def _tell(rings: list[Ring]) -> None:
    decoder = Decoder(installed())
    bad = 0
    for ring in rings:
        end = _drain.position(ring.producer_page)
        _, offsets, kinds, malformed = _drain.scan(ring.data, 0, end, ring.size, 65536, decoder.sizes)
        bad += malformed
        for table, rows in decoder.split(ring.data, offsets, kinds).items():
            batch = decoder.decode(table, rows)
            for row in range(batch.length):
                say(kind="row", table=table, **{name: _value(name, c, row) for name, c in batch.columns.items()})
    say(kind="decoded", malformed=bad + decoder.malformed)


def _value(name: str, column: Any, row: int) -> Any:
    if column.valid is not None and not column.valid[row]:
        return None
    if isinstance(column, Fixed):
        return int(column.values[row])
    found = column.row(row)
    if name == "payload":
        return found.hex()
    return [item.decode() for item in found] if isinstance(found, list) else found.decode("utf-8", "backslashreplace")


assert struct.calcsize("P") == 8
if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    main()
