"""Rows as a table, JSON, lines of JSON, CSV or Parquet."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import click

from firsthand.ask import show
from firsthand.errors import UsageError

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NARROW = 60


def say(text: str, **style: Any) -> None:
    """A line on standard output; in a style of click's where that is a terminal and NO_COLOR (no-color.org) is not set."""
    click.echo(text if os.environ.get("NO_COLOR") else click.style(text, **style))


def rows(
    names: Sequence[str],
    found: Sequence[Sequence[Any]],
    form: str,
    to: TextIO,
    *,
    raw: bool = False,
) -> None:
    """Write rows in a form of options.FORMATS but parquet. `raw`: csv as it is."""
    if form in ("table", "wide"):
        table(names, found, to, wide=form == "wide")
    elif form == "json":
        json.dump([_object(names, row) for row in found], to, indent=1)
        to.write("\n")
    elif form == "jsonl":
        to.writelines(json.dumps(_object(names, row)) + "\n" for row in found)
    else:
        _as_csv(names, found, to, raw=raw)


def _object(names: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    return {name: show.plain(value) for name, value in zip(names, row, strict=True)}


def _as_csv(names: Sequence[str], found: Sequence[Sequence[Any]], to: TextIO, *, raw: bool) -> None:
    """As UTF-8 whatever the locale is: it is read by programs."""
    if isinstance(to, io.TextIOWrapper):
        to.reconfigure(encoding="utf-8", errors="backslashreplace")
    writer = csv.writer(to)
    writer.writerow(names)
    writer.writerows([_text(value) if raw else _safe(_text(value)) for value in row] for row in found)


def _text(value: Any) -> str:
    known = show.plain(value)
    if isinstance(known, (list, dict)):
        return json.dumps(known, ensure_ascii=False)
    return "" if known is None else str(known)


def _safe(text: str) -> str:
    """A value that no spreadsheet takes for a formula and no terminal for an order."""
    text = show.printable(text)
    return "'" + text if text.startswith(_FORMULA) else text


def table(names: Sequence[str], found: Sequence[Sequence[Any]], to: TextIO, *, wide: bool = False) -> None:
    """Aligned columns with a line of heads, within the terminal's width unless `wide`; where there is none, long cells are cut with …"""
    from firsthand.cli.table import lines, width_of

    width = None if wide else width_of(to)
    rows = [[_cut(show.cell(value), whole=wide or width is not None) for value in row] for row in found]
    to.writelines(f"{line}\n" for line in lines(names, rows, width))


def _cut(text: str, *, whole: bool) -> str:
    return text if whole or len(text) <= _NARROW else text[: _NARROW - 1] + "…"


def parquet(data: bytes, to: TextIO) -> None:
    """A Parquet file on standard output, which must not be a terminal."""
    if to.isatty():
        raise UsageError("-o parquet writes bytes: send it to a file with > FILE")
    sys.stdout.buffer.write(data)
