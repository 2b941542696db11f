"""`firsthand status`: how far the scrub is, and that damage was found."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from firsthand.cli.status import command
from firsthand.history.keep import scrubbed
from tests import histories, samples


@pytest.fixture
def history(tmp_path: Path) -> Path:
    now = time.time_ns() // 1000
    histories.write(tmp_path, samples.observed(now - 60_000_000, now), samples.process_lives(3, start=now - 30_000_000))
    histories.keep(tmp_path, linger=0)
    return tmp_path


def _lines(history: Path) -> list[str]:
    return CliRunner().invoke(command, ["--history", str(history)], standalone_mode=False).output.splitlines()


def test_how_far_the_scrub_is(history: Path) -> None:
    """Nothing before it began; then what of it is done and when all will be; at the end from when to when."""
    assert not any(line.startswith("scrub") for line in _lines(history))
    began = datetime(2026, 5, 1, 12, tzinfo=UTC).timestamp()
    round_ = {"began": began, "done": 250_000_000, "bytes": 1_000_000_000, "damaged": 1}
    (history / scrubbed.FILE).write_text(json.dumps(round_))
    (line,) = (line for line in _lines(history) if line.startswith("scrub"))
    assert "250.0 of 1,000.0 MB read again since 2026-05-01T12:00:00.000Z, all until 2026-05-08T12:00:00.000Z" in line
    assert line.endswith("; 1 damaged")
    (history / scrubbed.FILE).write_text(json.dumps(round_ | {"finished": began + 3600}))
    (line,) = (line for line in _lines(history) if line.startswith("scrub"))
    assert "all was read again from 2026-05-01T12:00:00.000Z to 2026-05-01T13:00:00.000Z" in line


def test_damage_is_a_reason_to_look(history: Path) -> None:
    """A damaged segment is said for a day after it was found, whenever its rows happened."""
    assert not any("damaged" in line for line in _lines(history))
    now = time.time_ns() // 1000
    histories.write(history, samples.loss(600, at=now - 3_000_000_000, cause="segment_damaged", table="process"))
    assert "a part of the history was found damaged within the last day: firsthand verify names it" in "\n".join(
        _lines(history)
    )
