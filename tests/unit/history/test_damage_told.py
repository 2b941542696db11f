"""A bit flipped anywhere in segments or log: after the keeper and a round of the scrub, answers and `verify` agree on what is missing."""

from __future__ import annotations

import os
import random
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from firsthand.ask.answering import Request, answer
from firsthand.history import place
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogWriter
from firsthand.history.store.connection import History
from firsthand.history.store.verify import verify
from tests import profile, samples

HOURS, LIVES = 4, 60
HOUR = 3_600_000_000
BEGIN = datetime.fromtimestamp(samples.START / 1e6, UTC)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hours in segments of their own, the last one in the log; each chunk written as its last row had happened."""
    directory = tmp_path_factory.mktemp("whole") / "history"
    moment = [samples.START]
    with pytest.MonkeyPatch.context() as patch, LogWriter(directory, samples.NODE, samples.BOOT) as log:
        patch.setattr(time, "time_ns", lambda: moment[0] * 1000)
        log.append([samples.observed(until=samples.START + HOURS * HOUR)], [])
        for hour in range(HOURS):
            for part in range(3):
                start = samples.START + hour * HOUR + part * HOUR // 8
                moment[0] = start + (hour * 3 + part + 1) * LIVES * 3 * samples.STEP
                log.append([samples.process_lives(LIVES, start=start, first=(hour * 3 + part) * LIVES)], [])
            if hour < HOURS - 1:
                _keep(directory, 0)
    return directory


def _keep(directory: Path, days: float) -> None:
    """A keeper's pass; and a round of the scrub where it has `days`, by a clock that goes on by a day at each look."""
    at = [samples.START / 1e6 + 5 * 3600]
    keeper = Keeper(directory, linger=0, now=lambda: at[0], scrub_days=days or None)
    keeper.pass_once(last=True)
    for _ in range(10 if days else 0):
        at[0] += 86_400
        keeper.scrub()
    keeper.close()


def _said(directory: Path, hour: int) -> tuple[int, bool, int]:
    """Of an hour: processes, whether all is there, how many rows are missing."""
    window = {"since": BEGIN + timedelta(hours=hour), "until": BEGIN + timedelta(hours=hour, minutes=50)}
    found = answer(
        History(directory, check=0), Request("processes", limit=10_000, **window), BEGIN + timedelta(hours=6)
    )
    return found.found.total, found.completeness.complete, found.completeness.events_lost


@pytest.mark.parametrize("seed", profile.some(list(range(24)), ci=8, quick=3))
def test_what_is_missing_is_told(whole: Path, tmp_path: Path, seed: int) -> None:
    """Law: an answer that is complete has all that was written; `verify` is whole where all answers are; and where a segment or a chunk of
    processes is damaged, the number of lost rows is that of what is missing."""
    chance, directory = random.Random(seed), tmp_path / "history"
    shutil.copytree(whole, directory, symlinks=True)
    assert [_said(directory, hour) for hour in range(HOURS)] == [(3 * LIVES, True, 0)] * HOURS
    _flip(_file(directory, chance), chance)
    _keep(directory, 7)
    told = [_said(directory, hour) for hour in range(HOURS)]
    assert all(total == 3 * LIVES for total, complete, _ in told if complete), told
    assert verify(directory).whole == all(complete for _, complete, _ in told), (told, verify(directory).damage)
    for total, _, lost in told:
        assert lost in (0, 3 * (3 * LIVES - total)), told


def _file(directory: Path, chance: random.Random) -> Path:
    """A segment of processes, or the log's file that is not handed over."""
    segments = sorted(directory.resolve().glob(f"{place.GENERATIONS}/1/process/*/*.parquet"))
    return chance.choice([*segments, max((directory / place.LOG).glob("*.log"))])


def _flip(path: Path, chance: random.Random) -> None:
    """As a disk loses it: the time of the file stays. Of the log in the part that is not handed over."""
    told, data = path.stat(), bytearray(path.read_bytes())
    at = chance.randrange(len(data) * 4 // 5 if path.suffix == ".log" else 0, len(data))
    data[at] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    os.utime(path, ns=(told.st_atime_ns, told.st_mtime_ns))
