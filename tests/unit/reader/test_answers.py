"""By the reader or without it: the same answer, the same words, the same exit code, in every form."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from firsthand.ask import answering
from firsthand.ask.answer import Request
from firsthand.ask.registry import QUESTIONS
from firsthand.cli import main
from firsthand.cli.options import FORMATS
from firsthand.history.store.connection import History
from firsthand.reader import asker, place
from tests.golden.commands import ARGUMENTS, WINDOW
from tests.readers import Serving

_SINCE, _UNTIL = (datetime.fromisoformat(WINDOW[at]) for at in (1, 3))


def _said(history: Path, *words: str) -> tuple[Any, bytes, str]:
    """What a command ends with, and what it prints."""
    command = main.group.get_command(click.Context(main.group), words[0])
    assert command is not None
    done = CliRunner().invoke(command, [*words[1:], "--history", str(history)], standalone_mode=False)
    return (repr(done.exception) if done.exception else done.return_value), done.stdout_bytes, done.stderr


def _same(history: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[Any, bytes, str]:
    """The same both ways, which is returned. The reader answers the one and not the other."""
    by_reader = _said(history, *words)
    monkeypatch.setenv(place.VARIABLE, place.NONE)
    assert by_reader == _said(history, *words)
    return by_reader


@pytest.mark.parametrize("question", QUESTIONS)
def test_each_question(question: str, history: Path, reader: Serving) -> None:
    """Every part of the answer, with its types."""
    request = Request(question, ARGUMENTS.get(question, ()), _SINCE, _UNTIL)
    found, told = asker.ask(history, request, "json", lambda _: None)
    without = answering.answer(History(history), request)
    assert told.pid
    assert found.plain() == without.plain()
    assert found.window == without.window and found.completeness == without.completeness
    assert [repr(row) for row in found.found.rows] == [repr(row) for row in without.found.rows]
    assert (found.found.lines, found.found.columns, found.found.wide, found.found.total) == (
        without.found.lines,
        without.found.columns,
        without.found.wide,
        without.found.total,
    )
    assert repr(found.found.graph and found.found.graph.nodes) == repr(
        without.found.graph and without.found.graph.nodes
    )


@pytest.mark.parametrize("form", [*FORMATS, "dot", "svg"])
def test_each_form_of_an_answer(form: str, history: Path, reader: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte."""
    code, out, _ = _same(history, monkeypatch, "ask", "map", *WINDOW, "-o", form)
    assert code == 0 and out


_TYPES = """SELECT i, 170141183460469231731687303715884105727 AS huge, 1.10::DECIMAL(9, 2) AS price, INTERVAL 3 DAY AS span,
    TIMESTAMP '2026-03-01 12:00:00.000001' AS moment, TIMESTAMPTZ '2026-03-01 12:00:00+02' AS zoned, DATE '2026-03-01' AS day,
    TIME '01:02:03' AS clock, '\\xFF\\x00'::BLOB AS bytes, {'a': [1, NULL], 'b': 'x'} AS record, MAP {1: 'x'} AS map, [1, 2]::INT[2] AS two,
    'e2b1a0ee-0000-4000-8000-000000000001'::UUID AS id, 'nan'::DOUBLE AS none, NULL AS nothing, chr(27) || '[2J' AS text FROM range(3000) t(i)"""


@pytest.mark.parametrize("form", FORMATS)
def test_each_form_of_a_statement(form: str, history: Path, reader: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every type, in several messages."""
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    code, out, _ = _same(history, monkeypatch, "sql", _TYPES, "-o", form)
    assert code is None and out


@pytest.mark.parametrize(
    "words",
    [
        ("ask", "what"),
        ("ask", "connected"),
        ("ask", "tree", "nobody", *WINDOW),
        ("ask", "processes", "colour=red", *WINDOW),
        ("ask", "pods", "-o", "dot"),
        ("ask", "pods", "--since", WINDOW[3], "--until", WINDOW[1]),
        ("ask", "privileged", "--fail-on-rows", *WINDOW),
        ("ask", "privileged", "--require-complete", *WINDOW),
        ("sql", "SELECT nothing FROM process"),
        ("sql", "SELECT 1; SELECT 2"),
        ("sql", "COPY (SELECT 1) TO '/tmp/firsthand-test'"),
        ("sql", "SELECT * FROM read_text('/etc/passwd')"),
        ("sql", "SET memory_limit = '8GB'"),
    ],
    ids=" ".join,
)
def test_what_does_not_go_well(
    words: tuple[str, ...], history: Path, reader: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same message and the same exit code; what `sql` must not do it cannot by the reader either."""
    _same(history, monkeypatch, *words)


def test_its_memory_is_the_one_of_a_statement(history: Path, reader: Serving) -> None:
    """256 MB, as without the reader."""
    code, _, error = _said(history, "sql", "SELECT length(repeat('x', 1000000000))", "--verbose")
    assert "HistoryError('the statement needs more than 256MB of memory" in code and "without" not in error


def test_the_settings_are_the_askers(
    history: Path, reader: Serving, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What an ordinary container holds is said in his file, which the reader need not be able to read."""
    config = tmp_path / "config.toml"
    asked = ("ask", "privileged", *WINDOW, "--json")
    _, before, _ = _said(history, *asked)
    config.write_text("ordinary_capabilities = []\n")
    config.chmod(0o600)
    monkeypatch.setenv("FIRSTHAND_CONFIG", str(config))
    _, out, _ = _same(history, monkeypatch, *asked)
    assert out != before
    monkeypatch.setenv(place.VARIABLE, str(reader.path))
    config.write_text("colour = 'red'\n")
    code, _, _ = _same(history, monkeypatch, *asked)
    assert "unknown setting colour" in code


def test_who_answered_is_told(history: Path, reader: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --verbose alone."""
    for verb in (("ask", "pods", *WINDOW), ("sql", "SELECT 1")):
        assert "answered by the reader, process" in _said(history, *verb, "--verbose")[2]
        monkeypatch.setenv(place.VARIABLE, place.NONE)
        assert "without the reader: there is none" in _said(history, *verb, "--verbose")[2]
        monkeypatch.setenv(place.VARIABLE, str(reader.path))
        assert "reader" not in _said(history, *verb)[2]


def test_who_asks_loads_nothing(history: Path, reader: Serving) -> None:
    """Neither DuckDB nor Arrow nor the questions: a question by the reader costs its asker little."""
    told = f"""
import sys
from firsthand.reader import asker
asker.GREETS = 60.0
sys.argv[1:] = {["ask", "pods", *WINDOW, "--history", str(history), "--verbose"]}
from firsthand.cli.main import main
try:
    main()
except SystemExit:
    heavy = {{"duckdb", "_duckdb", "pyarrow", "numpy", "nanoarrow", "sqlite3", "firsthand.ask.registry"}}
    print("loaded", *sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert "answered by the reader" in done.stderr
    assert done.stdout.splitlines()[-1] == "loaded"


def test_a_relative_path_is_read_without_it(history: Path, reader: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be another one there."""
    monkeypatch.chdir(history.parent)
    code, _, error = _said(Path(history.name), "ask", "pods", *WINDOW, "--verbose")
    assert code == 0 and "absolute path" in error


def test_now_is_the_askers_end(history: Path, reader: Serving) -> None:
    """A question without an end reaches to the moment of the answer, as without the reader."""
    before = datetime.now(UTC)
    found, _ = asker.ask(history, Request("pods", since=_SINCE), "json", lambda _: None)
    assert before <= found.window.until <= datetime.now(UTC)
