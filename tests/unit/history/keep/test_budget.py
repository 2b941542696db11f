"""history/keep/budget.py: who has to give what, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from firsthand.history.keep.budget import DAY, LOW, PART, Piece, fair, plan
from firsthand.history.store.share import BULK, NAMES, PROTECTED, RECORD, Share
from firsthand.settings.sections.retention import Limit, Limits

NOW = 400 * DAY
LIMITS = Limits(days=30, bytes=1000, free=0, protected_days=90)
SIZES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 10_000), min_size=1)


def piece(age: float, size: int = 100, namespace: str = "a", kind: str = BULK, held: int = 0) -> Piece:
    """Ten rows within an hour, `age` days old."""
    last = NOW - int(age * DAY)
    return Piece(
        f"{namespace}{kind}{age}", "process", "", Share(namespace, kind, 10, last - DAY // 24, last), size, held
    )


def gone(pieces: list[Piece], limits: Limits = LIMITS, goal: int = 1 << 40) -> dict[str, str]:
    return {cut.piece.path: cut.reason for cut in plan(pieces, limits, NOW, goal)}


@given(SIZES, st.integers(0, 30_000))
def test_fair_is_max_min(wanted: dict[str, int], most: int) -> None:
    """Law: nobody has more than it wants, all have no more than there is; who has less than it wants has as much as any other,
    and nothing is left over then."""
    given_ = fair(wanted, most, {})
    assert all(given_[name] <= want for name, want in wanted.items()) and sum(given_.values()) <= most
    short = [name for name, want in wanted.items() if given_[name] < want]
    for name in short:
        assert given_[name] >= max(given_.values()) - len(wanted)
    assert not short or sum(given_.values()) >= most - len(wanted)


@given(SIZES, SIZES, st.integers(0, 30_000))
def test_what_is_given_is_had(wanted: dict[str, int], fixed: dict[str, int], most: int) -> None:
    """Law: a fixed namespace has what it is given, as far as it wants it and there is as much."""
    may = fair(wanted, most, fixed)
    reserved = {name: min(want, fixed[name]) for name, want in wanted.items() if name in fixed}
    if sum(reserved.values()) <= most:
        assert reserved.items() <= may.items()
    assert sum(may.values()) <= most


def test_age() -> None:
    """Law: bulk rows go after their days, protected ones after theirs; a namespace may have days of its own; a row without a time
    stays."""
    old = piece(31)
    timeless = replace(old, path="timeless", share=Share("a", BULK, 1, 0, 0))
    pieces = [piece(29), old, piece(31, kind=PROTECTED), piece(91, kind=PROTECTED), timeless, piece(31, namespace="b")]
    assert gone(pieces) == {
        "abulk31": "older than 30 days",
        "aprotected91": "older than 90 days",
        "bbulk31": "older than 30 days",
    }
    kept = gone(pieces, structs.replace(LIMITS, namespaces={"a": Limit(days=100), "b": Limit(days=5)}))
    assert kept == {"bbulk31": "older than 5 days"}


def test_a_flood_shortens_its_own_history() -> None:
    """Law: over the goal the namespace with most loses its oldest pieces; one below its share loses nothing."""
    pieces = [piece(day, 100, "noisy") for day in range(1, 20)] + [piece(day, 10, "quiet") for day in range(1, 29)]
    found = gone(pieces, goal=1000)
    left = [one for one in pieces if one.path not in found]
    assert {one.share.namespace for one in pieces if one.path in found} == {"noisy"}
    assert sum(one.bytes for one in left) <= 1000 * LOW
    assert [one.path for one in left if one.share.namespace == "noisy"] == [f"noisybulk{day}" for day in range(1, 7)]


def test_a_namespace_over_what_it_was_given() -> None:
    """Law: a fixed budget holds though there is room, and takes bulk rows before protected ones."""
    limits = structs.replace(LIMITS, namespaces={"a": Limit(bytes=300)})
    pieces = [piece(day) for day in (1, 2, 3)] + [piece(9, kind=PROTECTED), piece(1, 500, "b")]
    assert list(gone(pieces, limits)) == ["abulk3", "abulk2"]


def test_protected_rows_have_a_part_of_their_own() -> None:
    """Law: protected rows do not go for bulk rows' sake, nor take more than their part."""
    pieces = [piece(day, 100) for day in range(1, 11)] + [piece(day, 100, kind=PROTECTED) for day in range(40, 60)]
    found = gone(pieces, goal=2000)
    protected = [one for one in pieces if one.share.kind == PROTECTED and one.path not in found]
    assert 0 < sum(one.bytes for one in protected) <= 2000 * LOW / PART
    assert [one.share.last for one in protected] == sorted((one.share.last for one in protected), reverse=True)
    few = [*pieces[:10], piece(40, 100, kind=PROTECTED)]
    assert all("protected" not in path for path in gone(few, goal=500))


def test_holds_are_left() -> None:
    """Law: held rows do not go; what goes instead is what is not held."""
    pieces = [piece(day, 100, held=10 if day > 5 else 0) for day in range(1, 11)]
    assert list(gone(pieces, goal=800)) == ["abulk5", "abulk4", "abulk3"]
    assert gone([piece(99, held=10)]) == {} and list(gone([piece(99, held=9)])) == ["abulk99"]


@pytest.mark.parametrize("kind", [NAMES, RECORD])
def test_names_and_the_record_stay_with_what_they_speak_of(kind: str) -> None:
    """Law: they stay as long as any row of their day or an earlier one, and go when nothing of that time is left."""
    about = [piece(day, kind=kind) for day in (20, 50, 70)]
    assert gone([*about, piece(60, kind=PROTECTED)]) == {f"a{kind}70": "older than all that is held"}
    assert list(gone([*about, piece(60)])) == ["abulk60", f"a{kind}50", f"a{kind}70"]
    assert list(gone(about)) == [f"a{kind}50", f"a{kind}70"]


def test_names_are_bounded_too() -> None:
    """Law: names of one namespace that fill the disk go, the record never does for want of bytes."""
    pieces = [piece(day, 100, kind=NAMES) for day in range(1, 20)] + [
        piece(day, 100, kind=RECORD) for day in range(1, 4)
    ]
    found = gone(pieces, goal=1000)
    assert found and all("names" in path for path in found)
    assert sum(one.bytes for one in pieces if one.path not in found) <= 1000
