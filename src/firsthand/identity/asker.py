"""One runtime's thread: reaches it, hears it, asks it, and puts what it learns into a queue; a slow runtime holds up no other."""

from __future__ import annotations

import contextlib
import heapq
import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firsthand.errors import RuntimeGoneError
from firsthand.identity import runtimes
from firsthand.identity.runtimes.facts import Happened, Inspected, Listed, Runtime

#: Seconds between full lists, and between attempts to reach a runtime that is gone.
FULL, AGAIN = 10.0, 1.0
#: Seconds after which an id that its runtime does not know is asked for again; from then on the full list finds it.
RETRIES = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 2.0, 4.0)
#: Seconds after which a sandbox is asked for again that was not ready.
UNREADY = (0.06, 0.12, 0.25, 0.5, 1.0, 2.0)
#: Questions that wait for one runtime at most; what comes on top is left to the full list.
MOST_QUESTIONS = 16_384


@dataclass
class Reached:
    """A runtime answered: its version, and when it was last heard before (None: never)."""

    socket: str
    name: str
    version: str
    silent_since: float | None


@dataclass
class NoAnswer:
    """A runtime does not answer."""

    socket: str
    why: str


@dataclass
class RuntimeAnswer:
    """What one runtime said: of one id (`found` None: it knows none), or the whole list."""

    socket: str
    runtime: str
    id: str = ""
    found: Inspected | None = None
    listed: list[Listed] | None = None
    happened: Happened | None = None


class Asker(threading.Thread):
    """One runtime's thread: reaches it, lists it, asks it; what it learns goes to `out`."""

    def __init__(self, socket: str, out: queue.SimpleQueue[Any]) -> None:
        super().__init__(name=f"ask {socket}", daemon=True)
        self.socket = socket
        self.path = Path(runtimes.path_of(socket))
        self.out = out
        self._runtime: Runtime | None = None
        self.questions: queue.SimpleQueue[tuple[str, int] | None] = queue.SimpleQueue()
        self._later: list[tuple[float, int, str]] = []
        self._reached = False
        self._closed = ""
        self._turn, self._deaf = 0, -1
        self._heard: float | None = None
        self._next_full = 0.0

    def ask(self, identity: str, *, once: bool = False) -> None:
        """Ask for an id soon; `once`: not again where the runtime does not know it."""
        if self.questions.qsize() < MOST_QUESTIONS:
            self.questions.put((identity, len(RETRIES) if once else 0))

    def stop(self) -> None:
        """End after the call in flight."""
        self.questions.put(None)

    def run(self) -> None:
        """Until `stop`."""
        while True:
            if not self._reached:
                self._connect()
            question = self._next_question()
            if question is None:
                self._end()
                return
            try:
                if self._reached and self._deaf == self._turn:
                    raise RuntimeGoneError(f"{self.socket}: its stream of events broke")
                self._work(*question)
            except RuntimeGoneError as error:
                self._lost(str(error))

    def _end(self) -> None:
        """Ask once more for what was put off, and let go."""
        if self._runtime is None:
            return
        with contextlib.suppress(RuntimeGoneError):
            for _, _, identity in list(self._later) if self._reached else ():
                self._ask(self._runtime, identity, len(RETRIES))
        self._runtime.close()

    def may_know(self, runtime: str | None) -> bool:
        """Whether a container of that runtime, as its cgroup's path names it (None: it does not), may be this one's."""
        known = self._runtime.name if self._runtime is not None and self._reached else None
        return runtime is None or known in (None, "cri", runtime)

    def _connect(self) -> None:
        if not self._there():
            return
        if self._runtime is None:  # its library is loaded only where its socket is
            self._runtime = runtimes.of(self.socket)
        try:
            version = self._runtime.connect()
            self._turn += 1
            hear = (self._runtime, self._turn)
            threading.Thread(target=self._hear, args=hear, name=f"hear {self.socket}", daemon=True).start()
            listed = self._runtime.listed()  # after the events: what comes between the two is in both
        except RuntimeGoneError as error:
            self._lost(str(error))
            return
        self._reached, self._next_full = True, time.monotonic() + FULL
        self.out.put(Reached(self.socket, self._runtime.name, version, self._heard))
        self.out.put(RuntimeAnswer(self.socket, self._runtime.name, listed=listed))
        self._heard = time.time()

    def _there(self) -> bool:
        """Whether there is a socket. A folder that is closed to the follower is told once, and looked into again."""
        try:
            there = self.path.exists()
        except OSError as error:
            if self._closed != str(error):
                self._closed = str(error)
                self.out.put(
                    NoAnswer(
                        self.socket,
                        f"{self.socket}: {error.strerror}; its folder must be open to the user of the follower",
                    )
                )
            return False
        self._closed = ""
        return there

    def _hear(self, runtime: Runtime, turn: int) -> None:
        """Events; what they name is asked for at once, before its cgroup exists. A stream that breaks means a new connection:
        a runtime that was started again between two lists would never be heard any more."""
        try:
            for happened in runtime.events():
                if happened.what == "created":
                    self.ask(happened.id)  # at once: it may be gone in a moment
                self.out.put(RuntimeAnswer(self.socket, runtime.name, happened.id, happened=happened))
        except RuntimeGoneError:
            self._deaf = turn
            self.questions.put(("", 0))

    def _next_question(self) -> tuple[str, int] | None:
        """The next id and its attempt; "" where it is time for something else; None at the end."""
        now = time.monotonic()
        due = [self._next_full if self._reached else now + AGAIN]
        due += [self._later[0][0]] if self._later and self._reached else []
        try:
            return self.questions.get(timeout=max(0.0, min(due) - now))
        except queue.Empty:
            return "", 0

    def _work(self, identity: str, attempt: int) -> None:
        runtime = self._runtime
        if not self._reached or runtime is None:
            if identity:  # asked again when it is reached
                self._put_off(identity, attempt, AGAIN)
            return
        now = time.monotonic()
        if identity:
            self._ask(runtime, identity, attempt)
        while self._later and self._later[0][0] <= now:
            _, number, late = heapq.heappop(self._later)
            self._ask(runtime, late, number)
        if now >= self._next_full:
            listed = runtime.listed()
            self._heard = time.time()
            self._next_full = time.monotonic() + FULL
            self.out.put(RuntimeAnswer(self.socket, runtime.name, listed=listed))

    def _ask(self, runtime: Runtime, identity: str, attempt: int) -> None:
        try:
            found = runtime.inspect(identity)
        except RuntimeGoneError:
            self._put_off(identity, attempt, AGAIN)
            raise
        self._heard = time.time()
        if found is not None:
            self.out.put(RuntimeAnswer(self.socket, runtime.name, identity, found))
            if (
                found.pod is not None and not found.whole and attempt < len(UNREADY)
            ):  # a sandbox before it has its address
                self._put_off(identity, attempt + 1, UNREADY[attempt])
        elif attempt < len(RETRIES):
            self._put_off(identity, attempt + 1, RETRIES[attempt])

    def _put_off(self, identity: str, attempt: int, seconds: float) -> None:
        if len(self._later) < MOST_QUESTIONS:
            heapq.heappush(self._later, (time.monotonic() + seconds, attempt, identity))

    def _lost(self, why: str) -> None:
        if self._reached:
            self.out.put(NoAnswer(self.socket, why))
        self._reached = False
        if self._runtime is not None:
            self._runtime.close()
