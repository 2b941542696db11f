"""What the tests of sockets share: one observer for a module's tests, and two network namespaces that a veth pair joins."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cgroups import TestCgroup
from tests.configured import configured
from tests.kernel.agent import Agent
from tests.kernel.observed import Observed
from tests.kernel.pool import ObserverKind, Pools, Watch
from tests.networks import Namespace, TestNetworks


class Live:
    """`near` and `far` are joined: `here` and `there` are their addresses, `here6` and `there6` those of IPv6."""

    here6, there6 = "fd09:1::1", "fd09:1::2"

    def __init__(self, cgroup: TestCgroup, networks: TestNetworks, observed: Observed | Watch) -> None:
        self.cgroup, self.networks, self.observed = cgroup, networks, observed
        self.near, self.far = networks.add("near"), networks.add("far")
        self.here, self.there = networks.link(self.near, self.far, 1)
        self.agents: list[Agent] = []

    def agent(self, where: Namespace | None = None, cgroup: TestCgroup | None = None) -> Agent:
        """A process that does what it is told, in `near` and the observed cgroup where nothing else is said."""
        made = Agent(cgroup or self.cgroup, where or self.near)
        self.agents.append(made)
        return made

    def rows(self, counts: dict[int, int]) -> dict[int, list[dict[str, Any]]]:
        """The rows of sockets in their order, by cookie, as soon as each has as many as `counts` says; more fail."""
        query = f"SELECT * FROM connection WHERE cookie IN ({', '.join(map(str, counts))}) ORDER BY ktime"
        found: dict[int, list[dict[str, Any]]] = {cookie: [] for cookie in counts}
        for row in self.observed.wait(query, sum(counts.values())):
            found[row["cookie"]].append(row)
        assert {cookie: len(rows) for cookie, rows in found.items()} == counts, found
        return found

    def life(self, cookie: int, *events: str) -> list[dict[str, Any]]:
        """The rows of one socket, which are these events in this order."""
        rows = self.rows({cookie: len(events)})[cookie]
        assert tuple(row["event"] for row in rows) == events, rows
        return rows

    def part(self) -> None:
        """End the agents, whatever they do."""
        for agent in self.agents:
            agent.process.kill()
            agent.process.wait()
        self.agents.clear()


@contextmanager
def living(history: Path, *options: str) -> Iterator[Live]:
    """From `ready` on; at the end nothing may have been lost, and nothing but the cgroup's may be recorded."""
    with ExitStack() as stack:
        networks = stack.enter_context(TestNetworks())
        cgroup = stack.enter_context(TestCgroup())
        observed = stack.enter_context(Observed(history, [cgroup.path], *options))
        yield Live(cgroup, networks, observed)
    # Where a test kills the observer, heads of which the dissector had a part go with it, and are counted.
    assert observed.rows("SELECT * FROM loss WHERE detail NOT LIKE 'the observer ended before a dissector%'") == []
    strangers = f"cgroup_path <> '/{cgroup.name}' AND cgroup_path NOT LIKE '/{cgroup.name}/%'"
    assert observed.rows(f"SELECT * FROM connection WHERE cgroup_path IS NULL OR ({strangers})") == []


@contextmanager
def configured_live(folder: Path, settings: str) -> Iterator[Live]:
    """The same with a settings file of its own, in force for as long."""
    with pytest.MonkeyPatch.context() as patch:
        configured(folder, patch, settings)
        with living(folder / "history") as made:
            yield made


@contextmanager
def shared_live(pools: Pools, kind: ObserverKind, test: str) -> Iterator[Live]:
    """The same by a shared observer, in a cgroup below its own; the pool looks at what it lost and recorded besides."""
    with TestNetworks() as networks, pools.watch(kind, test) as watch:
        yield Live(watch.cgroup, networks, watch)


class Lives:
    """One such for the tests of a module, made anew behind a test that its observer failed."""

    def __init__(self, pools: Pools, kind: ObserverKind, module: str) -> None:
        self._words = pools, kind, module
        self._stack: ExitStack | None = None

    def now(self) -> Live:
        """The one that is there, or a new one."""
        if self._stack is None:
            self._stack = ExitStack()
            self._live = self._stack.enter_context(shared_live(*self._words))
        return self._live

    def part(self) -> None:
        """A test is over. AssertionError where the observer ended or said something meanwhile."""
        self._live.part()
        try:
            self._live.observed.pooled.check()
        except AssertionError:
            self._leave(*sys.exc_info())
            raise

    def close(self) -> None:
        """The module is over. AssertionError where anything was lost, or recorded that is not in the scope."""
        self._leave(None, None, None)

    def _leave(self, *error: Any) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.__exit__(*error)


def flags(row: dict[str, Any]) -> set[str]:
    """The names of a row's flags."""
    return set((row["flag_names"] or "").split(",")) - {""}
