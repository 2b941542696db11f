"""The processes behind `firsthand run`: observer, follower and keeper, started, watched and ended in order.

The observer drains rings and writes the log; the follower asks the runtimes for names; the keeper turns both into segments.
All end when their standard input is closed, so that none outlives a parent that was killed. The record does not need the
follower: one that ends is said and started again.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import IO, Any

from firsthand.errors import BusyError, FirsthandError, NotSupportedError, ProbeError, UsageError
from firsthand.following import FollowerOptions
from firsthand.pipeline import ObserverOptions

#: glibc (mallopt(3)): a batch's columns come from memory that is in use already and not from fresh pages, each of which costs
#: a fault. Variables that are set already are kept.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(32 << 20)}
#: The follower's: gRPC's older poller takes a third less of the processor than its event engine for a few messages a second; one
#: arena for all threads, and no threads of a linear algebra that nobody needs, keep it small.
_SMALL = {
    "GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_dns,-event_engine_for_all_other_endpoints,-event_engine_callback_cq",
    "MALLOC_ARENA_MAX": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
#: Seconds after which a follower that ended by itself is started again, at first and, doubled each time, at most.
FOLLOW_AGAIN, FOLLOW_AGAIN_MOST = 5.0, 300.0
_BY_NAME = {kind.__name__: kind for kind in (BusyError, NotSupportedError, ProbeError, UsageError)}


@dataclass
class Summary:
    """What a session came to. `missing` maps hooks that this kernel refused to the reason."""

    seconds: float = 0.0
    recorded: int = 0
    lost: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class Session:
    """`start`, `wait_ready`, then `failed` now and then, then `stop`. FirsthandError where the observer cannot work."""

    def __init__(self, options: ObserverOptions, following: FollowerOptions | None = None) -> None:
        self.options = options
        self.following = following
        self.summary = Summary()
        self._observer: subprocess.Popen[bytes] | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self._follower: subprocess.Popen[bytes] | None = None
        self._follow_again = 0.0
        self._follow_wait = FOLLOW_AGAIN
        self._began = time.monotonic()

    def start(self) -> None:
        """Start the processes, in sessions of their own: Ctrl-C reaches only the parent, which ends them in order."""
        options = json.dumps(asdict(self.options))
        self._observer = _spawn("firsthand.pipeline", options, stdout=subprocess.PIPE)
        self._keeper = _spawn("firsthand.history.keeper", "--history", self.options.history)
        self._follow()

    def _follow(self) -> None:
        if self.following is not None:
            self._follower = _spawn("firsthand.following", json.dumps(asdict(self.following)), allocator=_SMALL)
            self._follow_again = time.monotonic() + self._follow_wait

    def wait_ready(self, timeout: float = 60.0) -> bool:
        """True once events are being recorded, False after `timeout` seconds."""
        line = self._next_line(timeout)
        if line is None:
            return False
        self._take(line)
        self._began = time.monotonic()
        return bool(line["event"] == "ready")

    def failed(self) -> str | None:
        """Why a process has ended by itself, or None while both run. A follower that has is started again."""
        if self._follower is not None and self._follower.poll() is not None and time.monotonic() >= self._follow_again:
            code = self._follower.returncode
            print(f"firsthand: the follower ended by itself (exit code {code}): started again", file=sys.stderr)
            self._follow_wait = min(2 * self._follow_wait, FOLLOW_AGAIN_MOST)
            self._follow()
        for name, process in (("observer", self._observer), ("keeper", self._keeper)):
            if process is not None and process.poll() is not None:
                return f"the {name} ended by itself (exit code {process.returncode})"
        return None

    def stop(self) -> Summary:
        """Drain, detach, unpin; hand everything over; return what it came to."""
        if self._observer is not None:
            self._observer.send_signal(signal.SIGTERM)
            line = self._next_line(60.0)
            while line is not None:
                self._take(line)
                line = self._next_line(60.0)
            self._observer.wait()
        _end(self._follower)
        _end(self._keeper)
        self.summary.seconds = time.monotonic() - self._began
        return self.summary

    def _next_line(self, timeout: float) -> dict[str, Any] | None:
        """The observer's next JSON line; None at its end or after `timeout` seconds."""
        assert self._observer is not None and self._observer.stdout is not None
        if not _readable(self._observer.stdout, timeout):
            return None
        line = self._observer.stdout.readline()
        return json.loads(line) if line else None

    def _take(self, line: dict[str, Any]) -> None:
        if line["event"] == "failed":
            _end(self._follower)
            _end(self._keeper)
            raise _BY_NAME.get(line["kind"], FirsthandError)(line["error"])
        self.summary.recorded, self.summary.lost = line["recorded"], line["lost"]
        self.summary.missing, self.summary.notes = line["missing"], line["notes"]


def _readable(stream: IO[bytes], timeout: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return bool(selector.select(timeout))


def _end(process: subprocess.Popen[bytes] | None) -> None:
    """Ask a process to end, and wait for it."""
    if process is None:
        return
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    if process.stdin:
        process.stdin.close()
    process.wait()


def _spawn(
    module: str, *arguments: str, stdout: int | None = None, allocator: Mapping[str, str] = ALLOCATOR
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", module, *arguments]
    environment = {**allocator, **os.environ}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=stdout, bufsize=0, start_new_session=True, env=environment
    )
