"""A question that a subject declares as data: the rows of a table, in their order."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from firsthand.ask import answering, listing
from firsthand.ask.answer import Answer, Request
from firsthand.history.store.connection import History
from firsthand.subjects.declare import Listing
from tests.scenes import Scene

_ENDS = Listing("ended", "processes that ended", "process", "process", ("exit_code",), "processes", ("exit",))


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pods in which a program runs and ends."""
    scene = Scene()
    scene.observed(-1, 60)
    for name, address in (("job", "10.244.0.1"), ("other", "10.244.0.2")):
        process = scene.process(scene.pod(name, address, 0), "/usr/bin/curl", ["https://bad.example"], 10.0)
        scene.exit(process, 11.0)
    return scene.write(tmp_path_factory.mktemp("history"), kept=True)


def _ask(history: Path, one: Listing, *arguments: str, limit: int = 10) -> Answer:
    request = Request(one.name, arguments, limit=limit)
    with History(history).connection() as connection:
        return answering.from_connection(connection, request, datetime.now(UTC), question=listing.question(one))


def test_it_tells_the_rows_and_how_many_there_are(history: Path) -> None:
    """Law: the number is of all rows, whatever the limit; only the declared kinds count; the first columns say whose they are."""
    answer = _ask(history, _ENDS, limit=1)
    assert answer.sentence == "Yes: 2 processes" and answer.found.total == 2 and len(answer.found.rows) == 1
    assert answer.found.columns[:3] == ["time", "event", "pod"] and answer.found.columns[-1] == "exit_code"
    assert answer.found.rows[0]["event"] == "exit"


def test_it_is_narrowed_to_a_pod(history: Path) -> None:
    """And one that the history has never seen is an error, not a `No`."""
    answer = _ask(history, _ENDS, "job")
    assert answer.sentence == "Yes: 1 process of job" and {row["pod"] for row in answer.found.rows} == {"job"}


def test_none_is_no(history: Path) -> None:
    """In the noun's plural."""
    assert (
        _ask(history, Listing("left", "", "process", "process", (), "processes", ("left",))).sentence
        == "No: 0 processes"
    )
