"""The reader's own process. It accepts connections and forks a worker for each question. It kills a worker whose client has closed the
socket. It ends after a time without questions.

It never blocks on a client: the forked worker reads what the client sends. It has one thread, because a fork copies only one.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from firsthand.history.log.alive import Sign
from firsthand.history.store import effort
from firsthand.reader import caller, messages, place, worker
from firsthand.reader.frames import Frames

#: Questions that the reader answers at the same time. It refuses one more, and that client reads the history itself.
MOST = 8
_SET_PDEATHSIG = 1
#: The client closed its socket, or its direction of it.
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR


class Reader:
    """Serves one history until `idle` seconds pass without a question. The history is the working directory, and is also at `directory`."""

    def __init__(self, listening: socket.socket, directory: Path, idle: float) -> None:
        self._listening, self._directory, self._idle = listening, directory, idle
        self._listening.setblocking(False)
        self._build, self._history = place.build(), place.history(".")
        self._workers: dict[int, socket.socket] = {}
        self._asked = time.monotonic()
        self._sign = Sign(Path(listening.getsockname()), "reader")

    def serve(self, stops: Sequence[int]) -> bool:
        """Serves until one of `stops` is readable. Returns True if it ended before that: it was idle, or its history was removed."""
        gc.collect()
        gc.freeze()  # a worker that collects garbage does not touch, and so copy, what is the parent's
        woken, self._wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._own = [woken, self._wakes, *stops]
        self._sign.give()
        try:
            while not self._over():
                ready = self._wait([woken, *stops])
                if ready & set(stops):
                    return False
                if woken in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(woken, 4096)
                self._turn(ready)
            return True
        finally:
            self._sign.end()
            self._end()

    def _over(self) -> bool:
        """Whether the reader is idle, or its history or version was replaced."""
        if self._workers:
            return False
        return time.monotonic() - self._asked >= self._idle or not self._same()

    def _same(self) -> bool:
        """Whether history and installation are still the same, at the same place."""
        with contextlib.suppress(OSError):
            return place.history(self._directory) == self._history and place.build() == self._build
        return False

    def _wait(self, others: Sequence[int]) -> set[int]:
        """Returns the descriptors that are ready; waits at most until the next time limit."""
        poller = select.poll()
        for descriptor in (self._listening.fileno(), *others):
            poller.register(descriptor, select.POLLIN)
        for peer in self._workers.values():
            poller.register(peer, _GONE)
        rest = None if self._workers else max(0.0, self._asked + self._idle - time.monotonic()) * 1000
        return {descriptor for descriptor, _ in poller.poll(rest)}

    def _turn(self, ready: set[int]) -> None:
        for pid, peer in self._workers.items():
            if peer.fileno() in ready:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._reap()
        if self._listening.fileno() in ready:
            with contextlib.suppress(OSError):  # the client has closed its socket
                self._accept(self._listening.accept()[0])

    def _reap(self) -> None:
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self._workers.pop(pid).close()
            effort.remove_left(effort.place())
            if status == 0:  # refused clients do not keep it alive: a reader of another version may be needed
                self._asked = time.monotonic()

    def _accept(self, peer: socket.socket) -> None:
        why = self._refusal(peer)
        if why:
            with peer, contextlib.suppress(OSError):
                Frames(peer, 0.0).send(messages.Refused(why))
            return
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self._workers[pid] = peer
        else:
            self._work(peer, parent)

    def _refusal(self, peer: socket.socket) -> str:
        if not self._same():
            return "its history or its version has gone"
        if not caller.may_read(peer, self._directory):
            return "it does not know whether you may read this history"
        return "it has too much to do" if len(self._workers) >= MOST else ""

    def _work(self, peer: socket.socket, parent: int) -> None:
        """The child's part. It does not return."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() == parent:
                self._alone()
                with contextlib.suppress(OSError, ValueError):  # the client has gone, or sent no message of ours
                    code = 0 if worker.serve(Frames(peer, worker.READ), self._build) else 1
        finally:
            os._exit(code)

    def _alone(self) -> None:
        """Closes all descriptors of the parent and of other workers: a socket is closed only when no process has it."""
        self._listening.close()
        for peer in self._workers.values():
            peer.close()
        for descriptor in self._own:
            os.close(descriptor)

    def _end(self) -> None:
        for pid, peer in self._workers.items():
            peer.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        effort.remove_left(effort.place())
