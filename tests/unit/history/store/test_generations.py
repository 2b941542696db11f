"""history/store/generations.py: what is in force leaves by a new folder, and the old one has its time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from firsthand.history import place
from firsthand.history.store import generations, segment


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """Generation 1 with two segments of two tables, in force."""
    folder = generations.begin(tmp_path, 1)
    for name in ("process/date=2026-05-01/a.parquet", "loss/date=2026-05-01/b.parquet"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(name)
    place.point_current(tmp_path, 1)
    return folder


def _there(history: Path) -> list[str]:
    return sorted(path.name for path in (history / place.GENERATIONS).iterdir() if path.name.isdigit())


def test_a_new_one_has_the_chosen_segments_themselves(tmp_path: Path, first: Path) -> None:
    """Hard links: no bytes are copied, and what is not chosen stays behind."""
    new = generations.begin(tmp_path, 2)
    generations.link(first, new, {"process/date=2026-05-01/a.parquet", "process/date=2026-05-02/gone.parquet"})
    assert (new / "process/date=2026-05-01/a.parquet").stat().st_ino == (
        first / "process/date=2026-05-01/a.parquet"
    ).stat().st_ino
    assert not (new / "loss").exists(), (
        "a segment that is gone is not an error, and one that was not chosen is not there"
    )


def test_a_beginning_that_died_is_begun_anew(tmp_path: Path, first: Path) -> None:
    """What it had linked is not part of the next try."""
    half = generations.begin(tmp_path, 2)
    (half / "left").write_text("half")
    assert list(generations.begin(tmp_path, 2).iterdir()) == []


def test_who_reads_the_old_one_has_time(tmp_path: Path, first: Path) -> None:
    """`current` points to the new one at once; the old one goes when it has been out of use for so long."""
    generations.begin(tmp_path, 2)
    generations.done(tmp_path, 1, now=1000.0)
    assert (tmp_path / "current").resolve() == segment.generation(tmp_path, 2)
    generations.remove_old(tmp_path, 2, keep=600, now=1599.0)
    assert _there(tmp_path) == ["1", "2"]
    generations.remove_old(tmp_path, 2, keep=600, now=1600.0)
    assert _there(tmp_path) == ["2"]
    assert not list((tmp_path / place.GENERATIONS).glob(".retired*"))


def test_a_crash_between_the_commit_and_the_mark(tmp_path: Path, first: Path) -> None:
    """Its time begins when that is seen."""
    generations.begin(tmp_path, 2)
    for now, there in ((5000.0, ["1", "2"]), (5599.0, ["1", "2"]), (5600.0, ["2"])):
        generations.remove_old(tmp_path, 2, keep=600, now=now)
        assert _there(tmp_path) == there, now


def test_a_clock_that_was_set_back(tmp_path: Path, first: Path) -> None:
    """A mark of the future would keep it for ever: its time begins anew."""
    generations.begin(tmp_path, 2)
    generations.done(tmp_path, 1, now=10_000.0)
    generations.remove_old(tmp_path, 2, keep=600, now=1000.0)
    generations.remove_old(tmp_path, 2, keep=600, now=1600.0)
    assert _there(tmp_path) == ["2"]


def test_what_is_in_force_or_no_generation_stays(tmp_path: Path, first: Path) -> None:
    """Whatever its age; the one that is being built, and files of others, too."""
    generations.begin(tmp_path, 2)
    other = tmp_path / place.GENERATIONS / "notes"
    other.mkdir()
    os.utime(first, (0, 0))
    generations.remove_old(tmp_path, 1, keep=0, now=10**9)
    assert _there(tmp_path) == ["1", "2"] and other.exists()
