"""A role's process as the supervisor sees it: started, started again when it died, heard, ended; and the keeper, which rests."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firsthand.history import place
from firsthand.host.ending import RESTS

#: What died is started again at once; what dies again within WELL seconds after AGAIN, doubled each time, at most AGAIN_MOST.
AGAIN, AGAIN_MOST, WELL = 0.1, 30.0, 10.0
#: A keeper that rests is started again when the logs have grown by so many bytes, or after so many seconds.
ENOUGH, LONGEST = 4 << 20, 900.0


class Child:
    """One role's process, started again when it died: `begin` starts it. Each death prints a message; the same message is not repeated.

    `patience`: seconds that a process has to end before it is killed; None: no limit, because it has work to finish.
    """

    def __init__(
        self,
        role: str,
        begin: Callable[[], subprocess.Popen[bytes]],
        most: float = AGAIN_MOST,
        patience: float | None = None,
    ) -> None:
        self.role, self._patience = role, patience
        self._begin = begin
        self._most = most
        self._wait = 0.0
        self._due = 0.0
        self._said = ""
        self.start()

    @property
    def due(self) -> float:
        """When it is to be started again, in monotonic seconds; 0: it is not known to have died."""
        return self._due

    def start(self) -> None:
        """Start it now."""
        self.process = self._begin()
        self._began, self._due = time.monotonic(), 0.0

    def dead(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def watch(self) -> bool:
        """Say that it died, and start it again when that is due; True where it was started."""
        now = time.monotonic()
        if not self.dead():
            return False
        if not self._due:
            self._wait = 0.0 if now - self._began > WELL else self._wait
            self._due = now + self._wait
            self._say(f"the {self.role} {self._end()}; started again {f'in {self._wait:g} s' if self._wait else 'now'}")
            self._wait = min(2 * self._wait or AGAIN, self._most)
        if now < self._due:
            return False
        self.start()
        return True

    def _say(self, line: str) -> None:
        if line != self._said or not self._wait:
            print(f"firsthand: {line}", file=sys.stderr, flush=True)
        self._said = line

    def _end(self) -> str:
        code = self.process.returncode
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended by itself (exit code {code})"

    def end(self, word: bytes = b"") -> None:
        """Tell it to end, by a word, or by the end of its input and wait for it: no signal, which would take CAP_KILL."""
        assert self.process.stdin is not None
        if word:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(word)
        else:
            self.process.stdin.close()
            try:
                self.process.wait(self._patience)
            except subprocess.TimeoutExpired:  # it hangs, or was stopped
                self.process.kill()
                self.process.wait()


class Keeping(Child):
    """The keeper's process, which ends by itself while little happens, with its memory: then it rests, and is no death."""

    def __init__(self, directory: Path, begin: Callable[[], subprocess.Popen[bytes]], most: float = AGAIN_MOST) -> None:
        self._directory = directory
        self._size = self._since = 0.0
        super().__init__("keeper", begin, most)

    def start(self) -> None:
        """Start it now."""
        self._since = 0.0
        super().start()

    @property
    def rests(self) -> bool:
        """Whether it has ended because it had nothing to do."""
        return self.dead() and self.process.returncode == RESTS

    def watch(self) -> bool:
        """As a child's; one that rests is started again when that is due."""
        if not self.rests:
            return super().watch()
        if not self._since:
            self._size, self._since = _logs(self._directory), time.monotonic()
        if _logs(self._directory) - self._size < ENOUGH and time.monotonic() - self._since < LONGEST:
            return False
        self.start()
        return True

    def end(self, word: bytes = b"") -> None:
        """Tell it to end, once it has handed over all that there is."""
        if self.rests:
            self.start()
        super().end(word)


class OnDemand:
    """A role's process that somebody who connects to `listening` has started: `begin` starts it. It ends by itself where nobody asks."""

    def __init__(self, listening: socket.socket, begin: Callable[[], Child]) -> None:
        self.listening, self._begin = listening, begin
        self._child: Child | None = None

    @property
    def due(self) -> float:
        """As a child's."""
        return self._child.due if self._child is not None else 0.0

    @property
    def wakes(self) -> list[int]:
        """What is readable when it is to be started."""
        return [self.listening.fileno()] if self._child is None else []

    def watch(self) -> None:
        """Start it where somebody waits; and again, as any other, where it died."""
        if self._child is not None and self._child.dead() and self._child.process.returncode == RESTS:
            self._child.end()
            self._child = None
        if self._child is not None:
            self._child.watch()
        elif select.select([self.listening], [], [], 0)[0]:
            self._child = self._begin()

    def end(self) -> None:
        """Have it end."""
        if self._child is not None:
            self._child.end()
            self._child = None


def _logs(directory: Path) -> int:
    """Bytes of both logs' files."""
    found = 0
    for folder in (place.LOG, place.NAMES):
        with contextlib.suppress(OSError):  # a file that has just gone
            found += sum(entry.stat().st_size for entry in os.scandir(directory / folder))
    return found


class Lines:
    """JSON lines of loader and observer, through one pipe that is made anew with each start. `over`: their end was read."""

    def __init__(self) -> None:
        self.reader = self.writer = -1
        self.over = False
        self._rest = b""

    def begin(self) -> None:
        """A new pipe; what the old one still holds is dropped with the process that wrote it."""
        if self.reader >= 0:
            os.close(self.reader)
        self.reader, self.writer = os.pipe()
        self.over, self._rest = False, b""

    def writer_gone(self) -> None:
        """The children have it now."""
        os.close(self.writer)

    @property
    def waiting(self) -> bool:
        """Whether there is something to read before the end."""
        return bool(select.select([self.reader], [], [], 0)[0]) and self._fill()

    def _fill(self) -> bool:
        found = os.read(self.reader, 1 << 16)
        self._rest += found
        self.over |= not found
        return bool(found)

    def read(self, timeout: float) -> list[dict[str, Any]]:
        """The whole lines that are there within `timeout` seconds."""
        if select.select([self.reader], [], [], timeout)[0] and not self._fill() and timeout:
            time.sleep(timeout)  # its end: nothing more comes, and asking again at once would spin
        *whole, self._rest = self._rest.split(b"\n")
        return [json.loads(line) for line in whole]
