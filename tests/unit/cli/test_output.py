"""cli/output.py: rows in each form, harmless where a person or a spreadsheet reads them."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime
from typing import Any

import pytest

from firsthand.cli import output
from firsthand.errors import UsageError

_NAMES = ["exe", "n", "args", "time"]
_MOMENT = datetime(2026, 5, 1, 12)


def _written(form: str, *rows: list[Any], raw: bool = False, names: list[str] = _NAMES) -> str:
    to = io.StringIO()
    output.rows(names, rows, form, to, raw=raw)
    return to.getvalue()


def test_json_has_values_and_lines_of_it_the_same() -> None:
    """Lists as lists, nulls as null, large numbers as text; one object a line."""
    row = ["/bin/sh", (1 << 53) + 1, ["a", "b"], None]
    (found,) = json.loads(_written("json", row))
    assert found == {"exe": "/bin/sh", "n": str((1 << 53) + 1), "args": ["a", "b"], "time": None}
    lines = _written("jsonl", row, row).splitlines()
    assert [json.loads(line) for line in lines] == [found, found]
    assert (json.loads(_written("json")), _written("jsonl")) == ([], "")


def test_csv_is_read_back() -> None:
    """Quotes, commas and newlines of values; lists as JSON; nulls as nothing."""
    text = _written("csv", ['a,"b"', 5, ["x", "ü"], None], raw=True)
    assert list(csv.reader(io.StringIO(text))) == [_NAMES, ['a,"b"', "5", '["x", "ü"]', ""]]
    assert _written("csv").strip() == ",".join(_NAMES)


@pytest.mark.parametrize("value", ["=1+1", "+1", "-1", "@x", "\t=x", "\r=x"])
def test_no_spreadsheet_takes_a_value_for_a_formula(value: str) -> None:
    """Unless the rows are asked for as they are."""
    (row,) = list(csv.reader(io.StringIO(_written("csv", [value], names=["exe"]))))[1:]
    assert row[0][0] in ("'", "\\") and not row[0].startswith(value)
    (raw,) = list(csv.reader(io.StringIO(_written("csv", [value], names=["exe"], raw=True), newline="")))[1:]
    assert raw == [value]


@pytest.mark.parametrize("form", ["table", "wide", "csv"])
def test_no_terminal_takes_a_value_for_an_order(form: str) -> None:
    """Escapes are shown."""
    found = _written(form, ["\x1b[2J\u202e", 1, [], _MOMENT])
    assert "\x1b" not in found and "\u202e" not in found and "\\x1b[2J" in found


def test_a_long_cell_is_cut_where_there_is_no_terminal() -> None:
    """But in a wide table."""
    row = ["n" * 100, 1, [], None]
    assert "n" * 59 + "…" in _written("table", row) and "n" * 60 not in _written("table", row)
    assert "n" * 100 in _written("wide", row)


def test_a_locale_that_knows_little_hurts_no_program() -> None:
    """CSV is UTF-8 whatever standard output was."""
    raw = io.BytesIO()
    to = io.TextIOWrapper(raw, encoding="ascii")
    output.rows(["exe"], [["grün"]], "csv", to, raw=True)
    to.flush()
    assert raw.getvalue().decode() == "exe\r\ngrün\r\n"


def test_parquet_is_not_written_to_a_terminal(monkeypatch: pytest.MonkeyPatch, capsysbinary: Any) -> None:
    """It says where to send it; a file gets the bytes."""

    class FakeTerminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    with pytest.raises(UsageError, match="> FILE"):
        output.parquet(b"PAR1", FakeTerminal())
    output.parquet(b"PAR1", io.StringIO())
    assert capsysbinary.readouterr().out == b"PAR1"


def test_styles_are_left_out_where_nobody_wants_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """NO_COLOR, with any value."""
    monkeypatch.setenv("NO_COLOR", "1")
    output.say("text", fg="red")
    assert capsys.readouterr().out == "text\n"
