"""Rows as a table, JSON, lines of JSON, CSV or Parquet."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from firsthand.ask import show
from firsthand.errors import UsageError

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NARROW = 60


def rows(names: Sequence[str], found: Sequence[Sequence[Any]], form: str, to: TextIO) -> None:
    """Write rows in a form of options.FORMATS."""
    if form in ("table", "wide"):
        table(names, found, to, wide=form == "wide")
    elif form == "json":
        json.dump([_object(names, row) for row in found], to, indent=1)
        to.write("\n")
    elif form == "jsonl":
        to.writelines(json.dumps(_object(names, row)) + "\n" for row in found)
    elif form == "csv":
        writer = csv.writer(to)
        writer.writerow(names)
        writer.writerows([_csv(value) for value in row] for row in found)
    else:
        parquet(names, found, to)


def _object(names: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    return {name: show.plain(value) for name, value in zip(names, row, strict=True)}


def _csv(value: Any) -> str:
    """A value that no spreadsheet takes for a formula."""
    text = json.dumps(value) if isinstance(value, list) else str(show.plain(value)) if value is not None else ""
    return "'" + text if text.startswith(_FORMULA) else text


def table(names: Sequence[str], found: Sequence[Sequence[Any]], to: TextIO, *, wide: bool = False) -> None:
    """Aligned columns with a line of heads; long cells are cut with … unless `wide`."""
    cells = [[_cut(show.cell(value), wide) for value in row] for row in found]
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(names)]
    for row in [list(names), *cells]:
        to.write("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() + "\n")


def _cut(text: str, wide: bool) -> str:
    return text if wide or len(text) <= _NARROW else text[: _NARROW - 1] + "…"


def parquet(names: Sequence[str], found: Sequence[Sequence[Any]], to: TextIO) -> None:
    """One Parquet file on standard output, which must not be a terminal."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if to.isatty():
        raise UsageError("-o parquet writes bytes: send it to a file with > FILE")
    columns = {name: [row[i] for row in found] for i, name in enumerate(names)}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    sys.stdout.buffer.write(sink.getvalue().to_pybytes())
