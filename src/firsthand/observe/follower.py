"""The follower: asks container runtimes whose each cgroup is, and writes `container` and `pod` rows into a log of its own, and the
machine's own addresses.

A process without capabilities and outside the observer (`python -m firsthand.roles.follower '{"history": ...}'`): it reads the
observer's log as any reader does, so a runtime that answers slowly, wrongly or not at all costs names and no event. One thread
for each runtime asks, another hears its events; the main thread alone keeps what is known and writes it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from firsthand import __version__
from firsthand.errors import DamagedError, FirsthandError, HistoryError
from firsthand.history import place
from firsthand.history.keep.patience import Complaint
from firsthand.history.log.chunk import Chunk
from firsthand.history.log.growth import Growth
from firsthand.history.log.ipc import columns_of
from firsthand.history.log.log import LogCursor, LogWriter
from firsthand.history.names.telling import TELLING
from firsthand.host import boottime, machine
from firsthand.identity import machine as interfaces
from firsthand.identity.asker import AGAIN, MOST_QUESTIONS, Asker, NoAnswer, Reached, RuntimeAnswer
from firsthand.identity.book import Book
from firsthand.identity.claims import Claims, ClaimVerdict
from firsthand.identity.container import named_by_path, parse
from firsthand.identity.runtimes.facts import Happened
from firsthand.identity.users import Users, UsersReader
from firsthand.observe.options import FollowerOptions
from firsthand.wire.batch import Batch

#: Rows are gathered for so long before they are written: a commit costs as much as ten rows.
GATHER = 0.1
#: Seconds between two looks at the machine's own addresses.
ADDRESSES = 10.0
#: Seconds within which a runtime's list may lack a container that its events have told.
SETTLED = 5.0
_ONE_DAY = 86_400
_EPOCH = datetime(1970, 1, 1)


@dataclass
class WaitingRows:
    """Rows that wait to be written together, by table. A row of an id is whole, so the next one of that id stands for it."""

    tables: dict[str, dict[object, dict[str, object]]] = field(default_factory=dict)
    since: float = 0.0

    def add(self, table: str, row: dict[str, object]) -> None:
        """One more."""
        if not self.tables:
            self.since = time.monotonic()
        waiting = self.tables.setdefault(table, {})
        told = (row.get("container"), row.get("event") in TELLING or row.get("cgroup_path"))
        waiting[told if told[0] else len(waiting)] = row


class RuntimeMessages(queue.SimpleQueue[Any]):
    """What the runtimes' threads said. `bell` is readable from a message on until `quiet`."""

    def __init__(self) -> None:
        self.bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """One more."""
        super().put(item)
        os.eventfd_write(self.bell, 1)

    def quiet(self) -> None:
        """Before the messages are taken: one that comes meanwhile rings again."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.bell)


class Follower:
    """The main thread's part. `open`, `run` until told to stop, `close`."""

    def __init__(self, options: FollowerOptions) -> None:
        self.options = options
        self.node, self.boot = machine.node(), machine.boot()
        self.out = RuntimeMessages()
        self.askers = {socket: Asker(socket, self.out) for socket in options.sockets}
        self.book = Book(options.annotations)
        self.claims = Claims()
        self.users = UsersReader(self.out)
        self.rows = WaitingRows()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._places: OrderedDict[str, None] = OrderedDict()
        self._pending: OrderedDict[str, dict[str, dict[str, object]]] = OrderedDict()
        self._removed: OrderedDict[str, int] = OrderedDict()
        self._over: OrderedDict[str, int] = OrderedDict()
        self._day = 0
        self._addresses: dict[str, int] = {}
        self._addresses_due = 0.0
        self._complaint = Complaint("follower")

    def open(self) -> None:
        """Open the log, and start to ask. HistoryError where another follower writes."""
        history = Path(self.options.history)
        self.log = LogWriter(history, self.node, self.boot, folder=place.NAMES)
        self.cursor = LogCursor(history)
        self.growth = Growth(history / place.LOG)
        for asker in self.askers.values():
            asker.start()
        self.users.start()

    def run(self, stops: Sequence[int]) -> None:
        """Until one of the descriptors is readable."""
        while not set(stops) & set(self.growth.wait(self._rest(), [*stops, self.out.bell])):
            self.turn()

    def _rest(self) -> float:
        """Seconds until something is due that nobody tells: gathered rows, the machine's addresses."""
        now = time.monotonic()
        due = self.rows.since + GATHER if self.rows.tables else now + ADDRESSES
        return max(0.0, min(due, self._addresses_due) - now)

    def turn(self) -> None:
        """What the runtimes said meanwhile, and new cgroups of the log."""
        self.out.quiet()
        self.log.sign.give()
        with contextlib.suppress(queue.Empty):
            while True:
                self._take(self.out.get_nowait())
        self._read_log()
        self._own_addresses()
        self._each_day()
        if self.rows.tables and time.monotonic() - self.rows.since >= GATHER:
            self.write()

    def write(self) -> None:
        """Make the gathered rows durable. They are kept for the next time where that fails."""
        tables = self.rows.tables
        if not tables:
            return
        try:
            self.log.append([Batch.from_rows(table, list(rows.values())) for table, rows in tables.items()], [])
        except HistoryError as error:
            self._complaint.say(error)
            self.rows.since = time.monotonic() + AGAIN
            return
        self._complaint.well()
        self.rows = WaitingRows()

    def close(self) -> None:
        """Hear what is on its way, write it, and end."""
        self._read_log()
        for asker in self.askers.values():
            asker.stop()
        for asker in self.askers.values():
            asker.join(AGAIN)
        self.turn()
        self.write()
        self.cursor.close()
        self.growth.close()
        self.log.close()

    def _take(self, message: Any) -> None:
        if isinstance(message, Reached):
            self._reached(message)
        elif isinstance(message, Users):
            self._write(self.book.named_users(message))
        elif isinstance(message, NoAnswer):
            print(
                f"follower: the runtime is gone, its containers get no names until it is back: {message.why}",
                file=sys.stderr,
            )
            self._say({message.socket: {"state": "gone", "why": message.why}})
        elif message.listed is not None:
            self._listed(message)
        elif message.happened is not None:
            self._happened(message)
        else:
            self._found(message)

    def _reached(self, message: Reached) -> None:
        self._say({message.socket: {"state": "followed", "runtime": message.name, "version": message.version}})
        if message.silent_since is not None:
            until = time.time_ns() // 1000
            since = int(message.silent_since * 1_000_000)
            detail = f"{message.socket} did not answer: what began and ended meanwhile has no name"
            row = {
                "table_name": "pod",
                "cause": "runtime_gone",
                "events": 0,
                "since": since,
                "until": until,
                "detail": detail,
            }
            self._row("loss", row)

    def _listed(self, message: RuntimeAnswer) -> None:
        """A full list: what is new or has changed is asked for, what is missing has gone."""
        known = self.book.of(message.socket)
        here = {one.id for one in message.listed or ()}
        for one in message.listed or ():
            changed = one.id not in known or one.state not in ("unknown", known[one.id])
            if changed and (self._wanted(one.id) or not named_by_path(one.id)):
                self.askers[message.socket].ask(one.id)
        for identity in known.keys() - here:
            if self.book.age(identity) > SETTLED:
                self._write(self.book.gone(identity, time.time_ns() // 1000))

    def _happened(self, message: RuntimeAnswer) -> None:
        happened = message.happened
        assert happened is not None
        if happened.what == "removed":
            self._write(self.book.gone(happened.id, happened.time))
            self._removed[happened.id] = happened.time
            while len(self._removed) > MOST_QUESTIONS:
                self._removed.popitem(last=False)
        elif not self.book.knows(happened.id):
            if happened.what != "created":
                self.askers[message.socket].ask(happened.id)
        else:
            self._write(self.book.happened(happened))

    def _found(self, message: RuntimeAnswer) -> None:
        assert message.found is not None
        self._write(self.book.found(message.socket, message.runtime, message.found))
        if self.book.knows(message.id):
            self._judge(message.id)
        if (rooted := self.book.rooted(message.id)) is not None:
            self.users.ask(rooted)
        if message.id in self._over:
            self._write(self.book.happened(Happened(message.id, "exited", self._over.pop(message.id))))
        if message.id in self._removed:  # what was asked of it was answered after its end
            self._write(self.book.gone(message.id, self._removed.pop(message.id)))
            return
        missing = self.book.missing_sandbox(message.id)
        if missing:
            self.askers[message.socket].ask(missing)

    def _wanted(self, identity: str) -> bool:
        return not self.options.scoped or identity in self._seen or self.book.place_of(identity) in self._places

    def _write(self, rows: Iterable[tuple[str, dict[str, object]]]) -> None:
        for table, row in rows:
            identity = str(row["container"])
            if self._wanted(identity) or row.get("cgroup_path") in self._places:
                self._row(table, row)
            else:  # its cgroup is not in the log yet; it may be within the scope
                self._pending.setdefault(identity, {})[table] = self._dated(row)
                self._pending.move_to_end(identity)
        while len(self._pending) > MOST_QUESTIONS:
            self._pending.popitem(last=False)

    def _row(self, table: str, row: dict[str, object]) -> None:
        self.rows.add(table, self._dated(row))

    def _dated(self, row: dict[str, object]) -> dict[str, object]:
        """A row with the moment at which it was learnt."""
        common = {"time": time.time_ns() // 1000, "ktime": boottime.now_ns()}
        known = {name: value for name, value in row.items() if value is not None}
        return {**common, "node": self.node, "boot": self.boot, **known}

    def _say(self, state: dict[str, Any]) -> None:
        row: dict[str, object] = {"event": "runtime", "instance": "follower", "version": __version__}
        self._row("observer", row | {"settings": json.dumps({"runtimes": state})})

    def _each_day(self) -> None:
        """Each day's rows tell all that live, so that a day can be read, kept and removed by itself."""
        day = int(time.time()) // _ONE_DAY
        if self._day and day != self._day:
            self._write(self.book.everything())
            self._decide(self.claims.everything())
            for address, since in self._addresses.items():
                self._address("held", address, since)
        self._day = day

    def _own_addresses(self) -> None:
        """What the machine's own addresses are, where that has changed. Those of the first look were there from the boot on."""
        if time.monotonic() < self._addresses_due:
            return
        moment = time.time_ns() // 1000
        since = moment if self._addresses_due else _booted()
        self._addresses_due = time.monotonic() + ADDRESSES
        now = interfaces.addresses(interfaces.MACHINES if machine.apart() else interfaces.PROC)
        for address in sorted(self._addresses.keys() - now):
            self._address("gone", address, self._addresses.pop(address), moment)
        for address in sorted(now - self._addresses.keys()):
            self._addresses[address] = since
            self._address("held", address, since)

    def _address(self, event: str, address: str, since: int, until: int | None = None) -> None:
        row = {"event": event, "kind": "node", "address": address, "name": self.node, "source": "machine"}
        self._row("address", row | {"since": since, "until": until})

    def _read_log(self) -> None:
        while (chunk := self._next_chunk()) is not None:
            for event, path, moment in _cgroups(chunk):
                self._cgroup(event, path, moment)

    def _cgroup(self, event: str, path: str, moment: int) -> None:
        """A cgroup that was made, met or removed: a container's by its path, or by what a runtime told of that path."""
        found = parse(path)
        container = found.container or self.book.at(path)
        if container is None:
            self._met(event, path)
            return
        itself = container in path.rpartition("/")[2] or self.book.place_of(container) == path
        if event != "remove":
            self._new(container, found.runtime)
            if found.container:
                self._claimed(container, path)
            if event == "create" and itself and self.claims.stands(container, path):
                self._write(self.book.began(container, moment))
        elif itself:  # its own cgroup, not one that it made inside
            if self.claims.stands(container, path):
                self._ended(container, moment)
            self.claims.removed(container, path)

    def _claimed(self, container: str, path: str) -> None:
        """A cgroup's path names a container: that is so where its runtime says so."""
        self.claims.met(container, path)
        if self.book.knows(container):
            self._judge(container)

    def _judge(self, container: str) -> None:
        self._decide(self.claims.judge(self.book.socket_of(container), container, self.book.place_of(container)))

    def _decide(self, verdicts: Iterable[ClaimVerdict]) -> None:
        for one in verdicts:
            row: dict[str, object] = {"event": one.event, "container": one.container, "cgroup_path": one.path}
            row["pod_uid"] = parse(one.path).pod_uid
            if one.reason is not None:
                row["reason"] = f"its runtime has it in {one.reason}"
            self._row("container", row)

    def _met(self, event: str, path: str) -> None:
        """Within a scope, a cgroup that may prove a container's when its runtime tells of it."""
        if event == "remove" or not self.options.scoped:
            return
        self._places[path] = None
        while len(self._places) > MOST_QUESTIONS:
            self._places.popitem(last=False)

    def _ended(self, container: str, moment: int) -> None:
        """The kernel says that nothing is left of it; its runtime may say how it ended."""
        if self.book.knows(container):
            self._write(self.book.happened(Happened(container, "exited", moment)))
            self.askers[self.book.socket_of(container)].ask(container, once=True)
        else:
            self._over[container] = moment
            while len(self._over) > MOST_QUESTIONS:
                self._over.popitem(last=False)

    def _next_chunk(self) -> Chunk | None:
        try:
            return self.cursor.next()
        except FirsthandError:
            return None  # the keeper tells damage; what it hid, the full list finds

    def _new(self, container: str, runtime: str | None) -> None:
        if container in self._seen:
            return
        self._seen[container] = None
        while len(self._seen) > MOST_QUESTIONS:
            self._seen.popitem(last=False)
        for table, row in self._pending.pop(container, {}).items():
            self.rows.add(table, row)
        if not self.book.knows(container):
            for asker in self.askers.values():
                if asker.may_know(runtime):
                    asker.ask(container)


def _booted() -> int:
    """When this machine was booted, in microseconds since 1970."""
    return time.time_ns() // 1000 - time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


def _cgroups(chunk: Chunk) -> Iterable[tuple[str, str, int]]:
    """What a chunk tells of cgroups: event, path, and time in microseconds. Of an unreadable one the keeper tells."""
    for name, stream in chunk.streams():
        if name == "container":
            try:
                columns = columns_of(stream, ("event", "cgroup_path", "time"))
            except DamagedError:
                return
            for event, path, moment in zip(*columns.values(), strict=True):
                if event and path and moment:
                    yield event, path.rstrip("/"), (moment - _EPOCH) // timedelta(microseconds=1)
