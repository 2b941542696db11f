"""The real observer in the test's own process, on the real kernel: turn by turn, by a wall clock that the test sets."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firsthand.history.store.connection import History
from firsthand.observe.observer import Observer
from firsthand.observe.options import ObserverOptions
from firsthand.probe import load, pins
from firsthand.settings import Settings
from firsthand.settings.sections.top import Top
from firsthand.wire.clock import Clock, Sample, read_clocks
from tests.cgroups import TestCgroup


class Wall:
    """The clock seam: the real clocks, of which the wall's can be set."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> Sample:
        now = read_clocks()
        return Sample(now.realtime + self.ahead * 1_000_000_000, now.boottime)


class ObserverInside:
    """An observer of one cgroup, from `ready` on; `close` takes it away. `top`: settings under no heading."""

    def __init__(self, cgroup: TestCgroup, history: Path, **top: Any) -> None:
        self.cgroup, self.history, self.wall = cgroup, history, Wall()
        instance = f"test-{uuid.uuid4().hex[:12]}"
        given = Settings(Top(instance=instance, poll_ms=5, **top))
        told = ObserverOptions(history=str(history), scopes=(str(cgroup.path),), settings=given)
        self.observer = Observer(told)
        self.observer.clock = self.observer.rows.clock = Clock(self.wall)
        self.loaded = load.bring_in(told.load_options())
        self.observer.open(self.loaded)
        self.observer.read_existing()
        self.observer.prove()

    def run(self, word: str) -> None:
        """One program in the cgroup, down to the disk."""
        before = self.observer.source.recorded
        self.cgroup.run(["/bin/true", word]).wait()
        self.until(lambda: self.observer.source.recorded >= before + 2)

    def set(self, seconds: int) -> None:
        """Set the wall clock, and go on until the observer has told of it."""
        self.wall.ahead += seconds
        offset = self.observer.clock.sample.offset
        self.until(lambda: self.observer.clock.sample.offset != offset)

    def until(self, condition: Callable[[], bool]) -> None:
        """Turn after turn, until it is so."""
        while not condition():
            self.observer.tick()

    def until_rows(self, query: str) -> list[dict[str, Any]]:
        """Turn after turn, until a query has rows; these."""
        found: list[dict[str, Any]] = []

        def asked() -> bool:
            found[:] = self.rows(query)
            return bool(found)

        self.until(asked)
        return found

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Of the history."""
        with History(self.history).connection() as connection:
            result = connection.execute(query)
            names = [column[0] for column in result.description]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def close(self) -> None:
        """Detach and unpin."""
        self.observer.forget()
        pins.remove(self.observer.options.top.instance)
