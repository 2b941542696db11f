"""Records in the making, run alone (emit.h): whether one is made, from how many programs at once, and what of a string fits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from firsthand.probe.pins import Control
from tests.kernel.functions.functions import Functions

#: Bounds of maps.h.
_RECORD, _TEXT, _SLOTS = (28 << 10) - 8, 4096, 4
_NOT_PLACED = 0xFFFF
_ORDINARY = 0


@pytest.fixture
def functions() -> Iterator[Functions]:
    """The object, in the kernel anew: counters are from 0 on."""
    with Functions("emit") as made:
        yield made


@pytest.mark.parametrize(
    ("control", "now", "attended"),
    [
        (Control(0, 0, 0, 0), 5, None),
        (Control(0, 100, 50, 0), 120, None),
        (Control(1, 100, 0, 0), 1 << 60, True),
        (Control(1, 100, 50, 0), 99, True),
        (Control(1, 100, 50, 0), 150, True),
        (Control(1, 100, 50, 0), 151, False),
        (Control(1, (1 << 63) + 5, 50, 0), 7, True),
    ],
)
def test_records_are_made_while_somebody_reads(
    functions: Functions, control: Control, now: int, attended: bool | None
) -> None:
    """Not before there is a reader, and then nothing is numbered (None); nor without a heartbeat for longer than the setting: then what is
    not made takes a number and is counted. A heartbeat that lies ahead, as another processor's may, is one."""
    control.write(functions.maps["control"])
    call = functions.given()
    call["now"] = now
    assert functions.run("run_attended", call)["attended"] == bool(attended)
    counted = int(attended is False)
    assert functions.sum("produced", _ORDINARY) == counted
    assert functions.sum("failures", functions.constants("failure")["FAILURE_UNATTENDED"]) == counted


def test_four_programs_may_make_records_at_once(functions: Functions) -> None:
    """The fifth finds no room: its number is used up and it is counted. The others give theirs back."""
    scratch = functions.constants("failure")["FAILURE_SCRATCH"]
    for turn in (1, 2):
        assert functions.run("run_drafts", functions.given())["began"] == _SLOTS
        assert functions.sum("failures", scratch) == functions.sum("produced", _ORDINARY) == turn


@pytest.mark.parametrize("length", [0, 1, _TEXT - 2, _TEXT - 1, _TEXT, 2 * _TEXT - 1])
def test_a_string_has_a_bound_and_says_what_was_cut(functions: Functions, length: int) -> None:
    """4,095 letters fit. One of just so many counts as cut too: it cannot be told from a longer one."""
    string = bytes(65 + place % 26 for place in range(length))
    call = functions.given()
    call["string"][:length] = list(string)
    found = functions.run("run_string", call)
    kept = string[: _TEXT - 1]
    assert found["text"][: found["length"]].tobytes() == kept and found["length"] == len(kept)
    assert found["cut"] == (length >= _TEXT - 1)


@pytest.mark.parametrize(("taken", "fits"), [(_RECORD - _TEXT, True), (_RECORD - _TEXT + 1, False), (_RECORD, False)])
def test_a_record_that_is_full_takes_no_string(functions: Functions, taken: int, fits: bool) -> None:
    """Where there is no room for the longest one it is not read, and that is counted."""
    call = functions.given()
    call["at"] = taken
    call["string"][:3] = list(b"abc")
    found = functions.run("run_string", call)
    assert (found["length"], found["cut"]) == ((3, 0) if fits else (_NOT_PLACED, 1))
    assert functions.sum("failures", functions.constants("failure")["FAILURE_TEXT_READ"]) == (not fits)
