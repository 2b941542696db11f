"""ask/lineage.py: the processes behind a process."""

from __future__ import annotations

from pathlib import Path

import pytest

from firsthand.ask import lineage
from tests.asking import ask
from tests.scenes import Scene

DEEP = 12


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain of programs, each the parent of the next, the last of which connects; half of it in segments."""
    folder = tmp_path_factory.mktemp("history")
    first, then = Scene(), Scene()
    first.observed(-1, 600)
    pod = first.pod("web-1", "10.244.0.6", 0)
    process = None
    for number in range(DEEP):
        process = (first if number < DEEP // 2 else then).process(
            pod, f"/bin/{number}", ["x"], 1.0 + number, parent=process
        )
    assert process is not None
    then.connect(process, "203.0.113.66", 443, 100.0)
    first.write(folder, kept=True)
    return then.write(folder)


def test_at_once_and_level_by_level_are_the_same(history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: how many rows are held decides the statements, and not what is found."""
    told = []
    for few in (lineage.FEW, 0):
        monkeypatch.setattr(lineage, "FEW", few)
        told.append(ask(history, "connected", "203.0.113.66", "--tree")["rows"])
    assert told[0] == told[1] and len(told[0][0]["lineage"]) == DEEP - 1
