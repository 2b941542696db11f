"""history/fault.py: a kill inside every step that makes rows durable or moves them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from firsthand.history import fault
from firsthand.history.store import verify
from firsthand.history.store.connection import History
from tests import profile

ROOT = Path(__file__).parents[3]
#: A writer, a keeper and retention in one: each round a new log file, a pass, now and then a merge, and a removal of `loss`.
WORK = """
import os, sys
from pathlib import Path
from firsthand.history import place
from firsthand.history.keep import compact
from firsthand.history.store import segment
from firsthand.history.keep.keeper import Keeper
from firsthand.history.log.log import LogWriter, RingSpan
from tests import samples
directory, first, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

def retire(keeper):
    old, new = (segment.generation(directory, keeper.generation + more) for more in (0, 1))
    gone = [one.path for one in keeper.manifest.snapshot().segments if one.table == "loss"]
    if not gone or new.exists():
        return
    for one in keeper.manifest.snapshot().segments:
        if one.path not in gone:
            place.folder((new / one.path).parent)
            (new / one.path).hardlink_to(old / one.path)
    keeper.manifest.retire(keeper.generation + 1, gone, "test", 1)
    keeper.generation += 1
    place.point_current(directory, keeper.generation)

keeper = Keeper(directory, linger=0)
for number in range(first, first + rounds):
    with LogWriter(directory, "n", "b") as writer:
        writer.append([samples.process_lives(5, first=number * 5), samples.loss()], [RingSpan(0, 1, number, number + 1)])
    print(number, flush=True)
    keeper.pass_once()
    if number % 3 == 2:
        keeper.generation = compact.run(directory, keeper.manifest, keeper.generation, many=3)
    if number % 4 == 3:
        retire(keeper)
keeper.close()
"""


def numbers(directory: Path) -> list[int]:
    """The numbers of the chunks that a reader sees now; each must have all its rows, once, and nothing is told as damaged."""
    sql = """SELECT (exec_tgid - 1000) // 5 AS number, count(*), count(DISTINCT (exec_tgid, event)) FROM process
             GROUP BY number ORDER BY number"""
    history = History(directory)
    connection = history.connection()
    rows = connection.execute(sql).fetchall()
    assert connection.execute("SELECT cause, detail FROM loss WHERE cause LIKE '%damaged'").fetchall() == []
    assert history.damage == []
    assert {(whole, distinct) for _, whole, distinct in rows} <= {(15, 15)}
    return [row[0] for row in rows]


def work(directory: Path, first: int, rounds: int, point: str = "") -> tuple[int, list[int]]:
    """Rounds of work while a reader looks at every moment; the exit code and what was acknowledged."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "FIRSTHAND_FAULT": point, "FIRSTHAND_FAULT_ALLOWED": "1"}
    command = [sys.executable, "-c", WORK, str(directory), str(first), str(rounds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    acknowledged: list[int] = []
    hearing = threading.Thread(target=lambda: acknowledged.extend(map(int, process.stdout or ())))
    hearing.start()
    while process.poll() is None:
        look(directory, first + len(acknowledged))
    hearing.join()
    process.stdout.close()
    return process.returncode, acknowledged


def look(directory: Path, least: int) -> None:
    """A reader at this moment sees everything that was acknowledged before, and nothing twice."""
    if History(directory).exists:
        found = numbers(directory)
        assert found == list(range(len(found)))
        assert len(found) >= least


#: Each point, killed when it is reached first and when it is reached the third time; where not all cases run, in turn one of both.
CASES = [(point, times) for point in fault.POINTS for times in (1, 3)]
IN_TURN = [(point, (1, 3)[number % 2]) for number, point in enumerate(fault.POINTS)]


@pytest.mark.parametrize(
    ("point", "times"), profile.some(CASES if profile.name() == profile.ALL else IN_TURN, len(IN_TURN), quick=5)
)
def test_a_kill_at_every_point(tmp_path: Path, point: str, times: int) -> None:
    """Law: killed at any point, and begun again, every acknowledged row is there once; the chain holds, nothing is left over."""
    code, acknowledged = work(tmp_path, 0, 24, f"{point}:{times}")
    assert code == -signal.SIGKILL, "the point was not reached"
    found = numbers(tmp_path)
    assert found[: len(acknowledged)] == acknowledged
    assert len(found) <= len(acknowledged) + 1, "at most the one chunk that was being acknowledged"
    code, more = work(tmp_path, len(found), 4)
    assert (code, len(more)) == (0, 4)
    assert numbers(tmp_path) == [*found, *more]
    assert verify.verify(tmp_path).damage == []


def test_no_point_without_leave(tmp_path: Path) -> None:
    """Law: FIRSTHAND_FAULT alone kills nothing."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "FIRSTHAND_FAULT": fault.POINTS[0]}
    environment.pop("FIRSTHAND_FAULT_ALLOWED", None)
    command = [sys.executable, "-c", WORK, str(tmp_path), "0", "1"]
    assert subprocess.run(command, env=environment, check=False, capture_output=True).returncode == 0


def test_every_point_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: a point that is not in the list, and so not tested, cannot be reached."""
    monkeypatch.setenv("FIRSTHAND_FAULT_ALLOWED", "1")
    with pytest.raises(ValueError, match="list it"):
        fault.reached("nowhere")
