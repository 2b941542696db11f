"""A plugin of pytest: what a test costs in processor seconds, at most 15 unless `@pytest.mark.budget(seconds, why)` allows more.

Counted (tests/processor.py): the test, its own fixtures, all processes that both start, and what a shared observer does meanwhile.
A fixture of a module or session is counted apart, since one test would pay for all. At the end the 20 dearest are printed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests import profile
from tests.processor import METER

BUDGET = 15.0
DEAREST = 20
#: What a test may use that starts observers, daemons and machines of its own, or fuzzes for as long as it is told; bench measures.
ROOMS = {
    "tests/kernel/": 60.0,
    "tests/install/": 60.0,
    "tests/pods/": 90.0,
    "tests/vm/": 60.0,
    "tests/fuzz/": 45.0 + 2 * float(os.environ.get("FIRSTHAND_FUZZ_SECONDS", "0")),
    "tests/bench/": 3600.0,
}
#: Where every case of an exhaustive test runs, it may use more.
_EXHAUSTIVE = 20.0 if profile.name() == profile.ALL else 1.0
_TEST, _SHARED = "processor", "processor shared"


@dataclass
class Account:
    """What one test has used so far; `shared`: of it, fixtures that outlive it, by name; `within`: how many of those are being set up."""

    began: float
    shared: dict[str, float] = field(default_factory=dict)
    within: int = 0

    def own(self) -> float:
        """Seconds that are the test's."""
        return METER.seconds() - self.began - sum(self.shared.values())


_ACCOUNT = pytest.StashKey[Account]()


def pytest_configure(config: pytest.Config) -> None:
    """The marker; and every process of a session counts for itself."""
    config.addinivalue_line("markers", "budget(seconds, why): processor seconds that a test may use, if more than 15")
    config.addinivalue_line("markers", "landing(why): runs when a change lands, and not in `make test`")
    METER.begin()


def pytest_unconfigure() -> None:
    """Back to where the process was."""
    METER.end()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A marker without a reason is an error at once, not when the test is over."""
    for item in items:
        allowed(item)


def allowed(item: pytest.Item) -> float:
    """Seconds that a test may use. UsageError where its marker has no number or no reason."""
    marker = item.get_closest_marker("budget")
    if marker is None:
        room = next((seconds for folder, seconds in ROOMS.items() if item.nodeid.startswith(folder)), BUDGET)
        return room * _EXHAUSTIVE
    match (marker.args, marker.kwargs):
        case ((int() | float() as seconds, str() as why), {}) if seconds > 0 and why.strip():
            return float(seconds) * _EXHAUSTIVE
    raise pytest.UsageError(f"{item.nodeid}: @pytest.mark.budget takes the seconds and why, not {marker.args}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """An account for each test."""
    item.stash[_ACCOUNT] = Account(METER.seconds())
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Iterator[None]:
    """Book a shared fixture apart; one within another is that one's."""
    account = request._pyfuncitem.stash.get(_ACCOUNT, None)
    if fixturedef.scope == "function" or account is None:
        return (yield)
    before, account.within = METER.seconds(), account.within + 1
    try:
        return (yield)
    finally:
        account.within -= 1
        if not account.within:
            name = f"{request.node.nodeid or 'session'} ({fixturedef.argname})"
            account.shared[name] = account.shared.get(name, 0.0) + METER.seconds() - before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """The end of what is shared is not the last test's."""
    before = METER.seconds()
    try:
        return (yield)
    finally:
        if nextitem is None or nextitem.parent is not item.parent:
            account = item.stash[_ACCOUNT]
            account.shared[f"{item.parent.nodeid if item.parent else ''} (end)"] = METER.seconds() - before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[pytest.TestReport]:
    """Fail what is over its budget, and send what was used to where the summary is written."""
    report: pytest.TestReport = yield
    account = item.stash.get(_ACCOUNT, None)
    if account is None or report.when == "setup":
        return report
    if report.when == "teardown":
        report.user_properties += [(_TEST, account.own()), (_SHARED, account.shared)]
    elif report.passed and account.own() > allowed(item):
        report.outcome = "failed"
        report.longrepr = over(account.own(), allowed(item))
    return report


def over(seconds: float, budget: float) -> str:
    """What a failure says."""
    return (
        f"the test used {seconds:.1f} processor seconds, and may use {budget:g}: make it cheaper, "
        "or say why it needs more (@pytest.mark.budget(seconds, why))"
    )


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter: Any) -> Iterator[None]:
    """The dearest."""
    result = yield
    found = [report for reports in terminalreporter.stats.values() for report in reports]
    tests, shared = sums(found)
    if tests:
        for line in summary(tests, shared):
            terminalreporter.write_line(line)
    return result


def sums(reports: list[Any]) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds by test and by shared fixture, of the reports of their ends."""
    tests: dict[str, float] = {}
    shared: dict[str, float] = {}
    for report in reports:
        told = dict(getattr(report, "user_properties", ()))
        if getattr(report, "when", None) != "teardown" or _TEST not in told:
            continue
        tests[report.nodeid] = told[_TEST]
        for name, seconds in told[_SHARED].items():
            shared[name] = shared.get(name, 0.0) + seconds
    return tests, shared


def summary(tests: dict[str, float], shared: dict[str, float]) -> list[str]:
    """Lines: the sums, and the dearest tests and fixtures."""
    total, rest = sum(tests.values()), sum(shared.values())
    lines = [
        f"processor: {total:.0f} s in {len(tests)} tests, {rest:.0f} s in what they share; by room: {_rooms(tests, shared)}"
    ]
    lines.append(f"processor: the {DEAREST} dearest of them:")
    ranked = sorted([*tests.items(), *shared.items()], key=lambda one: -one[1])[:DEAREST]
    return lines + [f"{seconds:7.1f} s  {name}" for name, seconds in ranked if seconds >= 0.1]


def _rooms(*costs: dict[str, float]) -> str:
    """The sums of the folders below tests/."""
    rooms: dict[str, float] = {}
    for name, seconds in (one for cost in costs for one in cost.items()):
        parts = name.split("::")[0].split("/")
        room = parts[1] if len(parts) > 1 else "others"
        rooms[room] = rooms.get(room, 0.0) + seconds
    return ", ".join(f"{room} {seconds:.0f} s" for room, seconds in sorted(rooms.items(), key=lambda one: -one[1]))
