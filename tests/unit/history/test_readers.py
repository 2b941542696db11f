"""Ten readers at once, while the keeper writes and merges: no error, and no row twice or missing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogWriter
from firsthand.history.store.connection import History
from tests import samples

READERS, PASSES, LIVES = 10, 8, 40
_STEP = 60_000_000


class _Recorded:
    """How many rows were begun to be appended, and how many are durable."""

    begun = durable = 0


@pytest.mark.landing("ten readers")
def test_ten_readers_while_segments_are_merged(tmp_path: Path) -> None:
    """Law: whatever the keeper does meanwhile, a count is no less than what was durable before it was asked for, no more than what was
    appended by its answer, and no row stands twice."""
    recorded, over = _Recorded(), threading.Event()
    problems: list[str] = []
    asked = [0] * READERS
    keeper = Keeper(tmp_path, many=2, grace=0)
    with LogWriter(tmp_path, "n", "b") as writer:
        _append(writer, recorded, 0)
        threads = [
            threading.Thread(target=_read, args=(tmp_path, recorded, over, problems, asked, i)) for i in range(READERS)
        ]
        for thread in threads:
            thread.start()
        for number in range(1, PASSES):
            _append(writer, recorded, number)
            keeper.pass_once()
            keeper.tidy()
        over.set()
        for thread in threads:
            thread.join()
    keeper.close()
    assert not problems
    assert min(asked) > 0
    assert _counted(tmp_path) == (recorded.durable, recorded.durable)


def _append(writer: LogWriter, recorded: _Recorded, number: int) -> None:
    batch = samples.process_lives(LIVES, start=samples.START + number * _STEP)
    recorded.begun += batch.length
    writer.append([batch], [])
    recorded.durable += batch.length


def _read(
    directory: Path, recorded: _Recorded, over: threading.Event, problems: list[str], asked: list[int], mine: int
) -> None:
    while not problems:
        last, least = over.is_set(), recorded.durable
        try:
            rows, different = _counted(directory)
        except Exception as error:  # whatever it is, it is one too many
            problems.append(repr(error))
            return
        if not least <= rows <= recorded.begun or rows != different:
            problems.append(f"{rows} rows, {different} different ones; {least} to {recorded.begun} were recorded")
        asked[mine] += 1
        if last:
            return


def _counted(directory: Path) -> tuple[int, int]:
    """The rows of `process`, and how many of them differ."""
    with History(directory).connection() as connection:
        query = "SELECT count(*), count(DISTINCT (event, exec_tgid, exec_start, exec_number, time)) FROM process"
        ((rows, different),) = connection.execute(query).fetchall()
    return rows, different
