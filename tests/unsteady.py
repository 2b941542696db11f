"""A plugin of pytest and the rules of second chances: what failed may run once more where its cause is the machine and not the program.

The causes are in `_CAUSES`; what no cause explains fails at once. A test that counts losses (`@pytest.mark.counts_losses`) never has a
second chance: one loss that nothing records is one too many. Each second chance belongs into the ledger, tests/unsteady.toml; a test
that stands there twice has none any more, until somebody mends it and takes its entries away.
"""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

LEDGER = Path(__file__).with_name("unsteady.toml")
#: As many entries of a test in the ledger as end its second chances.
ENOUGH = 2
_CAUSE, _LOSSES = "cause", "counts losses"
TIME, PACKAGES, MACHINE, PROCESSOR = (
    "ran out of time",
    "packages could not be fetched",
    "the virtual machine did not come to init",
    "a little over its processor budget",
)


@dataclass(frozen=True)
class Failure:
    """A test that failed, `cause` None where no cause excuses it."""

    test: str
    cause: str | None
    counts_losses: bool


def cause_of(error: BaseException, source: str, message: str) -> str | None:
    """Why a test failed, as far as a second chance goes: `source` is the line that raised, `message` the report's text."""
    if isinstance(error, TimeoutError | subprocess.TimeoutExpired):
        return TIME
    if isinstance(error, AssertionError) and "monotonic()" in source:
        return TIME
    return next((cause for cause, pattern in _PATTERNS if pattern.search(message)), None)


_PATTERNS = (
    (MACHINE, re.compile(r"vm: init was not reached, twice")),
    (PACKAGES, re.compile(r"FIRSTHAND_REQUIRE asks for (image|kernels): .*cannot be (made|fetched)")),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the failures are written to."""
    parser.addoption("--failures-to", metavar="FILE", help="write what failed, and whether it may run again, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """The marker."""
    config.addinivalue_line("markers", "counts_losses: counts what may be lost; a failure is never tried again")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[pytest.TestReport]:
    """Send the cause to the process that writes the failures."""
    report: pytest.TestReport = yield
    report.user_properties.append((_LOSSES, item.get_closest_marker("counts_losses") is not None))
    if report.failed and call.excinfo is not None:
        entry = call.excinfo.traceback[-1]
        statement = (
            "" if entry.frame.code.fullsource is None else str(entry.statement)
        )  # none of a program that was made
        found = cause_of(call.excinfo.value, statement, str(call.excinfo.value))
        report.user_properties.append((_CAUSE, found))
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Write the failures; a worker or a module that broke is one without a cause."""
    if to := config.getoption("--failures-to"):
        stats = terminalreporter.stats
        found = [failure(report) for report in [*stats.get("failed", []), *stats.get("error", [])]]
        Path(to).write_text(json.dumps([asdict(one) for one in found]))


def failure(report: Any) -> Failure:
    """Of a report of pytest's."""
    told = dict(getattr(report, "user_properties", ()))
    return Failure(plain(report.nodeid), told.get(_CAUSE), told.get(_LOSSES, False))


def plain(test: str) -> str:
    """A test's id without the group that xdist appends."""
    return re.sub(r"@[^\]/@]*$", "", test)


def read(path: Path) -> list[Failure]:
    """What `--failures-to` wrote. OSError, ValueError where it did not come to that."""
    return [Failure(**one) for one in json.loads(path.read_text())]


def ledger(path: Path = LEDGER) -> list[dict[str, Any]]:
    """The entries: `test`, `date`, `cause`, `done` (what was done about it)."""
    return list(tomllib.loads(path.read_text()).get("unsteady", []))


def refusals(failures: Sequence[Failure], entries: Sequence[dict[str, Any]]) -> list[str]:
    """Why there is no second chance, for each failure that has none."""
    told = []
    for one in failures:
        times = [entry["test"] for entry in entries].count(one.test)
        if one.counts_losses:
            told.append(f"{one.test}: it counts losses")
        elif one.cause is None:
            told.append(f"{one.test}: nothing but the program explains it")
        elif times >= ENOUGH:
            told.append(f"{one.test}: it stands in {LEDGER.name} {times} times already: mend it")
    return told


def line(one: Failure, day: datetime.date) -> str:
    """The entry to add to the ledger."""
    return f'[[unsteady]]\ntest = {json.dumps(one.test)}\ndate = {day}\ncause = {json.dumps(one.cause)}\ndone = ""\n'
