"""The processes behind `firsthand run`: the observer and the keeper, started, watched and ended in order.

The observer drains rings and writes the log; the keeper turns the log into segments and needs no rights. Both end when
their standard input is closed, so neither outlives a parent that was killed.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import IO, Any

from firsthand.errors import BusyError, FirsthandError, NotSupportedError, ProbeError, UsageError
from firsthand.pipeline import ObserverOptions

#: glibc (mallopt(3)): a batch's columns come from memory that is in use already and not from fresh pages, each of which costs
#: a fault. Variables that are set already are kept.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(32 << 20)}
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

    def __init__(self, options: ObserverOptions) -> None:
        self.options = options
        self.summary = Summary()
        self._observer: subprocess.Popen[bytes] | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self._began = time.monotonic()

    def start(self) -> None:
        """Start both processes, in sessions of their own: Ctrl-C reaches only the parent, which ends them in order."""
        options = json.dumps(asdict(self.options))
        self._observer = _spawn("firsthand.pipeline", options, stdout=subprocess.PIPE)
        self._keeper = _spawn("firsthand.history.keeper", "--history", self.options.history)

    def wait_ready(self, timeout: float = 60.0) -> bool:
        """True once events are being recorded, False after `timeout` seconds."""
        line = self._next_line(timeout)
        if line is None:
            return False
        self._take(line)
        self._began = time.monotonic()
        return bool(line["event"] == "ready")

    def failed(self) -> str | None:
        """Why a process has ended by itself, or None while both run."""
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
        self._end_keeper()
        self.summary.seconds = time.monotonic() - self._began
        return self.summary

    def _end_keeper(self) -> None:
        if self._keeper is None:
            return
        if self._keeper.poll() is None:
            self._keeper.send_signal(signal.SIGTERM)
        if self._keeper.stdin:
            self._keeper.stdin.close()
        self._keeper.wait()

    def _next_line(self, timeout: float) -> dict[str, Any] | None:
        """The observer's next JSON line; None at its end or after `timeout` seconds."""
        assert self._observer is not None and self._observer.stdout is not None
        if not _readable(self._observer.stdout, timeout):
            return None
        line = self._observer.stdout.readline()
        return json.loads(line) if line else None

    def _take(self, line: dict[str, Any]) -> None:
        if line["event"] == "failed":
            self._end_keeper()
            raise _BY_NAME.get(line["kind"], FirsthandError)(line["error"])
        self.summary.recorded, self.summary.lost = line["recorded"], line["lost"]
        self.summary.missing, self.summary.notes = line["missing"], line["notes"]


def _readable(stream: IO[bytes], timeout: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return bool(selector.select(timeout))


def _spawn(module: str, *arguments: str, stdout: int | None = None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", module, *arguments]
    environment = {**ALLOCATOR, **os.environ}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=stdout, bufsize=0, start_new_session=True, env=environment
    )
