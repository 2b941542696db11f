"""A real reader of a test's own, as the supervisor starts it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from firsthand.history.log.alive import beside
from firsthand.reader import asker
from firsthand.reader.asker import NoReader

#: Seconds that the reader has to begin, or a process to end: then the test fails.
_MOST = 60.0


@dataclass(frozen=True)
class Serving:
    """Its socket and its process."""

    path: Path
    process: subprocess.Popen[bytes]

    def workers(self) -> list[int]:
        """The processes that answer now."""
        pid = self.process.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def wait_for_workers(self, number: int) -> list[int]:
        """Until so many answer."""
        until = time.monotonic() + _MOST
        while len(found := self.workers()) != number:
            assert time.monotonic() < until and self.process.poll() is None
            os.sched_yield()
        return found


@contextmanager
def serving(history: Path, path: Path, idle: float = 600.0, more: Mapping[str, str] | None = None) -> Iterator[Serving]:
    """A reader of a history at a socket, once it answers. It ends with the block."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0o666)  # who may ask is the reader's own to judge
        beside(path).touch()
        beside(path).chmod(0o666)
        listening.listen(32)
        command = [
            sys.executable,
            "-P",
            "-m",
            "firsthand.confine.wall",
            "reader",
            str(history),
            "firsthand.roles.reader",
        ]
        process = subprocess.Popen(
            [*command, str(history), str(idle), str(listening.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[listening.fileno()],
            env={**os.environ, **(more or {})},
        )
    try:
        _answers(path, history, process)
        found = Serving(path, process)
        found.wait_for_workers(0)  # of those who looked whether it answers
        yield found
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(_MOST)


def _answers(path: Path, history: Path, process: subprocess.Popen[bytes]) -> None:
    before, asker.GREETS = asker.GREETS, _MOST  # a start takes longer than an asker waits
    try:
        asker.probe(path, history)
    except NoReader as none:
        raise AssertionError(f"{none}; exit code {process.poll()}") from none
    finally:
        asker.GREETS = before
