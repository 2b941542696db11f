"""Observers that many tests share: one `firsthand run` on a cgroup of its own, and a fresh cgroup below it for each test.

A test does its work in its own cgroup and then settles: a marker goes through each ring behind all that the test did, and when both
are durable so are the test's rows. It reads the rows of its own cgroup alone, from the log. See docs/testing.md.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from firsthand.history import place
from firsthand.history.log.chunk import Chunk
from firsthand.history.log.follow import LogFollower
from firsthand.history.log.log import LogCursor
from firsthand.history.store import manifest
from firsthand.history.store.connection import History
from firsthand.history.store.snapshot import View
from firsthand.probe import pins
from firsthand.schema.tables import KEPT
from tests.cgroups import ALL, TestCgroup
from tests.growth import MOST_ASLEEP, LogsGrowth, until_grown
from tests.kernel.observed import READY_WITHIN, Observed

#: Tables whose rows are of one cgroup.
_OF_CGROUPS = tuple(name for name, table in KEPT.items() if "cgroup_path" in table.names)
#: Where a connection has the views of all cgroups, behind those of one.
_WHOLE = "memory.main"
#: A pool runs at most so many observers at once: each costs memory, and time at every event of the machine.
MOST = 3


@dataclass(frozen=True)
class ObserverKind:
    """What an observer runs with: its settings as a config.toml has them, and the hierarchies that tests' cgroups are made in."""

    settings: str = ""
    hierarchies: str = ALL


class Pooled:
    """One observer for tests of a kind, from `ready` on. AssertionError in `close` where it lost or said anything."""

    def __init__(self, folder: Path, kind: ObserverKind) -> None:
        self.kind = kind
        self.cgroup = TestCgroup(kind.hierarchies)
        self.observed = Observed(folder / "history", [self.cgroup.path])
        self.said: list[str] = []
        self.tests: list[str] = []
        self._config, self._marker = folder / "config.toml", folder / "marker"
        self._marker.write_text("#!/bin/true\n")  # a script never folds
        self._marker.chmod(0o755)
        self._config.write_text(f"{kind.settings}\n[integrity]\nheads = {json.dumps(str(folder / 'heads.jsonl'))}\n")
        self.cgroup.__enter__()
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("FIRSTHAND_CONFIG", str(self._config))
                self.observed.start()
        except BaseException:
            self.cgroup.__exit__(None, None, None)
            raise
        self._hears = threading.Thread(target=self._hear, daemon=True)
        self._hears.start()

    def _hear(self) -> None:
        assert self.observed.process.stderr is not None
        self.said.extend(self.observed.process.stderr)

    def check(self) -> None:
        """AssertionError where it has ended, or said something: whatever a test does, that is not to be."""
        code = self.observed.process.poll()
        assert code is None, f"the shared observer ended, exit code {code}: {''.join(self.said)}"
        assert not self.said, f"the shared observer said: {''.join(self.said)}"

    def settle(self) -> None:
        """Return when all that happened before the call is in the log: a program in the ordinary ring, a cgroup in the urgent one.

        Records of a ring become durable in their order, so those before the marker are there when it is. Each ring has its own,
        as the observer may have looked at one ring before an event and at the other one after it.
        """
        marker = self.cgroup.path / f"marker-{uuid.uuid4().hex}"
        with (
            LogFollower(self.observed.history, ("process", "container")) as log,
            LogsGrowth(self.observed.history) as growth,
        ):
            marker.mkdir()
            try:
                subprocess.run([self._marker], check=True, preexec_fn=lambda: _enter(marker))
                wanted = {(f"{self.cgroup.where}/{marker.name}", event) for event in ("create", "exit")}
                self._await(log, growth, wanted)
            finally:
                marker.rmdir()

    def _await(self, log: LogFollower, growth: LogsGrowth, wanted: set[tuple[str, str]]) -> None:
        until = time.monotonic() + READY_WITHIN
        while wanted:
            for _, rows in log.poll(0):
                wanted -= set(zip(rows["cgroup_path"].to_pylist(), rows["event"].to_pylist(), strict=True))
            if wanted:
                growth.wait(MOST_ASLEEP)
                self.check()
                assert time.monotonic() < until, f"the shared observer does not record {wanted}"

    def close(self) -> None:
        """End it, in order where it still runs, and take away what it had."""
        try:
            self.check()
            self._end()
        finally:
            if self.observed.process.poll() is None:
                self.observed.process.send_signal(signal.SIGKILL)
                self.observed.process.wait()
            self._hears.join()
            if pins.folder_of(self.observed.instance).exists():  # it was killed
                pins.remove(self.observed.instance)
            self.cgroup.__exit__(None, None, None)

    def _end(self) -> None:
        self.observed.process.send_signal(signal.SIGINT)
        code = self.observed.process.wait()
        self._hears.join()
        assert code == 0, f"the shared observer's exit code is {code}: {''.join(self.said)}"
        lost, strange = self.observed.rows("SELECT * FROM loss"), self.observed.rows(strangers(self.cgroup.where))
        assert lost == [], lost
        assert strange == [], strange


def _enter(folder: Path) -> None:
    (folder / "cgroup.procs").write_text("0")  # the writer itself


def strangers(where: str) -> str:
    """The query for rows of no cgroup, or of one that is not the one at `where` or below it."""
    outside = f"cgroup_path IS NULL OR NOT ({_within(where)})"
    return " UNION ALL ".join(
        f"SELECT '{name}' AS kept, event, cgroup_path FROM {name} WHERE {outside}" for name in _OF_CGROUPS
    )


def _within(where: str) -> str:
    return f"cgroup_path = '{where}' OR starts_with(cgroup_path, '{where}/')"


class Narrowed:
    """A reader of some chunks of a log, whose tables have the rows of one cgroup and those below it; `where` empty: all rows."""

    def __init__(self, history: Path, chunks: Sequence[Chunk], where: str) -> None:
        view = View(history, manifest.Snapshot(0, None, ()))
        for chunk in chunks:
            view.add(place.LOG, chunk)
        # With a table in memory statements go through views, and so through the narrow ones below.
        self._reader = History(history).connection(of=view, materialised=("clock",))
        self._where = where
        self._narrow: set[str] = set()

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query."""
        for name in _OF_CGROUPS if self._where else ():
            if name not in self._narrow and re.search(rf"\b{name}\b", query):
                self._narrow.add(name)
                own = f"SELECT * FROM {_WHOLE}.{name} WHERE {_within(self._where)}"
                self._reader.execute(f"CREATE TEMP VIEW {name} AS {own}")
        result = self._reader.execute(query)
        names = [column[0] for column in result.description]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def close(self) -> None:
        """Let go of it."""
        self._reader.close()


class Watch:
    """A cgroup of a test's own below a shared observer's, and the rows of it since the watch began: what Observed is to other tests.

    `with` it for what is to be observed: behind the block everything is durable, and `rows` reads one state of it. Rows come from
    the log as the observer wrote it, through the views that every reader has.
    """

    def __init__(self, pooled: Pooled) -> None:
        self.pooled, self.observed = pooled, pooled.observed
        self.history, self.process = pooled.observed.history, pooled.observed.process
        self.cgroup = TestCgroup(within=pooled.cgroup)
        self.since = datetime.now(UTC).replace(tzinfo=None)
        self._log = LogCursor(self.history)
        self._log.to_end()
        self._chunks: list[Chunk] = []
        self._settled: Narrowed | None = None

    def run(self, argv: Sequence[str | bytes], user: int = 0, **options: Any) -> subprocess.Popen[bytes]:
        """Start a process in the cgroup, as TestCgroup does."""
        return self.cgroup.run(argv, user, **options)

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.pooled.settle()
            self._settled = self._reader(self.cgroup.where)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query on the views, of this cgroup; before the end of the block, those that are durable now."""
        return (self._settled or self._reader(self.cgroup.where)).rows(query)

    def everything(self, query: str) -> list[dict[str, Any]]:
        """The same of all that the shared observer recorded meanwhile: for what must not be there."""
        return self._reader("").rows(query)

    def _reader(self, where: str) -> Narrowed:
        """Of what is durable now. DamagedError where the log is damaged."""
        while chunk := self._log.next():
            self._chunks.append(chunk)
        assert not self._log.missed, "the log went on without this reader"
        return Narrowed(self.history, self._chunks, where)

    def wait(self, query: str, least: int = 1) -> list[dict[str, Any]]:
        """The rows of a query as soon as there are so many."""
        self.pooled.settle()  # mostly it is there then, and one look is enough
        return self.until(query, lambda found: len(found) >= least)

    def until(
        self, query: str, met: Callable[[list[dict[str, Any]]], Any], seconds: float = READY_WITHIN
    ) -> list[dict[str, Any]]:
        """The rows of a query as soon as they are as wanted, within so many seconds; asked again only when the log has grown."""
        return until_grown(self.history, lambda: self.rows(query), met, seconds, self.pooled.check, query)

    def judged(self, since: datetime, until: datetime) -> list[str]:
        """As Observed's."""
        return self.observed.judged(since, until)

    def lost(self) -> int:
        """Everything counted as lost since the watch began: tests of one observer come one after another."""
        return int(self.rows("SELECT coalesce(sum(events), 0) AS n FROM loss")[0]["n"])

    def check(self) -> None:
        """AssertionError where the observer failed, lost anything, or recorded what is not in its scope, since the watch began."""
        self.pooled.check()
        if self._settled is None:
            self.__exit__(None, None, None)
        lost, strange = self.rows("SELECT * FROM loss"), self.everything(strangers(self.pooled.cgroup.where))
        assert lost == [], lost
        assert strange == [], strange

    def close(self) -> None:
        """Take the cgroup away, and all that runs there."""
        if self._settled is not None:
            self._settled.close()
        self._log.close()
        self.cgroup.__exit__(None, None, None)


class Pools:
    """The shared observers of this process, by kind: started at the first use, ended when others are wanted or at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._failed: list[str] = []
        self._running: dict[ObserverKind, Pooled] = {}
        self._number = 0

    def of(self, kind: ObserverKind) -> Pooled:
        """That which runs, or a new one; of those that run the one that was used last stays longest."""
        found = self._running.pop(kind, None) or self._start(kind)
        self._running[kind] = found
        return found

    def _start(self, kind: ObserverKind) -> Pooled:
        while len(self._running) >= MOST:
            self._drop(next(iter(self._running)))
        self._number += 1
        folder = self.folder / str(self._number)
        folder.mkdir()
        return Pooled(folder, kind)

    def _drop(self, kind: ObserverKind) -> None:
        """End it. What fails then belongs to none of the tests of now: `close` raises it."""
        pooled = self._running.pop(kind)
        try:
            pooled.close()
        except AssertionError as error:
            self._failed.append(f"{error}\nIt was the shared observer of {', '.join(pooled.tests)}")

    @contextmanager
    def watch(self, kind: ObserverKind, test: str) -> Iterator[Watch]:
        """A watch of an observer of this kind. Where that fails the failure is this test's, and the next test has a new observer."""
        pooled = self.of(kind)
        pooled.tests.append(test)
        watch = Watch(pooled)
        watch.cgroup.__enter__()
        try:
            try:
                yield watch
                watch.check()
            finally:
                watch.close()
        except BaseException:
            self._replace(kind, pooled)
            raise

    def _replace(self, kind: ObserverKind, pooled: Pooled) -> None:
        if self._running.get(kind) is pooled:
            self._drop(kind)

    def close(self) -> None:
        """End all of them. AssertionError where any failed at its end, with the tests that it served."""
        for kind in list(self._running):
            self._drop(kind)
        assert not self._failed, "\n".join(self._failed)
