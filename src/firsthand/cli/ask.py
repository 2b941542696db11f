"""`firsthand ask`: a question, its answer, its evidence, and whether that is complete."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from firsthand.cli import options

if TYPE_CHECKING:
    from firsthand.ask.answer import Answer, Completeness, Found, Request, Window

_INCOMPLETE, _ROWS, _INTERRUPTED = 3, 4, 130
#: Cells of a value's name, with the spaces before it, where rows are one below the other.
_HEAD = 20


@click.command()
@click.argument("question", required=False, shell_complete=lambda *words: _begins(words[-1]))
@click.argument("arguments", nargs=-1)
@options.history_option
@click.option("--since", help="30d, 2h (ago) or an ISO time; the history's beginning by default.")
@click.option("--until", help="As --since; now, or the history's end, by default.")
@click.option("-n", "--namespace", help="Only this Kubernetes namespace.")
@click.option("--pod", help="Only this pod, by name or uid.")
@click.option("-l", "--selector", help="Only pods with these labels, as kubectl takes them: app=web,tier!=test.")
@click.option("--node", help="Only this machine.")
@click.option("--limit", type=click.IntRange(min=1), default=1000, show_default=True, help="At most so many rows.")
@click.option("--at", help="address: the moment that is asked about, as --since; the window's end by default.")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Also what is left out: loopback and unix sockets, peers inside the cluster.",
)
@click.option("--tree", is_flag=True, help="connected: as a tree of the processes behind.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="beacons, exfiltration: the least score that is shown; 0.5 by default.",
)
@click.option(
    "--except",
    "without",
    multiple=True,
    help="credentials: leave out a workload (NAMESPACE/KIND/NAME) or an image (IMAGE@sha256:DIGEST); several times.",
)
@click.option("--could", is_flag=True, help="privileged: also containers that could be granted more than they hold.")
@click.option("--json", "as_json", is_flag=True, help="The same as -o json.")
@click.option("--fail-on-rows", is_flag=True, help="Exit with 4 where rows are found.")
@click.option("--require-complete", is_flag=True, help="Exit with 3 where the evidence is incomplete.")
@click.option("--raw", is_flag=True, help="csv: values as they are, not made safe for terminals and spreadsheets.")
@options.verbose_option
@options.output_option(*options.FORMATS, "dot", "svg")
def command(question: str | None, arguments: tuple[str, ...], **given: Any) -> int:
    """Answer a QUESTION from the history; without one, list the questions.

    Exit codes: 0 answered, 1 failed, 2 wrong usage, 3 incomplete under --require-complete (which comes first), 4 rows found
    under --fail-on-rows, 130 interrupted.
    """
    if question is None:
        return _list()
    request = _request(question, arguments, given)
    form = "json" if given["as_json"] else given["output"]
    try:
        found = _answered(request, form, given)
    except KeyboardInterrupt:
        print("firsthand: interrupted: there is no answer", file=sys.stderr)
        return _INTERRUPTED
    _print(found, form, raw=given["raw"])
    if found.spilled:
        print(
            f"firsthand: {found.spilled / 1e6:,.0f} MB did not fit into memory and were spilled to disk meanwhile",
            file=sys.stderr,
        )
    if given["require_complete"] and not found.answer.completeness.complete:
        return _INCOMPLETE
    return _ROWS if given["fail_on_rows"] and found.answer.found.total else 0


class _Given(NamedTuple):
    """An answer; the bytes of its Parquet file where that is its form, and how many were spilled for it."""

    answer: Answer
    file: bytes
    spilled: int


def _answered(request: Request, form: str, given: dict[str, Any]) -> _Given:
    """By the reader, else by this process."""
    directory = options.unchecked(given["history"])
    if options.nobody_reads(directory, given["verbose"]):
        return _by_itself(request, form, given["history"])
    from firsthand.reader import asker

    try:
        answer, told = asker.ask(directory, request, form, _show)
        options.tell(given["verbose"], f"answered by the reader, process {told.pid}")
        return _Given(answer, told.file, told.spilled)
    except asker.NoReader as none:
        options.tell(given["verbose"], f"the history is read here, without the reader: {none}")
    return _by_itself(request, form, given["history"])


def _show(line: str) -> None:
    """What goes on in the reader."""
    from firsthand.history.store.effort import Effort

    Effort(sys.stderr).show(line)


def _by_itself(request: Request, form: str, named: Path | None) -> _Given:
    from firsthand.ask import answering, forms
    from firsthand.history.store.connection import History
    from firsthand.history.store.effort import Effort

    answering.checked(request)
    with Effort(sys.stderr) as effort:
        answer = forms.answer(History(options.place(named), effort=effort), request, form)
    file = forms.parquet_of(answer) if form == forms.PARQUET else b""
    return _Given(answer, file, effort.spilled)


def _list() -> int:
    from firsthand.ask.registry import QUESTIONS

    for name, known in QUESTIONS.items():
        click.echo(f"{name:<11} {known.usage:<28} {known.doc}")
    return 0


def _begins(text: str) -> list[str]:
    """The questions that a shell may complete it to."""
    from firsthand.ask.registry import QUESTIONS

    return [name for name in QUESTIONS if name.startswith(text)]


def _request(question: str, arguments: tuple[str, ...], given: dict[str, Any]) -> Request:
    """The words of the command as a question."""
    from firsthand.ask.answer import Request
    from firsthand.errors import UsageError

    for word in (question, *arguments, *given["without"], *(one for one in given.values() if isinstance(one, str))):
        if any("\udc80" <= letter <= "\udcff" for letter in word):
            raise UsageError(f"{word!a} is not UTF-8: write its bytes as \\xNN")
    now = datetime.now(UTC)
    times: dict[str, Any] = {
        name: options.moment(given[name], now) if given[name] else None for name in ("since", "until", "at")
    }
    names = ("namespace", "pod", "selector", "node", "limit", "everything", "could", "tree", "threshold", "without")
    return Request(question, arguments, **times, **{name: given[name] for name in names})


def _print(given: _Given, form: str, *, raw: bool) -> None:
    from firsthand.ask import forms
    from firsthand.cli import output

    answer, found = given.answer, given.answer.found
    if form == "json":
        json.dump(answer.plain(), sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    whole = forms.columns(found)
    if form in ("table", "wide"):
        names = found.columns + (found.wide if form == "wide" else [])
        _table(answer.sentence, found, answer.completeness, answer.window, names or whole, form)
        return
    if form in forms.DRAWN:
        sys.stdout.write(_drawn(found, form))
    elif form == forms.PARQUET:
        output.parquet(given.file, sys.stdout)
    else:
        values = [[row.get(name) for name in whole] for row in found.rows]
        output.rows(whole, values, form, sys.stdout, raw=raw)
    print(f"firsthand: {_line(answer)}", file=sys.stderr)


def _line(answer: Answer) -> str:
    """The sentence and the completeness in one line."""
    from firsthand.ask import show

    judged = answer.completeness
    state = "complete" if judged.complete else f"INCOMPLETE: {'; '.join(judged.reasons)}"
    more = len(answer.found.rows) < answer.found.total
    cut = f" ({len(answer.found.rows):,} of {answer.found.total:,} rows: raise --limit)" if more else ""
    return show.printable(f"{answer.sentence}{cut}; evidence {state}")


def _drawn(found: Found, form: str) -> str:
    from firsthand.ask import draw

    assert found.graph is not None
    return draw.dot(found.graph) if form == "dot" else draw.svg(found.graph)


def _table(sentence: str, found: Found, judged: Completeness, window: Window, names: list[str], form: str) -> None:
    from firsthand.ask import show
    from firsthand.cli import output, table

    width = table.width_of(sys.stdout)
    output.say(table.paragraph(show.printable(sentence), width), bold=True)
    if found.lines is not None:
        print("\n".join(found.lines))
    elif found.rows and not found.columns:
        _sheets(found.rows, width)
    elif found.rows:
        cells = [[show.doubted(row, name) for name in names] for row in found.rows]
        output.table(names, cells, sys.stdout, wide=form == "wide")
    if found.total > len(found.rows):
        print(f"… {found.total - len(found.rows):,} more rows: raise --limit")
    _evidence(judged, window, width)


def _evidence(judged: Completeness, window: Window, width: int | None) -> None:
    """What the answer stands on, and what it lacks."""
    from firsthand.ask import show
    from firsthand.ask.answer import iso
    from firsthand.cli import output, table

    state, colour = ("complete", "green") if judged.complete else ("INCOMPLETE", "yellow")
    held = f"evidence {state}: {judged.events_held:,} events from {iso(window.since)} to {iso(window.until)}"
    print()
    output.say(table.paragraph(held, width, "  "), fg=colour)
    for number, what in ((judged.folded, "processes"), (judged.folded_connections, "connections")):
        if number:
            told = f"  {number:,} equal short {what} folded into rows that count them (setting folding)"
            print(table.paragraph(told, width, "    "))
    for reason in judged.reasons:
        print(table.paragraph(f"  - {show.printable(reason)}", width, "    "))
    for spot in judged.blind_spots:
        print(table.paragraph(f"  blind spot: {show.printable(spot)}", width, "    "))


def _sheets(rows: list[dict[str, Any]], width: int | None) -> None:
    """Rows that are wide, one below the other: only what is known."""
    from firsthand.ask import show
    from firsthand.cli import table

    room = None if width is None else max(width - _HEAD - 2, 1)
    for row in rows:
        print(f"\n{row.get('relation', '')} {row.get('event', '')}".rstrip())
        for key, value in row.items():
            if value not in (None, "", []) and key not in ("relation", "event"):
                print(*table.named(f"  {key}", show.cell(value), _HEAD, room), sep="\n")
