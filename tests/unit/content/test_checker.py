"""content/checker.py: rounds over real files and a real socket, and what is reported of them; the observer's end of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firsthand.content import checker
from firsthand.content.checker import Checker, CheckerOptions, Pace, Reports
from firsthand.content.compare import Comparer
from firsthand.observe.checks import Checks
from firsthand.schema.tables import TABLES
from tests import disks, require
from tests.disks import Disk


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    """One for the module."""
    require.loop_devices()
    with disks.disk(tmp_path_factory.mktemp("checker")) as one:
        yield one


class CheckerPair:
    """A checker of some files and the observer's end of its socket."""

    def __init__(self, *files: str) -> None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.stop, stopped = os.pipe()[::-1]
        self.checks = Checks(ours)
        self.line = Reports(its, [stopped])
        self.checker = Checker(CheckerOptions(10, (), files, default=False), self.line, Comparer(quiet=0.0))

    def round(self) -> list[dict[str, Any]]:
        """What is reported of one round."""
        self.checker.round()
        return self.checks.rows()


def _events(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["event"], row.get("state")) for row in rows]


def test_a_file_from_the_same_to_different_and_back(disk: Disk) -> None:
    """Law: a difference is one row while it stays as it is, another one where it changes, and `same` ends it; columns are the table's."""
    path = disk.file("one", os.urandom(9_000))
    path.read_bytes()
    pair = CheckerPair(str(path))
    assert _events(pair.round()) == [("listed", "checked"), ("round", None)]
    disk.change(path, 8_000, bytes([path.read_bytes()[8_000] ^ 1]))
    first = pair.round()
    assert _events(first) == [("differs", None), ("listed", "differs"), ("round", None)]
    assert first[0]["since"] <= first[2]["since"] <= first[0]["until"] <= first[2]["until"]
    assert (first[2]["checked"], first[2]["differing"], first[2]["unchecked"]) == (1, 1, 0)
    assert {name for row in first for name in row} <= set(TABLES["content"].names)
    assert _events(pair.round()) == [("round", None)]
    disk.change(path, 4_500, bytes([path.read_bytes()[4_500] ^ 1]))
    assert [row.get("bytes_differ") for row in pair.round()] == [2, None]
    disk.settle(path)
    assert _events(pair.round()) == [("same", None), ("listed", "checked"), ("round", None)]
    path.unlink()
    assert _events(pair.round()) == [("listed", "absent"), ("round", None)]


def test_what_is_not_checked_is_reported_with_its_reason(disk: Disk, tmp_path: Path) -> None:
    """Law: a file that is not compared has its reason, in its own row and in each round."""
    os.mkfifo(tmp_path / "fifo")
    pair = CheckerPair(str(tmp_path / "fifo"), str(tmp_path / "none"))
    rows = pair.round()
    assert _events(rows) == [("listed", "unchecked"), ("listed", "absent"), ("round", None)]
    assert rows[0]["reason"] == "it is no regular file"
    assert rows[2]["reasons"] == '{"it is no regular file": 1}' and rows[2]["unchecked"] == 1


def test_what_is_being_written_is_tried_again(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: it is unchecked where it is still being written at the last try, and no round is reported as if it had been compared."""
    monkeypatch.setattr(checker, "AGAIN", 0.0)
    path = disk.file("dirty", os.urandom(9_000))
    with path.open("r+b") as file:
        file.write(b"x")
        file.flush()
        pair = CheckerPair(str(path))
        rows = pair.round()
    assert _events(rows) == [("listed", "unchecked"), ("round", None)] and rows[1]["checked"] == 0
    disk.settle(path)
    assert _events(pair.round()) == [("listed", "checked"), ("round", None)]


def test_it_ends_when_it_is_to_or_nobody_hears_it(disk: Disk) -> None:
    """Law: the end of its observer and the word to end both end a round; then nothing is reported."""
    pair = CheckerPair(str(disk.place / "none"))
    pair.checks.close()
    pair.checker.run()
    assert pair.line.ended
    pair = CheckerPair(str(disk.place / "none"))
    os.write(pair.stop, b".")
    pair.checker.run()
    assert pair.line.ended and [row["event"] for row in pair.checks.rows()] in ([], ["listed"], ["listed", "round"])


def test_a_full_socket_makes_it_wait(disk: Disk) -> None:
    """Law: while the observer reads nothing the checker waits, and drops nothing."""
    pair = CheckerPair()
    os.write(pair.stop, b".")
    sent = 0
    while not pair.line.ended:
        pair.line.send({"event": "beat"})
        sent += 1
    assert sent > 10
    assert pair.checks.rows() == [] and pair.checks.heard


def test_its_share_is_bounded() -> None:
    """Law: after more than its share it rests for so long that the share is kept."""
    clock = {"used": 0.0, "now": 0.0}
    pace = Pace(0.0025, lambda: clock["used"], lambda: clock["now"])
    assert pace.due() == 0
    clock |= {"used": checker.BURST + 0.5, "now": 0.0}
    assert pace.due() == pytest.approx(0.5 / 0.0025)
    clock["now"] += 100
    assert pace.due() == pytest.approx(0.5 / 0.0025 - 100)
    clock["now"] += 100_000
    assert pace.due() == 0
    clock["used"] += checker.BURST + 0.1
    assert pace.due() == pytest.approx(0.1 / 0.0025), "a long rest saves no more than one burst"
