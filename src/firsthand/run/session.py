"""The supervisor behind `firsthand run`: loader, observer, dissector, follower and keeper, started, watched and ended in order.

The loader brings programs into the kernel and ends; the observer drains rings and writes the log; the dissector reads packets for it;
the follower asks the runtimes
for names; the keeper turns both into segments. All end when their standard input is closed, so that none outlives a parent that
was killed. What dies is said and started again, sooner at first and later when it dies again; what is attached in the kernel goes
on meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from firsthand.confine import wall
from firsthand.confine.roles import ROLES
from firsthand.content.checker import CheckerOptions
from firsthand.errors import BusyError, FirsthandError, HistoryError, NotSupportedError, ProbeError, UsageError
from firsthand.history import place
from firsthand.history.log import alive
from firsthand.history.log.alive import Sign, beside
from firsthand.history.store import chain
from firsthand.host import machine
from firsthand.observe.options import FollowerOptions, ObserverOptions, encode
from firsthand.probe import load, pins, rounds
from firsthand.reader import listening
from firsthand.run.child import Child, Keeping, Lines, OnDemand
from firsthand.run.progress import Progress
from firsthand.run.readiness import notify
from firsthand.settings import Settings
from firsthand.settings.sections.integrity import Integrity
from firsthand.settings.sections.reader import ReaderSettings
from firsthand.settings.sections.retention import Limits
from firsthand.settings.sections.top import Top

#: Seconds between two looks at processes that are waited for; and what the service manager hears meanwhile: another 90 s (sd_notify(3)).
LOOK = 1.0
_LONGER = "EXTEND_TIMEOUT_USEC=90000000\nWATCHDOG=1"
#: Seconds for a dissector to end that was told to: it has nothing to finish.
ENDS = 2.0
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
    """What the processes are given: the follower's None where no runtime is asked, the checker's where nothing is to be checked,
    `settings` those in force."""

    options: ObserverOptions
    following: FollowerOptions | None = None
    settings: Settings = field(default_factory=Settings)
    checking: CheckerOptions | None = None

    @property
    def heads(self) -> str:
        """The settings' file of heads; empty: none."""
        return self.settings[Integrity].heads

    @property
    def again_most(self) -> float:
        """Seconds until a process that dies again and again is started again, at most."""
        return self.settings[Top].restart_most_seconds

    @property
    def reader_idle(self) -> int:
        """Seconds without a question after which the reader ends; 0: there is none."""
        return self.settings[ReaderSettings].idle


class Session:
    """`start`, `wait_ready`, then `turn` now and then, then `stop`. FirsthandError where observing cannot begin."""

    def __init__(self, plan: Plan, *, keep_attached: bool = False) -> None:
        self.plan = plan
        self.options = plan.options
        self.keep_attached = keep_attached
        self.summary = Summary()
        self._children: dict[str, Child] = {}
        self._reader: OnDemand | None = None
        self._lines = Lines()
        self._control: socket.socket | None = None
        self._line = 0
        self._checks: socket.socket | None = None
        self._lock = -1
        self._round = 0.0
        self._tokens: deque[str] = deque(maxlen=rounds.MOST_ROUNDS)
        self._loaders: list[subprocess.Popen[bytes]] = []
        self._reading = self._observed = False
        self._failed = ""
        self._signed: dict[str, Any] = {}
        self._looked = 0.0
        self._began = time.monotonic()

    def start(self) -> None:
        """Start the processes, in sessions of their own: Ctrl-C reaches only the parent, which ends them in order."""
        load.check_machine()
        history = Path(self.options.history)
        try:
            self._occupy(history)
        except OSError as error:
            raise place.unwritable(history, error) from error
        if self.plan.heads:
            wall.prepare_file(self._heads(), "keeper", history)
        if not machine.first("uts") and machine.NODE not in os.environ:
            told = (
                f"rows name this machine {machine.node()}, a container's host name: set {machine.NODE} to the machine's"
            )
            self.summary.notes.append(told)
        self._prepare_canary()
        self._children["observer"] = Child("observer", self._observer, self.plan.again_most)
        if self.options.network.packets:
            self._children["dissector"] = self._of_dissector()
        self._children["keeper"] = Keeping(history, self._keeper, self.plan.again_most)
        if self.plan.following is not None:
            self._children["follower"] = Child("follower", self._follower, self.plan.again_most)
        if self.plan.checking is not None:
            self._children["checker"] = self._of_checker()
        self._have_reader()
        self._give_sign()

    def _occupy(self, history: Path) -> None:
        """Make it where it is not, and be the one that records into it. OSError where its disk takes nothing."""
        place.create(history)
        wall.prepare(history)
        self._lock = place.lock(history / wall.LOCK, "supervisor")
        self._sign = Sign(history / wall.LOCK, "supervisor")
        self._sign.give()
        os.chown(beside(history / wall.LOCK), -1, wall.identity("keeper", history).readers)

    def _prepare_canary(self) -> None:
        if not self.options.top.canary_seconds:
            self.summary.notes.append("no canaries: canary_seconds is 0")
            return
        try:
            folder = rounds.make(self.options.load_options().hierarchy, self.options.top.instance)
        except OSError as error:
            self.summary.notes.append(f"no canaries: {error.filename} cannot be made ({error.strerror})")
            return
        self.options = replace(self.options, canary=str(folder))

    def _observer(self) -> subprocess.Popen[bytes]:
        """The loader and the observer, joined by a socket that only they have; to another one we send the dissectors' lines."""
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control, checks = self._new_control(), self._new_checks()
        options = encode(replace(self.options, history="."))
        self._lines.begin()
        self._reading = False
        with mine, its, control, checks:
            told = [its, control, checks]
            numbers = [str(one.fileno()) for one in told]
            observer = self._spawn("observer", options, *numbers, sockets=told, speaks=True)
            loader = self._spawn("loader", options, str(mine.fileno()), sockets=[mine], speaks=True)
        self._lines.writer_gone()
        self._new_line()
        self._new_checker()
        assert observer.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died already, and is seen to
            observer.stdin.write(f"canaries {' '.join(self._tokens)}\n".encode())
        self._loaders = [one for one in (*self._loaders, loader) if one.poll() is None]
        return observer

    def _new_control(self) -> socket.socket:
        """The observer's end of a socket that descriptors are sent through; ours replaces the one before."""
        if self._control is not None:
            self._control.close()
        self._control, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        return its

    def _new_checks(self) -> socket.socket:
        """The observer's end of a socket for the checker's reports; ours, which each checker is given, replaces the one before."""
        if self._checks is not None:
            self._checks.close()
        self._checks, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return its

    def _new_checker(self) -> None:
        """Have the checker that runs begin anew, for a new observer; none where the settings leave nothing to check."""
        checker = self._children.get("checker")
        if checker is not None:
            checker.end()
            if self.plan.checking is not None:
                checker.start()
            else:
                del self._children["checker"]
        elif self.plan.checking is not None and self._observed:
            self._children["checker"] = self._of_checker()

    def _of_checker(self) -> Child:
        return Child("checker", self._checker, self.plan.again_most, ENDS)

    def _checker(self) -> subprocess.Popen[bytes]:
        """The checker, with the socket to the observer that there is."""
        assert self._checks is not None and self.plan.checking is not None
        return self._spawn("checker", self.plan.checking.encode(), str(self._checks.fileno()), sockets=[self._checks])

    def _new_line(self) -> None:
        """Have the dissector that runs begin anew, for a new observer; none where its settings leave nothing to read."""
        dissector = self._children.get("dissector")
        if dissector is not None:
            dissector.end()
            if self.options.network.packets:
                dissector.start()
            else:
                del self._children["dissector"]
        elif self.options.network.packets and self._observed:  # the settings wanted none before
            self._children["dissector"] = self._of_dissector()

    def _of_dissector(self) -> Child:
        return Child("dissector", self._dissector, self.plan.again_most, ENDS)

    def _dissector(self) -> subprocess.Popen[bytes]:
        """The dissector, joined to the observer that there is by a socket that only they have."""
        assert self._control is not None
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        network = self.options.network
        options = json.dumps({"resolvers": network.resolvers, "keep_query": network.keep_query})
        self._line += 1
        with mine, its:
            process = self._spawn("dissector", options, str(its.fileno()), sockets=[its])
            with contextlib.suppress(OSError):  # the observer has died: the next one has another line
                socket.send_fds(self._control, [str(self._line).encode()], [mine.fileno()])
        return process

    def _heads(self) -> Path:
        """This history's own file of heads: two histories with the same settings share none."""
        history = Path(self.options.history)
        return chain.file_of(Path(self.plan.heads), place.identity(history, make=os.geteuid() != 0))

    def _keeper(self) -> subprocess.Popen[bytes]:
        told = ["--heads", str(self._heads())] if self.plan.heads else []
        told += ["--limits", msgspec.json.encode(self.plan.settings[Limits]).decode()]
        told += ["--scrub-days", str(self.plan.settings[Integrity].scrub_days), "--rests"]
        return self._spawn("keeper", "--history", ".", *told)

    def _follower(self) -> subprocess.Popen[bytes]:
        assert self.plan.following is not None
        options = encode(replace(self.plan.following, history="."))
        return self._spawn("follower", options)

    def _have_reader(self) -> None:
        """A socket for those who ask, by the settings: the first of them has the reader started."""
        if self._reader is not None:
            self._reader.end()
            listening.remove(self._reader.listening)
            self._reader = None
        if self.plan.reader_idle:
            try:
                found = listening.listen(Path(self.options.history))
            except OSError as error:
                self.summary.notes.append(
                    f"no reader: its socket cannot be made ({error}); questions are answered without"
                )
                return
            self._reader = OnDemand(
                found, lambda: Child("reader", lambda: self._of_reader(found), self.plan.again_most, ENDS)
            )

    def _of_reader(self, found: socket.socket) -> subprocess.Popen[bytes]:
        told = [self.options.history, str(self.plan.reader_idle), str(found.fileno())]
        return self._spawn("reader", *told, sockets=[found])

    def _spawn(
        self,
        role: str,
        *arguments: str,
        sockets: Sequence[socket.socket] = (),
        speaks: bool = False,
    ) -> subprocess.Popen[bytes]:
        """A role's process; one that `speaks` is heard by `Lines`."""
        module, allocator = ROLES[role].module, ROLES[role].allocator
        command = [sys.executable, "-P", "-m", "firsthand.confine.wall", role, self.options.history, module, *arguments]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=self._lines.writer if speaks else None,
            pass_fds=[one.fileno() for one in sockets],
            bufsize=0,
            start_new_session=True,
            env={**allocator, **os.environ},
        )

    def wait_ready(self) -> str:
        """Empty once events are being recorded; else why that is waited for no longer. What gets on is waited for (progress.py)."""
        progress = Progress()
        while not progress.stuck:
            lines = self._lines.read(0.05)
            for line in lines:
                self._take(line)
                if line["event"] == "ready":
                    self._began = time.monotonic()
                    return ""
            if self._children["observer"].dead() and not self._lines.waiting:
                return "the observer ended"
            self._look(progress, heard=bool(lines))
        return progress.stuck

    def _look(self, progress: Progress, *, heard: bool) -> None:
        """At what is being waited for, and say to the service manager that it is not to give up before."""
        now = time.monotonic()
        if heard or now - self._looked >= LOOK:
            self._looked = now
            running = [self._children["observer"].process, *self._loaders]
            progress.look([one.pid for one in running if one.poll() is None], heard=heard)
            notify(_LONGER)

    def turn(self) -> None:
        """What a supervisor does now and then: hear the observer, start what died, send a canary."""
        for line in self._lines.read(0):
            with contextlib.suppress(FirsthandError):  # it ends, and is started again
                self._take(line, again=True)
        for child in self._children.values():
            child.watch()
        if self._reader is not None:
            self._reader.watch()
        self._loaders = [
            one for one in self._loaders if one.poll() is None
        ]  # one that ended is a zombie until it is asked
        self._give_sign()
        if self._reading and time.monotonic() - self._round >= self.options.top.canary_seconds:
            self._canary()

    def rest(self, timeout: float, others: Sequence[int] = ()) -> None:
        """Until the observer says something, one of the other descriptors is readable, something is due by the clock, or so many seconds
        have passed. Who waits must be woken by the death of a child, by SIGCHLD."""
        now = time.monotonic()
        due = [now + timeout, now + alive.EVERY, *(child.due for child in self._children.values() if child.due)]
        if self._reading and self.options.canary:
            due.append(self._round + self.options.top.canary_seconds)
        heard = [] if self._lines.over else [self._lines.reader]
        if self._reader is not None:
            heard += self._reader.wakes
            due += [self._reader.due] if self._reader.due else []
        select.select([*heard, *others], [], [], max(0.0, min(due) - now))

    def _give_sign(self) -> None:
        """It got on; and whether the keeper rests, and who dissector and checker are, which cannot say it themselves."""
        keeper = self._children.get("keeper")
        told: dict[str, Any] = {}
        if isinstance(keeper, Keeping) and keeper.rests:
            told["rests"] = "keeper"
        for role in ("dissector", "checker"):
            child = self._children.get(role)
            if child is not None and not child.dead():
                with contextlib.suppress(OSError):  # it ends just now
                    told[role] = [child.process.pid, alive.state(child.process.pid)[1]]
        if told != self._signed:
            self._signed = told
            self._sign.due()
        self._sign.give(**told)

    def apply(self, plan: Plan) -> list[str]:
        """Settings have changed: start anew, without a loss, the roles that they concern, and return these.

        The history, the instance and the scope stay as they were.
        """
        old, self.plan = self.plan, plan
        changed = []
        if replace(plan.options, canary=old.options.canary) != old.options:
            self.options = replace(plan.options, canary=self.options.canary)
            changed.append("observer")
        if plan.settings.of("keeper") != old.settings.of("keeper"):
            changed.append("keeper")
        if plan.following != old.following:
            changed.append("follower")
        if plan.checking != old.checking:
            changed.append("checker")
        for role in changed:
            self._anew(role)
        if plan.reader_idle != old.reader_idle:
            self._have_reader()
            changed.append("reader")
        return changed

    def _anew(self, role: str) -> None:
        child = self._children.get(role)
        if role == "checker":
            self._new_checker()
        elif role == "follower" and self.plan.following is None:
            if child is not None:
                child.end()
                del self._children[role]
        elif child is None:
            self._children[role] = Child(role, self._follower, self.plan.again_most)
        elif role == "observer":
            child.end(b"keep\n")
            child.process.wait()
            child.start()
            if why := self.wait_ready():  # where it has ended it is started again, as any that dies
                print(f"firsthand: the observer does not get ready again: {why}", file=sys.stderr, flush=True)
        else:
            child.end()
            child.start()

    def _canary(self) -> None:
        self._round = time.monotonic()
        if not self.options.canary:
            return
        token, observer = rounds.new_token(), self._children["observer"].process
        self._tokens.append(token)
        assert observer.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            observer.stdin.write(f"canary {token}\n".encode())
        try:
            rounds.cause(Path(self.options.canary), token)
        except OSError as error:
            print(f"firsthand: no canary could be sent: {error}", file=sys.stderr, flush=True)
        with contextlib.suppress(BrokenPipeError):
            observer.stdin.write(f"caused {token}\n".encode())

    def stop(self) -> Summary:
        """Drain, detach, unpin; hand everything over; return what it came to. With `keep_attached` the kernel side goes on."""
        observer = self._children.get("observer")
        if self._reader is not None:
            self._reader.end()
            listening.remove(self._reader.listening)
            self._reader = None
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
                pins.unpin(pins.folder_of(self.options.top.instance), "link_")
        observer.end(b"keep\n" if self.keep_attached else b"stop\n")
        progress = Progress()
        while not (observer.dead() and not self._lines.waiting) and not progress.stuck:
            lines = self._lines.read(0.05)
            for line in lines:
                self._take(line)
            if (dissector := self._children.get("dissector")) is not None:
                dissector.watch()  # what one left unread waits for the next
            self._look(progress, heard=bool(lines))

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
                _, lock = pins.claim(self.options.top.instance)
                pins.remove(self.options.top.instance)
                os.close(lock)
        for one in (self._control, self._checks):
            if one is not None:
                one.close()
        if self._lock >= 0:
            self._sign.end()
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
        if event == "unanswered":
            print(f"firsthand: {line['error']}", file=sys.stderr, flush=True)
            if line["line"] == str(self._line) and "dissector" in self._children:
                self._children["dissector"].process.kill()
        elif event == "blocked":
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
