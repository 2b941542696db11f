"""history/keep/scrub.py and aside.py: damage of old segments is found in time, at little cost, and then told by answers and by `verify`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from firsthand.ask.answering import Request, answer
from firsthand.history import place
from firsthand.history.keep import scrub as scrub_
from firsthand.history.keep import scrubbed
from firsthand.history.keep.keeper import Keeper
from firsthand.history.keep.scrub import CORE, Scrub
from firsthand.history.log.log import LogWriter, path_of
from firsthand.history.store import snapshot
from firsthand.history.store.connection import History
from firsthand.history.store.manifest import Manifest, Segment
from firsthand.history.store.verify import verify
from tests import histories, samples

LIVES = 200
HOUR, DAY = 3600.0, 86_400.0


class _Time:
    """A clock that a test moves, and the processor time that steps are told to have used."""

    def __init__(self) -> None:
        self.at = samples.START / 1e6 + 60
        self.used = 0.0

    def now(self) -> float:
        return self.at

    def processor(self) -> float:
        return self.used


def _filled(directory: Path, hours: int = 3) -> None:
    """So many segments of `process`, an hour of rows in each, and one observer over all."""
    with LogWriter(directory, samples.NODE, samples.BOOT) as log:
        log.append([samples.observed(until=samples.START + hours * 3_600_000_000)], [])
        for hour in range(hours):
            log.append([samples.process_lives(LIVES, start=samples.START + hour * 3_600_000_000)], [])
            _keep(directory)


def _keep(directory: Path) -> None:
    histories.keep(directory, linger=0)


@pytest.fixture
def clock() -> _Time:
    return _Time()


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Manifest]:
    _filled(tmp_path)
    book = Manifest(tmp_path)
    yield book
    book.close()


def _of(book: Manifest, table: str = "process") -> list[Segment]:
    return [one for one in book.snapshot().segments if one.table == table]


def _flip(directory: Path, one: Segment, at: int = 100) -> None:
    """One bit, as a disk loses it: the file's time stays."""
    path = (directory / place.CURRENT).resolve() / one.path
    told = path.stat()
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns))


def _scrub(directory: Path, book: Manifest, clock: _Time, days: float = 7) -> Scrub:
    return Scrub(directory, book, days, clock.now, clock.now, clock.processor)


def _round(directory: Path, book: Manifest, clock: _Time) -> None:
    """A whole round, as far as time is concerned."""
    scrub = _scrub(directory, book, clock)
    for _ in range(9):
        scrub.step()
        clock.at += DAY
    scrub.close()


def _asked(directory: Path, since: float, until: float) -> tuple[bool, int, list[str]]:
    """Of processes within hours of the history: whether the answer is complete, events lost, reasons."""
    begin = datetime.fromtimestamp(samples.START / 1e6, UTC)
    request = Request("processes", since=begin + timedelta(hours=since), until=begin + timedelta(hours=until))
    history = History(directory, check=0)  # as where all of it lies beyond what a reader checks
    judged = answer(history, request, begin + timedelta(days=1)).completeness
    return judged.complete, judged.events_lost, judged.reasons


def test_an_old_segment_with_a_bit_flipped(tmp_path: Path, book: Manifest, clock: _Time) -> None:
    """Law: after a round its rows are missing with their number and their time, in answers about that time and in `verify`; other
    times are as whole as before, the file is kept, and nobody reads it."""
    _flip(tmp_path, _of(book)[1])
    assert _asked(tmp_path, 1.01, 1.05)[0], "beyond what readers check nothing is known of it yet"
    _round(tmp_path, book, clock)
    complete, lost, reasons = _asked(tmp_path, 1, 1.05)
    assert (complete, lost) == (False, 3 * LIVES)
    assert any(
        f"{3 * LIVES} events or values lost between 2026-03-01T13:00:00.000Z and 2026-03-01T13:00:00.599Z" in one
        for one in reasons
    )
    assert _asked(tmp_path, 2, 2.05)[0] and _asked(tmp_path, 0.01, 0.05)[0]
    (said,) = verify(tmp_path).damage
    assert f"{3 * LIVES} rows of process from 2026-03-01T13:00:00Z" in said and "segment_damaged" in said
    assert [path.name.split("-")[0] for path in (tmp_path / place.DAMAGED).iterdir()] == ["process"]
    with History(tmp_path).connection() as connection:
        assert connection.execute("SELECT count(*) FROM process").fetchone() == (2 * 3 * LIVES,)


def test_a_segment_of_losses_with_a_bit_flipped(tmp_path: Path, clock: _Time) -> None:
    """Law: what it told may be of any table and of any time before it."""
    histories.write(tmp_path, samples.observed(), samples.process_lives(3), samples.loss(at=samples.START + 30_000_000))
    _keep(tmp_path)
    book = Manifest(tmp_path)
    _flip(tmp_path, _of(book, "loss")[0])
    _round(tmp_path, book, clock)
    book.close()
    complete, _, reasons = _asked(tmp_path, 0.001, 0.002)
    assert not complete and "an unknown number of rows lost at an unknown moment before" in reasons[0]
    assert any("an unknown number of rows of any table" in what for what in verify(tmp_path).damage)


def test_a_merge_sets_damage_aside(tmp_path: Path) -> None:
    """Law: a segment with a bit flipped is not merged, which would give it a hash that holds, and is told at once."""
    keeper = Keeper(tmp_path, linger=0, many=3)
    with LogWriter(tmp_path, samples.NODE, samples.BOOT) as log:
        log.append([samples.observed(until=samples.START + 3_600_000_000)], [])
        for number in range(4):
            log.append([samples.process_lives(2, start=samples.START + number * 60_000_000, first=2 * number)], [])
            keeper.pass_once(last=True)
    _flip(tmp_path, _of(keeper.manifest)[1])
    keeper.tidy()
    keeper.close()
    complete, lost, _ = _asked(tmp_path, 0, 0.9)
    assert (complete, lost) == (False, 6)
    assert [line.partition(" from ")[0] for line in verify(tmp_path).damage] == ["lost before: 6 rows of process"]
    with History(tmp_path).connection() as connection:
        assert connection.execute("SELECT count(*) FROM process").fetchone() == (18,)


def test_a_missing_segment_and_one_that_was_written_are_found_at_once(
    tmp_path: Path, book: Manifest, clock: _Time
) -> None:
    """Law: size and time of every file are looked at each hour; a reader holds one that was written since against its hash."""
    gone, changed, _ = _of(book)
    root = (tmp_path / place.CURRENT).resolve()
    (root / gone.path).unlink()
    data = bytearray((root / changed.path).read_bytes())
    data[100] ^= 1
    (root / changed.path).write_bytes(data)
    os.utime(root / changed.path, ns=(1, 1))
    view = snapshot.take(tmp_path, 0)
    assert len(view.segments("process")) == 1 and len(view.damage) == 2
    assert all(f"it had {3 * LIVES} rows from 2026-03-01T1" in what for what in view.damage)
    _scrub(tmp_path, book, clock).step()
    assert len(_of(book)) == 1 and len(verify(tmp_path).damage) == 2
    assert _asked(tmp_path, 0, 2)[1] == 2 * 3 * LIVES


def test_a_round_goes_on_after_a_restart(tmp_path: Path, book: Manifest, clock: _Time) -> None:
    """Law: at a steady rate over the days, each segment once a round, whoever reads them; then the next round."""
    read: list[str] = []

    class Told(Scrub):
        def _finish(self, one: Segment, damage: str | None, crc: int | None = None) -> None:
            read.append(one.path)
            super()._finish(one, damage, crc)

    paths = [one.path for one in book.snapshot().segments]
    begun = clock.at
    while len(read) < len(paths):
        scrub = Told(tmp_path, book, 7, clock.now, clock.now, clock.processor)
        clock.at += 7 * HOUR
        scrub.step()
        scrub.close()
        assert len(read) <= (clock.at - begun) / (7 * DAY) * len(paths) * 2 + 1, "all at once"
        assert clock.at - begun <= 8 * DAY
    assert read == paths
    told = scrubbed.plain(tmp_path, 7, str)
    assert told is not None and told["done_bytes"] == told["bytes"] == sum(
        one.bytes for one in book.snapshot().segments
    )
    clock.at += 8 * DAY
    scrub.step()
    assert read[len(paths) :] == paths[:1]


def test_it_takes_no_more_than_its_part_of_a_processor(
    tmp_path: Path, book: Manifest, clock: _Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law: where reading is dear it stops when its part is used, and goes on with the next step; a pause saves up a quarter
    of an hour at most, and one step uses what a minute gives."""

    class Dear(Scrub):
        def _go_on(self) -> None:
            clock.used += 0.07
            super()._go_on()

    monkeypatch.setattr(scrub_, "BLOCK", 300)
    (tmp_path / scrubbed.FILE).write_text(json.dumps({"began": clock.at - 20 * DAY, "bytes": book.bytes()}))
    scrub = Dear(tmp_path, book, 7, clock.now, clock.now, clock.processor)
    clock.at += 30 * DAY
    steps = []
    for _ in range(60):
        before = clock.used
        scrub.step()
        steps.append(clock.used - before)
        clock.at += 30
    assert max(steps) < CORE * 60 + 0.07 and sum(steps) < CORE * (900 + len(steps) * 30) + 0.07
    assert min(steps) >= 0.07 - 1e-9, "it did not get on"


def test_a_history_of_before_migrates(tmp_path: Path, book: Manifest, clock: _Time) -> None:
    """Law: what was written before the manifest kept runs, rounds, times and checksums gets them as it is read again."""
    before = book.snapshot().segments
    book._put([replace(one, runs=None, rounds=None, written=None, crc=None) for one in before])
    _round(tmp_path, book, clock)
    assert book.snapshot().segments == before
    assert verify(tmp_path).whole


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"began": "x"}', '{"began": 1e30, "path": 5}', "\x00"])
def test_progress_that_is_none(tmp_path: Path, book: Manifest, clock: _Time, text: str) -> None:
    """Law: the round begins anew."""
    (tmp_path / scrubbed.FILE).write_text(text)
    _round(tmp_path, book, clock)
    told = scrubbed.load(tmp_path)
    assert told is not None and told.finished


def test_a_chunk_with_a_bit_flipped(tmp_path: Path) -> None:
    """Law: its rows are missing with their number by table where header and Arrow messages say the same; `verify` says it too."""
    with LogWriter(tmp_path, samples.NODE, samples.BOOT) as log:
        log.append([samples.observed(until=samples.START + 3_600_000_000)], [])
        log.append([samples.process_lives(LIVES)], [])
        begin = log.append([samples.process_lives(14, first=LIVES), samples.loss()], [])
        log.append([samples.process_lives(LIVES, first=LIVES + 14)], [])
    path = path_of(tmp_path, begin.file)
    data = bytearray(path.read_bytes())
    data[begin.offset - 9] ^= 1
    path.write_bytes(data)
    _keep(tmp_path)
    with History(tmp_path).connection() as connection:
        told = connection.execute(
            "SELECT table_name, events FROM loss WHERE cause = 'log_damaged' ORDER BY ALL"
        ).fetchall()
        ((rows,),) = connection.execute("SELECT count(*) FROM process").fetchall()
    assert told == [("process", 42), (None, 1)] and rows == 2 * 3 * LIVES
    assert ["42 rows of process" in what or "1 row of any table" in what for what in verify(tmp_path).damage] == [
        True,
        True,
    ]
