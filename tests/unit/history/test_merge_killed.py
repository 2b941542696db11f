"""history/keep/compact.py: kills within the merges of each level, and a history of a version before on its way to few files."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from firsthand.history import place
from firsthand.history.keep import keeper as keeping
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogWriter
from firsthand.history.store import manifest, verify
from firsthand.history.store.connection import History
from tests import profile, samples

pytestmark = pytest.mark.landing("kills within each level of merging")

ROOT = Path(__file__).parents[3]
LIVES, ROUNDS = 5, 29
#: A keeper with levels that 29 small segments pass: 15 rows, 45, 135 (HEAVY), 405 (FULL), and a day that closes. It prints each
#: merge's level, when that begins; the first 20 rows is then not all.
WORK = """
import sys
from pathlib import Path
from firsthand.history.keep import compact, levels, merge
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogWriter, RingSpan
from tests import samples

levels.LEVELS, levels.HEAVY, levels.FULL, levels.MOST, merge._OUT = (40, 120), 120, 400, 8, 20
directory, first, rounds, day = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), [samples.START / 1e6]
merged = compact.Compaction._merged

def told(self, due):
    print("close" if not due.urgent else levels.level(due.parts[0].rows), flush=True)
    return merged(self, due)

compact.Compaction._merged = told
keeper = Keeper(directory, linger=0, many=3, now=lambda: day[0])
for number in range(first, first + rounds):
    with LogWriter(directory, "n", "b") as writer:
        writer.append([samples.process_lives(5, first=number * 5)], [RingSpan(0, 1, number, number + 1)])
    keeper.pass_once()
    keeper.tidy()
day[0] += 2 * 86400
keeper.tidy()
keeper.close()
"""
POINTS = [
    "merge.after_rows",
    "segment.after_rename",
    "merge.before_commit",
    "merge.after_commit",
    "merge.before_swap",
    "merge.after_swap",
]
#: Levels, and the first merge of each among the 14 that there are.
LEVELS = {"0": 1, "1": 4, "2": 13, "close": 14}
CASES = [(level, point) for level in LEVELS for point in POINTS]
#: Where not all cases run: each level, each point.
IN_TURN = [(list(LEVELS)[number % len(LEVELS)], point) for number, point in enumerate(POINTS)]


def work(directory: Path, first: int, rounds: int, point: str = "") -> tuple[int, list[str]]:
    """Rounds of work; the exit code and the levels of the merges that began."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "FIRSTHAND_FAULT": point, "FIRSTHAND_FAULT_ALLOWED": "1"}
    command = [sys.executable, "-c", WORK, str(directory), str(first), str(rounds)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode, done.stdout.split()


def chunks(directory: Path) -> tuple[list[int], list[int]]:
    """The numbers of the chunks that our reader has, and those that another engine has; each with all of its rows, once."""
    sql = "SELECT (exec_tgid - 1000) // 5 AS number, count(*), count(DISTINCT (exec_tgid, event)) FROM {} GROUP BY number ORDER BY number"
    history = History(directory)
    with history.connection() as db:
        ours = db.execute(sql.format("process")).fetchall()
    assert history.damage == []
    others = (
        duckdb.connect().execute(sql.format(f"read_parquet('{directory}/current/process/**/*.parquet')")).fetchall()
    )
    assert {(rows, each) for _, rows, each in [*ours, *others]} == {(15, 15)}
    return [row[0] for row in ours], [row[0] for row in others]


@pytest.mark.parametrize(("level", "point"), CASES if profile.name() == profile.ALL else IN_TURN)
def test_a_kill_within_each_level(tmp_path: Path, level: str, point: str) -> None:
    """Law: killed in a merge of any level, at any of its steps, every row is there once for our reader and for others, and the next
    keeper goes on to the same end."""
    code, begun = work(tmp_path, 0, ROUNDS, f"{point}:{_times(point, LEVELS[level])}")
    assert (code, begun[-1:]) == (-signal.SIGKILL, [level]), begun
    ours, others = chunks(tmp_path)
    assert ours == others == list(range(len(ours)))
    code, _ = work(tmp_path, len(ours), ROUNDS - len(ours))
    assert code == 0 and chunks(tmp_path) == (list(range(ROUNDS)),) * 2
    assert verify.verify(tmp_path).damage == []
    assert len(manifest.load(tmp_path).segments) <= 3, "rows that are FULL, and what the day left"


def _times(point: str, merge: int) -> int:
    """How often a point was reached when it is within the so-manyeth merge."""
    sizes = [45, 45, 45, 135] * 3
    sizes = [*sizes[:12], 405, 30]
    if point == "merge.after_rows":  # within: behind the first 20 rows
        return 1 + sum(-(-rows // 20) for rows in sizes[: merge - 1])
    if point == "segment.after_rename":  # those of first writings before it, and of this merge
        written = [3, 6, 9, 9, 12, 15, 18, 18, 21, 24, 27, 27, 27, ROUNDS]
        return written[merge - 1] + merge
    return merge


@pytest.fixture
def old(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A history of a version before: 3 closed days of 40 unsorted segments each, no table of what was merged; and its rows."""
    directory = tmp_path / "history"
    with LogWriter(directory, "n", "b") as writer, pytest.MonkeyPatch.context() as patch:
        patch.setattr("firsthand.history.store.segment.ordered", lambda rows: rows)
        keeper = Keeper(directory, linger=0, many=1000)
        for number in range(120):
            day = samples.START + number // 40 * 86_400_000_000
            writer.append([samples.process_lives(LIVES, first=number * LIVES, start=day)], [])
            keeper.pass_once()
        keeper.close()
    with sqlite3.connect(directory / place.MANIFEST) as db:
        db.execute("DROP TABLE gone")
    db.close()
    yield directory, 120 * LIVES * 3


def test_an_old_history_becomes_few_files(old: tuple[Path, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: it opens unchanged; merges go step by step within their part of a processor, and live rows are handed over between them;
    in the end a closed day has one segment a table, every row once, and `verify` finds it whole."""
    directory, rows = old
    with History(directory).connection() as db:
        assert db.execute("SELECT count(*) FROM process").fetchall() == [(rows,)]
    keeper = Keeper(directory, linger=0)
    monkeypatch.setattr(keeping, "LEISURE", 0.0)
    keeper.merge(5.0)
    assert len(manifest.load(directory).segments) == 120, "what can wait takes its part and no more"
    monkeypatch.setattr(keeping, "LEISURE", 0.1)
    counts = []
    with LogWriter(directory, "n", "b") as writer:
        while (not counts or counts[-1] > 3) and len(counts) < 300:
            before = time.process_time()
            keeper.merge(0.2)
            assert time.process_time() - before < 1, "one step is short"
            writer.append([samples.loss()], [])
            assert keeper.pass_once() == 1
            found = manifest.load(directory).segments
            counts.append(sum(one.table == "process" for one in found))
    assert counts[-1] == 3 and len(counts) > 3
    keeper.close()
    for one in found:
        if one.table == "process":
            assert pq.read_metadata(directory / "current" / one.path).num_rows == one.rows == rows // 3
    with History(directory).connection() as db:
        sql = "SELECT count(*), count(DISTINCT (exec_tgid, event)) FROM process"
        assert db.execute(sql).fetchall() == [(rows, rows)]
    assert verify.verify(directory).whole
