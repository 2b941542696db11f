"""Equal short processes in one row are evidence: they count for what they stand for, in each window that they reach into."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from firsthand.ask import completeness
from firsthand.ask.answer import Asked, Window
from firsthand.ask.questions import privileged, processes, timeline, tree, unknown
from firsthand.history.log.log import LogWriter
from firsthand.history.store.connection import History, LazyConnection
from firsthand.wire.batch import Batch
from tests import histories, samples

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
FOLDING = {"folding": {"most_ms": 1000, "every_seconds": 60}}
ORDINARY = 0xA80425FB
BOX = "c" * 64


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def _observer(event: str, seconds: float, settings: dict[str, Any] = FOLDING) -> dict[str, Any]:
    given = {"node": "n", "boot": "b", "recorded": int(seconds), "hooks": "{}", "settings": json.dumps(settings)}
    return samples.observer(event, _at(seconds), **given)


def _process(event: str, tgid: int, seconds: float, **more: Any) -> dict[str, Any]:
    row = {
        "event": event,
        "node": "n",
        "boot": "f00dcafe-0000",
        "exec_tgid": tgid,
        "exec_start": tgid,
        "exec_number": 2,
    }
    row |= {"parent_tgid": 5, "parent_start": 5, "parent_number": 2, "pid": tgid, "container": BOX, "flags": 0}
    row |= {"cap_permitted": ORDINARY | 1 << 21, "cap_effective": 0, "cap_bounding": ORDINARY | 1 << 21}
    return row | {"time": _at(seconds), "ktime": int(seconds * 1e9)} | more


def _folded(tgid: int, seconds: float, until: float, count: int) -> dict[str, Any]:
    row = _process("folded", tgid, seconds, exe="/bin/probe", args=["probe", "-q"], exit_code=3, duration=4_000_000)
    return row | {"folded_count": count, "folded_until": _at(until), "folded_last": int(until * 1e9)}


ROWS = [
    _process("exec", 5, 10, exe="/bin/sh", args=["sh"], parent_tgid=1),
    _process("exec", 6, 20, exe="/bin/probe", args=["probe", "-q"]),
    _folded(7, 100, 159, 240),
    _folded(8, 160, 219, 10),
]
SESSION = [_observer("start", 0), _observer("ready", 1), _observer("stop", 400)]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    histories.write(tmp_path, Batch.from_rows("observer", SESSION), Batch.from_rows("process", ROWS))
    with History(tmp_path).connection() as found:
        yield found


def _asked(connection: duckdb.DuckDBPyConnection, since: float, until: float, *arguments: str) -> Asked:
    reach = completeness.reach(completeness.spans(connection, _at(400)))
    window = Window(_at(since), _at(until))
    return Asked(connection, window, list(arguments), ordinary=ORDINARY, session=_at(since), folds=reach)


def _judge(connection: duckdb.DuckDBPyConnection, since: float, until: float) -> completeness.Completeness:
    spans = completeness.spans(connection, _at(400))
    return completeness.judge(connection, spans, Window(_at(since), _at(until)), ("process",), {})


def test_they_count_as_many(connection: duckdb.DuckDBPyConnection) -> None:
    """`processes` counts what a row stands for, and shows it."""
    found = processes.processes(_asked(connection, 2, 399))
    assert found.sentence == "Yes: 252 of 252 program images match, 250 of them folded into 2"
    assert [row["folded"] for row in found.rows] == [None, None, "x 240 until 12:02:39.000", "x 10 until 12:03:39.000"]
    assert found.total == 4 and found.columns[-1] == "folded"


def test_without_any_nothing_is_said(connection: duckdb.DuckDBPyConnection) -> None:
    """Where none is among the rows, the answer is as ever."""
    found = processes.processes(_asked(connection, 2, 99))
    assert found.sentence == "Yes: 2 of 2 program images match" and "folded" not in found.columns


@pytest.mark.parametrize(
    ("since", "until", "number"), [(150, 155, 240), (158, 170, 250), (219.5, 300, 0), (90, 100, 240)]
)
def test_a_row_that_reaches_into_the_window_is_in_it(
    connection: duckdb.DuckDBPyConnection, since: float, until: float, number: int
) -> None:
    """Begun before the window, still counting in it: found, and judged."""
    found = processes.processes(_asked(connection, since, until, "exe=/bin/probe"))
    assert found.sentence.startswith(f"{'Yes' if number else 'No'}: {number} of {number} ")
    judged = _judge(connection, since, until)
    assert judged.complete and judged.folded == number == judged.plain()["folded"]


def test_the_other_questions_have_them(connection: duckdb.DuckDBPyConnection) -> None:
    """tree, process, timeline, privileged and unknown, in a window that only a folded row reaches into."""
    shown = tree.tree(_asked(connection, 150, 155))
    assert shown.sentence.startswith("0 program images, 240 equal short processes beside")
    assert shown.lines is not None and shown.lines[0].endswith("x 240 until 12:02:39.000 (each exit 3)")
    assert processes.process(_asked(connection, 0, 399, "7")).sentence.endswith(
        "one of 240 equal ones, each ended with code 3, the longest after 0.004 s"
    )
    moments = timeline.timeline(_asked(connection, 150, 155)).rows
    assert [row["detail"] for row in moments] == ["x 240 until 12:02:39.000, each code 3: probe -q"]
    assert unknown.unknown(_asked(connection, 150, 155)).rows[0]["programs"] == 240
    holding = privileged.privileged(_asked(connection, 150, 155)).rows
    assert [row["binaries"] for row in holding] == [["/bin/probe"]]
    assert not privileged.privileged(_asked(connection, 300, 301)).rows or "/bin/probe" not in str(
        privileged.privileged(_asked(connection, 300, 301)).rows
    )


@contextmanager
def _observing(folder: Path, rows: list[dict[str, Any]]) -> Iterator[LazyConnection]:
    """A history whose observer wrote these rows last, and goes on: the record is whole until 400 s."""
    with LogWriter(folder, "n", "b") as log:
        log.append([Batch.from_rows("observer", rows)], [])
        log.sign.due()
        log.sign.give(through=[0, int(_at(400).timestamp() * 1e6)])
        with History(folder).connection() as connection:
            yield connection


def test_what_is_not_yet_told_is_no_silence(tmp_path: Path) -> None:
    """While observing goes on the last rows are to come: the newest part of the history is not complete, the rest is."""
    rows = [_observer("start", 0), _observer("ready", 1), _observer("alive", 395)]
    with _observing(tmp_path, rows) as connection:
        assert _judge(connection, 2, 330).complete
        judged = _judge(connection, 2, 398)
    assert judged.reasons == [
        "equal short processes since 2026-05-01T12:05:37.000Z on n may not be told yet (setting folding)"
    ]


def test_a_setting_that_was_refused_folds_nothing(tmp_path: Path) -> None:
    """Nor does one that was switched off: then all that was withheld had been told."""
    refused = {"folding": {"refused": "this kernel refuses fold_late"}}
    rows = [_observer("start", 0, refused), _observer("ready", 1, refused), _observer("alive", 395, refused)]
    with _observing(tmp_path, rows) as connection:
        assert _judge(connection, 2, 398).complete
        assert not completeness.reach(completeness.spans(connection, _at(400)))
