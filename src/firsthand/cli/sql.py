"""`firsthand sql`: the history's tables, read-only."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from firsthand.cli import options
from firsthand.errors import FirsthandError

if TYPE_CHECKING:
    from firsthand.history.store.connection import History

_HELP = """.tables          the tables
.schema TABLE    its columns, with their types and meaning
.quit            leave
SELECT ...;      a query, ended by a semicolon"""


@click.command()
@click.argument("query", required=False)
@options.history_option
@options.verbose_option
@options.output_option(*options.FORMATS)
def command(query: str | None, history: Path | None, verbose: bool, output: str) -> None:
    """Query the history's tables with SQL, read-only; a shell without a QUERY.

    Only SELECT and EXPLAIN are taken. `.schema TABLE` in the shell, or docs/events.md, tells the columns.
    """
    from firsthand import settings

    if query is not None and _by_reader(query, history, output, verbose):
        return
    from firsthand.history.store.connection import History

    settings.load()  # a wrong file is the user's to know: the column `marks` depends on it
    found = History(options.place(history))
    if query is None:
        _shell(found, output)
    else:
        _run(found, query, output)


def _by_reader(query: str, history: Path | None, output: str, verbose: bool) -> bool:
    """Whether the reader answered."""
    directory = options.unchecked(history)
    if options.nobody_reads(directory, verbose):
        return False
    from firsthand.reader import asker

    try:
        told = asker.sql(directory, query, output)
    except asker.NoReader as none:
        options.tell(verbose, f"the history is read here, without the reader: {none}")
        return False
    options.tell(verbose, f"answered by the reader, process {told.pid}")
    _print(told.names, told.rows, told.damage, told.file, output)
    _evidence(told.evidence)
    return True


def _run(history: History, query: str, output: str) -> None:
    from firsthand.ask import forms, queried

    with history.sql(query) as result:
        rows = list(result.rows())
        evidence = queried.evidence(result.connection, query, history.damage)
    file = forms.parquet(result.names, rows) if output == forms.PARQUET else b""
    _print(result.names, rows, history.damage, file, output)
    _evidence(evidence)


def _print(names: list[str], rows: Sequence[Sequence[Any]], damage: list[str], file: bytes, output: str) -> None:
    """`file`: the bytes of a Parquet file, where that is the form."""
    from firsthand.ask.forms import PARQUET
    from firsthand.ask.show import printable
    from firsthand.cli import output as forms

    for what in damage:
        print(f"firsthand: damaged: {printable(what)}", file=sys.stderr)
    if output == PARQUET:
        forms.parquet(file, sys.stdout)
    else:
        forms.rows(names, rows, output, sys.stdout)


def _evidence(line: str | None) -> None:
    """Whether the rows are all that there were, on standard error."""
    from firsthand.ask.show import printable

    if line is not None:
        print(f"firsthand: {printable(line)}", file=sys.stderr)


def _shell(history: History, output: str) -> None:
    import readline  # noqa: F401  (gives input() its line editing and history)

    history.connection().close()
    print(f"{history.directory}: .help tells what can be typed", file=sys.stderr)
    pending = ""
    while True:
        try:
            line = input("     -> " if pending else "firsthand> ")
        except EOFError:
            return
        except KeyboardInterrupt:
            pending = ""
            print()
            continue
        if not pending and line.startswith("."):
            if line.strip() in (".quit", ".exit"):
                return
            print(_dot(line))
            continue
        pending = f"{pending}\n{line}".strip()
        if pending.endswith(";"):
            _try(history, pending, output)
            pending = ""


def _try(history: History, query: str, output: str) -> None:
    try:
        _run(history, query, output)
    except FirsthandError as error:
        print(f"firsthand: {error}", file=sys.stderr)


def _dot(line: str) -> str:
    from firsthand.history.store.connection import computed
    from firsthand.schema.tables import KEPT

    word, _, name = line.strip().partition(" ")
    if word == ".tables":
        return "\n".join(f"{table.name:<12} {table.doc}" for table in KEPT.values())
    if word == ".schema" and name in KEPT:
        rows = [f"{c.name:<20} {c.sql_type:<10} {c.doc}{f' [{c.unit}]' if c.unit else ''}" for c in KEPT[name].columns]
        rows += [f"{column:<20} {'VARCHAR':<10} {doc}" for column, (_, doc) in computed(name).items()]
        return "\n".join(rows)
    if word == ".schema":
        return f"no table {name!r}; there are {', '.join(KEPT)}"
    return _HELP
