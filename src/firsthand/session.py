"""The supervisor behind `firsthand run`: loader, observer, follower and keeper, started, watched and ended in order.

The loader brings programs into the kernel and ends; the observer drains rings and writes the log; the follower asks the runtimes
for names; the keeper turns both into segments. All end when their standard input is closed, so that none outlives a parent that
was killed. What dies is said and started again, sooner at first and later when it dies again; what is attached in the kernel goes
on meanwhile.
"""

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
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from firsthand import canary, machine, wall
from firsthand.errors import BusyError, FirsthandError, HistoryError, NotSupportedError, ProbeError, UsageError
from firsthand.following import FollowerOptions
from firsthand.history import place
from firsthand.options import ObserverOptions
from firsthand.probe import load, pins
from firsthand.settings import Limits

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
#: What died is started again at once; what dies again within WELL seconds after AGAIN, doubled each time, at most AGAIN_MOST.
AGAIN, AGAIN_MOST, WELL = 0.1, 30.0, 10.0
_BY_NAME = {kind.__name__: kind for kind in (BusyError, HistoryError, NotSupportedError, ProbeError, UsageError)}


@dataclass
class Summary:
    """What a session came to. `missing` maps hooks that this kernel refused to the reason."""

    seconds: float = 0.0
    recorded: int = 0
    lost: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """What the processes are told: the follower's None where no runtime is asked, `heads` empty for none."""

    options: ObserverOptions
    following: FollowerOptions | None = None
    limits: Limits | None = None
    heads: str = ""
    again_most: float = AGAIN_MOST


class Child:
    """One role's process, started again when it died: `begin` starts it. Each death is said, and what is the same again is not."""

    def __init__(self, role: str, begin: Callable[[], subprocess.Popen[bytes]], most: float = AGAIN_MOST) -> None:
        self.role = role
        self._begin = begin
        self._most = most
        self._wait = 0.0
        self._due = 0.0
        self._said = ""
        self.start()

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
            self.process.wait()


class Session:
    """`start`, `wait_ready`, then `turn` now and then, then `stop`. FirsthandError where observing cannot begin."""

    def __init__(self, plan: Plan, *, keep_attached: bool = False) -> None:
        self.plan = plan
        self.options = plan.options
        self.keep_attached = keep_attached
        self.summary = Summary()
        self._children: dict[str, Child] = {}
        self._lines = Lines()
        self._lock = -1
        self._round = 0.0
        self._tokens: deque[str] = deque(maxlen=canary.MOST_ROUNDS)
        self._loaders: list[subprocess.Popen[bytes]] = []
        self._reading = self._observed = False
        self._failed = ""
        self._began = time.monotonic()

    def start(self) -> None:
        """Start the processes, in sessions of their own: Ctrl-C reaches only the parent, which ends them in order."""
        load.check_machine()
        history = Path(self.options.history)
        place.create(history)
        wall.prepare(history)
        try:
            self._lock = place.lock(history / wall.LOCK, "supervisor")
        except OSError as error:
            raise place.unwritable(history, error) from error
        os.fchown(self._lock, -1, wall.identity("keeper", history).readers)
        if self.plan.heads:
            wall.prepare_file(Path(self.plan.heads), "keeper", history)
        if not machine.first("uts") and machine.NODE not in os.environ:
            told = (
                f"rows name this machine {machine.node()}, a container's host name: set {machine.NODE} to the machine's"
            )
            self.summary.notes.append(told)
        self._prepare_canary()
        self._children["observer"] = Child("observer", self._observer, self.plan.again_most)
        self._children["keeper"] = Child("keeper", self._keeper, self.plan.again_most)
        if self.plan.following is not None:
            self._children["follower"] = Child("follower", self._follower, self.plan.again_most)

    def _prepare_canary(self) -> None:
        if not self.options.canary_every:
            self.summary.notes.append("no canaries: canary_seconds is 0")
            return
        try:
            folder = canary.make(self.options.load_options().hierarchy, self.options.instance)
        except OSError as error:
            self.summary.notes.append(f"no canaries: {error.filename} cannot be made ({error.strerror})")
            return
        self.options = replace(self.options, canary=str(folder))

    def _observer(self) -> subprocess.Popen[bytes]:
        """The loader and the observer, joined by a socket that only they have."""
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        options = json.dumps(asdict(replace(self.options, history=".")))
        self._lines.begin()
        self._reading = False
        with mine, its:
            observer = self._spawn("observer", "firsthand.pipeline", options, str(its.fileno()), socket=its)
            loader = self._spawn("loader", "firsthand.loading", options, str(mine.fileno()), socket=mine)
        self._lines.writer_gone()
        assert observer.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died already, and is seen to
            observer.stdin.write(f"canaries {' '.join(self._tokens)}\n".encode())
        self._loaders = [one for one in (*self._loaders, loader) if one.poll() is None]
        return observer

    def _keeper(self) -> subprocess.Popen[bytes]:
        told = ["--heads", self.plan.heads] if self.plan.heads else []
        told += ["--limits", self.plan.limits.text] if self.plan.limits else []
        return self._spawn("keeper", "firsthand.history.keeper", "--history", ".", *told)

    def _follower(self) -> subprocess.Popen[bytes]:
        assert self.plan.following is not None
        options = json.dumps(asdict(replace(self.plan.following, history=".")))
        return self._spawn("follower", "firsthand.following", options, allocator=_SMALL)

    def _spawn(
        self,
        role: str,
        module: str,
        *arguments: str,
        socket: socket.socket | None = None,
        allocator: Mapping[str, str] = ALLOCATOR,
    ) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", "firsthand.wall", role, self.options.history, module, *arguments]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=self._lines.writer if socket else None,
            pass_fds=[socket.fileno()] if socket else [],
            bufsize=0,
            start_new_session=True,
            env={**allocator, **os.environ},
        )

    def wait_ready(self, timeout: float = 60.0) -> bool:
        """True once events are being recorded, False after `timeout` seconds or where the observer died."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            for line in self._lines.read(0.05):
                self._take(line)
                if line["event"] == "ready":
                    self._began = time.monotonic()
                    return True
            if self._children["observer"].dead() and not self._lines.waiting:
                return False
        return False

    def turn(self) -> None:
        """What a supervisor does now and then: hear the observer, start what died, send a canary."""
        for line in self._lines.read(0):
            with contextlib.suppress(FirsthandError):  # it ends, and is started again
                self._take(line, again=True)
        for child in self._children.values():
            child.watch()
        if self._reading and time.monotonic() - self._round >= self.options.canary_every:
            self._canary()

    def apply(self, plan: Plan) -> list[str]:
        """Settings have changed: start anew, without a loss, the roles that they concern, and return these.

        The history, the instance and the scope stay as they were.
        """
        old, self.plan = self.plan, plan
        changed = []
        if replace(plan.options, canary=old.options.canary) != old.options:
            self.options = replace(plan.options, canary=self.options.canary)
            changed.append("observer")
        if (plan.limits, plan.heads) != (old.limits, old.heads):
            changed.append("keeper")
        if plan.following != old.following:
            changed.append("follower")
        for role in changed:
            self._anew(role)
        return changed

    def _anew(self, role: str) -> None:
        child = self._children.get(role)
        if role == "follower" and self.plan.following is None:
            if child is not None:
                child.end()
                del self._children[role]
        elif child is None:
            self._children[role] = Child(role, self._follower, self.plan.again_most)
        elif role == "observer":
            child.end(b"keep\n")
            child.process.wait()
            child.start()
            self.wait_ready()
        else:
            child.end()
            child.start()

    def _canary(self) -> None:
        self._round = time.monotonic()
        if not self.options.canary:
            return
        token, observer = canary.new_token(), self._children["observer"].process
        self._tokens.append(token)
        assert observer.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            observer.stdin.write(f"canary {token}\n".encode())
        try:
            canary.cause(Path(self.options.canary), token)
        except OSError as error:
            print(f"firsthand: no canary could be sent: {error}", file=sys.stderr, flush=True)

    def stop(self) -> Summary:
        """Drain, detach, unpin; hand everything over; return what it came to. With `keep_attached` the kernel side goes on."""
        observer = self._children.get("observer")
        if observer is not None and self._observed:
            if observer.dead():
                observer.start()
            if not self._reading:  # it died a moment ago: what the rings hold is to be taken in first
                self.wait_ready()
            self._end_observer(observer)
        for child in self._children.values():
            if child.process.stdin is not None and not child.process.stdin.closed:
                child.end()
        self._clean(observer)
        self.summary.seconds = time.monotonic() - self._began
        return self.summary

    def _end_observer(self, observer: Child) -> None:
        if not self.keep_attached:
            with contextlib.suppress(FileNotFoundError):
                pins.unpin(pins.folder_of(self.options.instance), "link_")
        observer.end(b"keep\n" if self.keep_attached else b"stop\n")
        until = time.monotonic() + 60.0
        while not (observer.dead() and not self._lines.waiting) and time.monotonic() < until:
            for line in self._lines.read(0.05):
                self._take(line)

    def _clean(self, observer: Child | None) -> None:
        """Nothing stays behind, but where it is asked for or where the rings hold what could not be written."""
        for loader in self._loaders:
            loader.wait()
        if self.options.canary:
            with contextlib.suppress(OSError):
                Path(self.options.canary).rmdir()
        orderly = observer is not None and (observer.process.returncode == 0 or not self._observed)
        if orderly and not self.keep_attached:
            with contextlib.suppress(FirsthandError, OSError):
                _, lock = pins.claim(self.options.instance)
                pins.remove(self.options.instance)
                os.close(lock)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take(self, line: dict[str, Any], *, again: bool = False) -> None:
        event = line["event"]
        if event == "failed":
            if again:
                if line["error"] != self._failed:
                    print(f"firsthand: {line['error']}", file=sys.stderr, flush=True)
                self._failed = line["error"]
                return
            raise _BY_NAME.get(line["kind"], FirsthandError)(line["error"])
        if event == "blocked":
            print(f"firsthand: {line['error']}", file=sys.stderr, flush=True)
        elif event == "unblocked":
            print(f"firsthand: the history is written again, after {line['seconds']} s", file=sys.stderr, flush=True)
        else:
            self.summary.recorded, self.summary.lost = line["recorded"], line["lost"]
            self.summary.missing = line["missing"]
            self.summary.notes = list(dict.fromkeys([*self.summary.notes, *line["notes"]]))
        if event == "ready" and self._failed:
            self._failed = ""
            print("firsthand: the observer is well again", file=sys.stderr, flush=True)
        if event == "reading":
            self._reading = self._observed = True
            self._canary()


class Lines:
    """JSON lines of loader and observer, through one pipe that is made anew with each start."""

    def __init__(self) -> None:
        self.reader = self.writer = -1
        self._rest = b""

    def begin(self) -> None:
        """A new pipe; what the old one still holds is dropped with the process that wrote it."""
        if self.reader >= 0:
            os.close(self.reader)
        self.reader, self.writer = os.pipe()
        self._rest = b""

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
        return bool(found)

    def read(self, timeout: float) -> list[dict[str, Any]]:
        """The whole lines that are there within `timeout` seconds."""
        if select.select([self.reader], [], [], timeout)[0] and not self._fill() and timeout:
            time.sleep(timeout)  # its end: nothing more comes, and asking again at once would spin
        *whole, self._rest = self._rest.split(b"\n")
        return [json.loads(line) for line in whole]
