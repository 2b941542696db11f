"""history/keep/patience.py: what fails is said once and tried again until it can, or until it is time to end."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from firsthand.errors import DamagedError, UnwritableError
from firsthand.history.keep import patience
from firsthand.history.keep.patience import Complaint, begun


@pytest.fixture
def stop() -> Iterator[tuple[int, int]]:
    """A pipe: what is written to it ends the wait."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_each_message_is_said_once_until_it_went_well(capsys: pytest.CaptureFixture[str]) -> None:
    """Then again; and that it goes well only where it had failed."""
    complaint = Complaint("keeper")
    complaint.well()
    for text in ("full", "full", "read-only", "full"):
        complaint.say(UnwritableError(text))
    complaint.well()
    complaint.well()
    complaint.say(UnwritableError("full"))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "keeper: full", "keeper: read-only", "keeper: full", "keeper: the history is written again", "keeper: full",
    ]  # fmt: skip


def test_it_is_tried_until_it_can(
    stop: tuple[int, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What begins is given, whatever it is."""
    monkeypatch.setattr(patience, "AGAIN", 0.0)
    tries = iter([UnwritableError("full"), UnwritableError("full"), 0])

    def begin() -> int:
        found = next(tries)
        if isinstance(found, UnwritableError):
            raise found
        return found

    assert begun(begin, "keeper", [stop[0]]) == 0
    assert capsys.readouterr().err.splitlines() == ["keeper: full", "keeper: the history is written again"]


def test_who_is_told_to_end_waits_no_more(stop: tuple[int, int]) -> None:
    """At once, and after one try."""
    tries = []

    def begin() -> int:
        tries.append(1)
        raise UnwritableError("full")

    os.write(stop[1], b".")
    assert begun(begin, "keeper", [stop[0]]) is None and tries == [1]


def test_another_error_is_the_callers(stop: tuple[int, int]) -> None:
    """What does not get better by waiting."""

    def begin() -> int:
        raise DamagedError("gone")

    with pytest.raises(DamagedError):
        begun(begin, "keeper", [stop[0]])
