"""What is left out where fewer boots are asked for, and remembering that all of them passed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.vm import chosen

_BOOTS = chosen.boots()
#: A file without a boot would be skipped test by test.
collect_ignore = [] if any(one.work == chosen.CLOCK for one in _BOOTS) else ["test_clock.py"]
#: Options that leave tests of the folder out.
_FEWER = ("keyword", "markexpr", "lf", "collectonly", "deselect")


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    """Of a run of the whole folder, in which nothing failed and nothing was skipped, all boots are remembered."""
    missed = [terminalreporter.stats.get(word) for word in ("failed", "error", "skipped", "deselected")]
    fewer = [config.getoption(name, None) for name in _FEWER] + [
        "::" in one or one.endswith(".py") for one in config.args
    ]
    ran = [one for one in terminalreporter.stats.get("passed", []) if one.nodeid.startswith("tests/vm/")]
    terminalreporter.write_line(f"vm: {len(_BOOTS)} boots: {', '.join(' '.join(one) for one in _BOOTS)}")
    if exitstatus == 0 and ran and _BOOTS == chosen.ALL and not any(missed) and not any(fewer):
        chosen.passed()
        terminalreporter.write_line("vm: all boots passed; the next landing makes two, until what they prove changes")
