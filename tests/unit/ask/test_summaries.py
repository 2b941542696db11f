"""A question opens only the segments that it needs, and is answered as if it had opened all of them (law 12, and law 11 with it).

The world is that of test_proof_of_names.py, in many small segments: once with the names of its pods known when they were written, once
told later. Answers are compared with those of the same history without any summary, with damaged ones and with another segment's.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from firsthand.ask.answering import Request, answer
from firsthand.ask.registry import QUESTIONS
from firsthand.errors import UsageError
from firsthand.history import place
from firsthand.history.store.connection import History
from firsthand.history.store.mentions import Condition
from firsthand.history.store.relations import Relations
from tests import histories, profile, scenes
from tests.unit.ask import test_proof_of_names as world

_ROWS = 50


def _segments(directory: Path) -> None:
    histories.keep(directory, linger=0, max_rows=_ROWS)


def _write(directory: Path, *, late: bool) -> Path:
    """The world's history; `late`: its rows are in segments before anybody tells a name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "PER_CHUNK", _ROWS)
        world._write(directory)
    names = directory / place.NAMES
    if late:
        aside = names.rename(directory.with_name(f"{directory.name}-names"))
        _segments(directory)
        shutil.rmtree(names, ignore_errors=True)
        aside.rename(names)
    _segments(directory)
    return directory


@pytest.fixture(scope="module", params=[False, True], ids=["named", "named later"])
def history(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world in segments."""
    return _write(tmp_path_factory.mktemp("history") / "world", late=request.param)


@pytest.fixture(scope="module")
def whole(history: Path) -> dict[Request, Any]:
    """The answers where every segment is opened."""
    other = shutil.copytree(history, history.with_name("whole"), symlinks=True)
    _changed(other, "DELETE FROM summaries")
    return {request: _answered(other, request) for request in profile.some(list(_requests()), ci=32)}


def _changed(directory: Path, *statements: str) -> None:
    with sqlite3.connect(directory / place.MANIFEST) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


def _requests() -> Iterator[Request]:
    """Each question, by no filter or one, over all, the last minutes, or an hour that is long gone; and those that look something up."""
    end = world.NOW
    windows = [
        (None, None),
        (end - timedelta(minutes=10), end),
        (end - timedelta(days=2, hours=1), end - timedelta(days=1)),
    ]
    for number, (name, question) in enumerate(QUESTIONS.items()):
        arguments = world.ARGUMENTS.get(name, ("1f2e3d4c:1:1:1",) if name == "process" else ())
        for turn, kind in enumerate(random.Random(number).sample([None, *question.filters], 2)):
            since, until = windows[(number + turn) % len(windows)]
            given = world.FILTERS[kind][number % len(world.FILTERS[kind])][0] if kind else {}
            yield Request(name, arguments, since, until, **given)  # type: ignore[arg-type]
    for words in _LOOKUPS:
        yield Request(words[0], words[1:])


_LOOKUPS = [
    *[
        ("connected", one)
        for one in (world.BAD, "*.actorz.com", "203.0.113.77", "203.0.113.0/24", "never.example.org", "10.9.9.9")
    ],
    *[("timeline", one) for one in ("pod-3", "shop/pod-2", "host", "app", "100000000000", "old-1")],
    *[(name, "1f2e3d4c:1:5001000000000:1") for name in ("process", "timeline", "tree")],
    *[("processes", one) for one in ("exe=/usr/bin/app", "exe=/bin/none", "args~pod-1", "container~1", "exec_start>1")],
    *[("containers", "pod-1"), ("tree", "pod-4"), ("talkers", "process"), ("address", "10.244.2.13")],
]


def _answered(directory: Path, request: Request) -> Any:
    try:
        found = answer(History(directory), request, world.NOW).plain()
    except UsageError as error:
        return str(error)
    return found | {"rows": sorted(map(repr, found["rows"]))}  # what is equally near may come in any order


def test_answers_are_those_of_all_segments(history: Path, whole: dict[Request, Any]) -> None:
    """Law: every question, by every filter and look-up, is answered as if every segment had been opened."""
    for request, expected in whole.items():
        assert _answered(history, request) == expected, request
    assert sum(isinstance(one, dict) and bool(one["rows"]) for one in whole.values()) > len(whole) // 4


@pytest.mark.parametrize("how", ["flipped", "cut", "exchanged", "of no version", "page"])
def test_damaged_summaries_cost_time_and_no_rows(
    history: Path, whole: dict[Request, Any], how: str, tmp_path: Path
) -> None:
    """Law: whatever stands in the place of summaries, answers stay the same."""
    other = shutil.copytree(history, tmp_path / "other", symlinks=True)
    _damage(other, how)
    chance = random.Random(how)
    for request in chance.sample(list(whole), min(12, len(whole))):
        assert _answered(other, request) == whole[request], (how, request)


def _damage(directory: Path, how: str) -> None:
    if how == "flipped":
        with sqlite3.connect(directory / place.MANIFEST) as db:
            for name, path, data in db.execute("SELECT name, path, data FROM summaries").fetchall():
                at = random.Random(path).randrange(len(data))
                wrong = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
                db.execute("UPDATE summaries SET data = ? WHERE name = ? AND path = ?", (wrong, name, path))
        db.close()
    elif how == "cut":
        _changed(directory, "UPDATE summaries SET data = substr(data, 1, length(data) / 2)")
    elif how == "exchanged":
        _changed(
            directory,
            """UPDATE summaries SET data = (SELECT o.data FROM summaries o WHERE o.name = summaries.name
            AND o.path > summaries.path ORDER BY o.path LIMIT 1)""",
        )
    elif how == "of no version":
        _changed(directory, "UPDATE summaries SET data = 17")
    else:
        _changed(directory, "DROP TABLE summaries", "CREATE TABLE summaries (path INTEGER)")


def test_what_is_not_needed_is_not_opened(history: Path) -> None:
    """Law: a look-up by number or address, and a window of minutes, open few of the segments that there are."""
    with History(history).connection() as connection:
        relations = Relations(connection.duckdb, connection._view)
        number = len(relations.chosen("connection", Condition("any")))
        few = [
            Condition("=", "peer_address", ("203.0.113.66",)),
            Condition(">=", "time", (world.NOW.replace(tzinfo=None) - timedelta(minutes=10),)),
            Condition("=", "peer_address", ("192.0.2.1",)),
        ]
        assert number >= 6
        assert [len(relations.chosen("connection", one)) <= number // 2 for one in few] == [True] * 3, number
        assert not relations.chosen("connection", few[-1])
