"""export/choice.py: what is wanted goes out, whatever the column's type; what cannot be meant is refused with the nearest word."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from firsthand.ask import selector
from firsthand.errors import UsageError
from firsthand.export import choice
from firsthand.export.choice import Choice
from firsthand.history.log import arrow
from tests import samples

A, B = "a" * 64, "b" * 64
ROWS: tuple[dict[str, Any], ...] = (
    {
        "exe": "/bin/a",
        "namespace": "shop",
        "pod": "web-0",
        "pod_uid": "u0",
        "container": A,
        "flag_names": "SETUID,SCRIPT",
    },
    {"exe": "/bin/b", "container": B, "flag_names": "SETUID_NOT", "args": ["b", "-x"], "uid": 7, "redacted": True},
    {"exe": "/bin/c", "comm_bytes": b"\xff"},
)


@pytest.fixture
def rows() -> pa.Table:
    """Three rows of `process`: in a pod, in a container alone, on the host."""
    return pa.concat_tables([arrow.row("process", {"time": samples.START, **one}) for one in ROWS])


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Choice(), "abc"),
        (Choice(namespace="shop"), "a"),
        (Choice(pod="web-0"), "a"),
        (Choice(pod="u0"), "a"),
        (Choice(flags=("SETUID",)), "a"),
        (Choice(flags=("SCRIPT", "SETGID")), "a"),
        (Choice(flags=("SETGID",)), ""),
        (Choice(where=(("uid", "7"),)), "b"),
        (Choice(where=(("redacted", "true"),)), "b"),
        (Choice(where=(("args", "-x"),)), "b"),
        (Choice(where=(("time", "2026-03-01T12:00:00"),)), "abc"),
        (Choice(where=(("exe", "/bin/c"), ("uid", "7"))), ""),
        (Choice(where=(("cause", "x"),)), ""),
        (Choice(selector=tuple(selector.parse("app=web"))), "a"),
        (Choice(selector=tuple(selector.parse("app in (web,db)"))), "ab"),
        (Choice(selector=tuple(selector.parse("app=web")), where=(("uid", "7"),)), ""),
    ],
)
def test_rows(rows: pa.Table, wanted: Choice, found: str) -> None:
    """Law: each filter takes exactly the rows that meet it; a null meets none."""
    labels = {"u0": {"app": "web"}, B: {"app": "db"}, "other": {"app": "web"}}
    assert "".join(exe[-1] for exe in wanted.rows("process", rows, labels)["exe"].to_pylist()) == found


def test_tables_without_the_column(rows: pa.Table) -> None:
    """Law: a filter on a column that a table lacks takes none of its rows, and all of `loss`."""
    clock = arrow.row("clock", {"time": samples.START})
    loss = arrow.row("loss", {"time": samples.START, "events": 1})
    for wanted in (Choice(flags=("SETUID",)), Choice(pod="x"), Choice(where=(("exe", "x"),))):
        assert wanted.rows("clock", clock, {}).num_rows == 0
        assert wanted.rows("loss", loss, {}).num_rows == 1
    assert Choice(fields=("exe",)).columns("loss", loss).column_names == loss.column_names
    assert Choice(tables=frozenset(["clock"])).takes("clock")
    assert not Choice(tables=frozenset(["clock"])).takes("process")


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: choice.check_tables(["proces"]), "did you mean process"),
        (lambda: choice.check_column("--fields", "namspace", frozenset()), "did you mean namespace"),
        (lambda: choice.check_column("--fields", "cause", frozenset(["process"])), "no column 'cause' in process"),
        (lambda: choice.check_column("--where", "zzzzzz", frozenset()), "no column 'zzzzzz' in any table; docs"),
        (lambda: _value("uid", "seven"), "expected a value of type int64, found 'seven'"),
        (lambda: _value("redacted", "yes"), "type bool"),
        (lambda: _value("time", "noon"), "type time"),
    ],
)
def test_words_that_are_wrong(check: Any, message: str) -> None:
    """Law: a table, column or value that there is not is refused before anything goes out."""
    with pytest.raises(UsageError, match=message):
        check()


def _value(column: str, text: str) -> None:
    for found in choice.check_column("--where", column, frozenset()):
        choice.value_of(found, text)
