"""cli/options.py: durations, moments, and which history is meant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from firsthand.cli import options
from firsthand.errors import UsageError
from firsthand.history.place import default_directory
from tests.configured import configured

_NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("90", 90),
        (" 5m ", 300),
        ("1.5h", 5400),
        ("30d", 30 * 86400),
        ("2w", 14 * 86400),
        ("0", 0),
        ("36600d", 36600 * 86400),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """With a unit, or in seconds."""
    assert options.seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "-5m", "1h30m", "5 m", "5M", "1e3", "36601d", "9" * 400, "1.5.5h", "inf", "nan"]
)
def test_what_is_no_duration(text: str) -> None:
    """Nor one that no calendar has: a message, and no traceback."""
    with pytest.raises(UsageError, match="is no duration"):
        options.seconds(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", _NOW),
        ("2h", _NOW - timedelta(hours=2)),
        ("1.5d", _NOW - timedelta(hours=36)),
        ("2026-04-30", datetime(2026, 4, 30, tzinfo=UTC)),
        ("2026-04-30T10:00", datetime(2026, 4, 30, 10, tzinfo=UTC)),
        ("2026-04-30T10:00+02:00", datetime(2026, 4, 30, 8, tzinfo=UTC)),
        ("2026-04-30T10:00:00.000005Z", datetime(2026, 4, 30, 10, 0, 0, 5, tzinfo=UTC)),
    ],
)
def test_moments(text: str, moment: datetime) -> None:
    """So long ago, or an ISO time; in UTC, whatever zone it was given in."""
    found = options.moment(text, _NOW)
    assert found == moment and found.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "5",
        "-2h",
        "2026-13-01",
        "1000000d",
        "9" * 40 + "d",
        "0001-01-01T00:00+14:00",
        "9999-12-31T23:59-14:00",
        "12:00",
    ],
)
def test_what_is_no_moment(text: str) -> None:
    """It is refused with what can be written."""
    with pytest.raises(UsageError, match="write 30"):
        options.moment(text, _NOW)


def test_which_history_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option before the variable, that before the settings, those before the default."""
    monkeypatch.delenv("FIRSTHAND_HISTORY", raising=False)
    configured(tmp_path, monkeypatch, "")
    assert options.place(None) == default_directory()
    configured(tmp_path, monkeypatch, 'history = "/of/the/settings"\n')
    assert options.place(None) == Path("/of/the/settings")
    monkeypatch.setenv("FIRSTHAND_HISTORY", "/of/the/variable")
    assert options.place(None) == Path("/of/the/variable")
    assert options.place(Path("/of/the/option")) == Path("/of/the/option")


def test_who_may_do_without_a_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that are wrong are no error there: no history is meant."""
    monkeypatch.delenv("FIRSTHAND_HISTORY", raising=False)
    configured(tmp_path, monkeypatch, "nonsense\n")
    assert options.unchecked(None) == Path() and options.unchecked(tmp_path) == tmp_path


def test_a_relative_history_may_have_a_reader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only of an absolute one is it known that there is none, which is said where that is wanted."""
    assert not options.nobody_reads(Path("relative"), verbose=True)
    assert options.nobody_reads(tmp_path, verbose=False) and capsys.readouterr().err == ""
    assert options.nobody_reads(tmp_path, verbose=True) and "there is none" in capsys.readouterr().err
