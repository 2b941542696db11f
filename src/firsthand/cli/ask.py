"""`firsthand ask`: a question, its answer, its evidence, and whether that is complete."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from firsthand.cli import options

if TYPE_CHECKING:
    from firsthand.ask.answer import Asked, Found, Window
    from firsthand.ask.completeness import Completeness, Span
    from firsthand.ask.questions import Question
    from firsthand.history.connection import History

_INCOMPLETE, _ROWS = 3, 4
#: Forms of a graph.
_DRAWN = ("dot", "svg")


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
@click.option("--could", is_flag=True, help="privileged: also containers that could be granted more than they hold.")
@click.option("--json", "as_json", is_flag=True, help="The same as -o json.")
@click.option("--fail-on-rows", is_flag=True, help="Exit with 4 where rows are found.")
@click.option("--require-complete", is_flag=True, help="Exit with 3 where the evidence is incomplete.")
@options.output_option(*options.FORMATS, *_DRAWN)
def command(question: str | None, arguments: tuple[str, ...], **given: Any) -> int:
    """Answer a QUESTION from the history; without one, list the questions.

    Exit codes: 0 answered, 1 failed, 2 wrong usage, 3 incomplete under --require-complete (which comes first), 4 rows found
    under --fail-on-rows.
    """
    from firsthand.ask.questions import QUESTIONS
    from firsthand.errors import UsageError

    if question is None:
        for name, known in QUESTIONS.items():
            click.echo(f"{name:<11} {known.usage:<28} {known.doc}")
        return 0
    if question not in QUESTIONS:
        raise UsageError(f"no question {question!r}; there are {', '.join(QUESTIONS)}")
    _check(question, QUESTIONS[question], given)
    return _answer(question, QUESTIONS[question], list(arguments), given)


def _begins(text: str) -> list[str]:
    """The questions that a shell may complete it to."""
    from firsthand.ask.questions import QUESTIONS

    return [name for name in QUESTIONS if name.startswith(text)]


def _check(name: str, question: Question, given: dict[str, Any]) -> None:
    """Options that say nothing to a question are wrong words, not passed over."""
    from firsthand.errors import UsageError

    if given["output"] in _DRAWN and not question.draws:
        raise UsageError(f"-o {given['output']} draws a graph, which `ask {name}` has not; `ask map` has")
    if given["at"] and not question.moment:
        raise UsageError(f"--at is for `ask address`; `ask {name}` takes --since and --until")
    if given["tree"] and name != "connected":
        raise UsageError(f"--tree is for `ask connected`; `ask {name}` has no such form")


def _answer(name: str, question: Question, arguments: list[str], given: dict[str, Any]) -> int:
    import duckdb

    from firsthand.history.connection import History, explained

    place = options.place(given["history"])
    try:
        return _answered(History(place), name, question, arguments, given)
    except duckdb.Error:  # damage beyond what a reader checks: find it, and answer from what is left
        try:
            return _answered(History(place, check=sys.maxsize), name, question, arguments, given)
        except duckdb.Error as error:
            raise explained(error) from error


def _answered(history: History, name: str, question: Question, arguments: list[str], given: dict[str, Any]) -> int:
    from firsthand.ask import completeness

    now = datetime.now(UTC)
    with history.connection() as connection:
        spans = completeness.spans(connection, now)
        asked = _asked(connection, spans, question, arguments, given, now)
        found = question.answer(asked)
        matter = question.arguments_matter or any(text.startswith("args") for text in arguments)
        judged = completeness.judge(
            connection,
            spans,
            asked.window,
            question.needs,
            _hooks(),
            node=given["node"],
            arguments_matter=matter,
            names_matter=question.names_matter or asked.filters.by_name,
            filters=asked.filters,
            reaches=_reaches(question, asked, spans),
            damage=history.damage,
        )
        judged.reasons += found.reasons
        judged.complete = not judged.reasons
    sentence = _sentence(found, judged)
    _print(name, sentence, found, judged, asked.window, "json" if given["as_json"] else given["output"])
    if given["require_complete"] and not judged.complete:
        return _INCOMPLETE
    return _ROWS if given["fail_on_rows"] and found.total else 0


def _hooks() -> dict[str, str]:
    """The table of each hook that completeness needs."""
    from firsthand.probe import spec

    return spec.needed()


def _reaches(question: Question, asked: Asked, spans: list[Span]) -> datetime | None:
    """How far before the window the question looks."""
    if question.compares:
        return min((span.begin for span in spans), default=None)
    return asked.session if question.running else None


def _asked(
    connection: Any, spans: list[Span], question: Question, arguments: list[str], given: dict[str, Any], now: datetime
) -> Asked:
    from firsthand import settings
    from firsthand.ask import completeness, selector
    from firsthand.ask.answer import Asked, Filters
    from firsthand.ask.reach import Reach
    from firsthand.schema import capability

    window = _window(spans, question, given, now)
    chosen = selector.choose(connection, given["selector"]) if given["selector"] else None
    known = settings.load()
    return Asked(
        connection,
        window,
        arguments,
        Filters(given["namespace"], given["pod"], chosen, given["node"]),
        given["limit"],
        capability.bits(known.ordinary_capabilities),
        given["could"],
        completeness.session_began(spans, window.since),
        completeness.session_began(spans, window.until),
        completeness.reach(spans),
        everything=given["everything"],
        threshold=given["threshold"],
        tree=given["tree"],
        reach=Reach(known.network.cluster, known.network.expected),
    )


def _window(spans: list[Span], question: Question, given: dict[str, Any], now: datetime) -> Window:
    """What the options say, else the whole history, or its last part for a question about that."""
    from firsthand.ask import completeness
    from firsthand.ask.answer import Window
    from firsthand.errors import UsageError

    whole = completeness.extent(spans, now)
    if given["at"]:
        moment = options.moment(given["at"], now)
        return Window(moment, moment)
    since = options.moment(given["since"], now) if given["since"] else whole.since
    until = options.moment(given["until"], now) if given["until"] else now if given["since"] else whole.until
    if since > until:
        raise UsageError(f"the window ends before it begins: --since {since.isoformat()}, --until {until.isoformat()}")
    if question.recent is not None and not given["since"]:
        since = max(until - question.recent, whole.since + (until - whole.since) / 2)
    return Window(since, until)


def _sentence(found: Found, judged: Completeness) -> str:
    """The answer; never a `no` where nothing was recorded."""
    if not judged.observed and not found.total:
        return "Not recorded: " + "; ".join(judged.reasons or ["nothing was observed in this window"])
    scope = f" (in the scope {', '.join(judged.scope)})" if judged.scope else ""
    return f"{found.sentence}{scope}"


def _print(name: str, sentence: str, found: Found, judged: Completeness, window: Window, form: str) -> None:
    from firsthand.ask import show
    from firsthand.ask.answer import VERSION
    from firsthand.ask.completeness import iso
    from firsthand.cli import output

    if form in _DRAWN:
        sys.stdout.write(_drawn(found, form))
        return
    if form == "json":
        answer = {
            "version": VERSION,
            "question": name,
            "answer": sentence,
            "window": {"since": iso(window.since), "until": iso(window.until)},
            "completeness": judged.plain(),
            "truncated": found.total > len(found.rows),
            "rows": [show.plain(row) for row in found.rows],
        }
        json.dump(answer, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    whole = list(found.rows[0] if found.rows else found.columns)
    if form in ("table", "wide"):
        names = found.columns + (found.wide if form == "wide" else [])
        _table(sentence, found, judged, window, names or whole, form)
    else:
        names = whole
        output.rows(names, [[row.get(name) for name in names] for row in found.rows], form, sys.stdout)


def _drawn(found: Found, form: str) -> str:
    from firsthand.ask import draw

    assert found.graph is not None
    return draw.dot(found.graph) if form == "dot" else draw.svg(found.graph)


def _table(sentence: str, found: Found, judged: Completeness, window: Window, names: list[str], form: str) -> None:
    from firsthand.ask import show
    from firsthand.ask.completeness import iso
    from firsthand.cli import output

    print(show.printable(sentence))
    if found.lines is not None:
        print("\n".join(found.lines))
    elif found.rows and not found.columns:
        _sheets(found.rows)
    elif found.rows:
        output.table(names, [[row.get(name) for name in names] for row in found.rows], sys.stdout, wide=form == "wide")
    if found.total > len(found.rows):
        print(f"… {found.total - len(found.rows):,} more rows: raise --limit")
    state = "complete" if judged.complete else "INCOMPLETE"
    print(f"\nevidence {state}: {judged.events_held:,} events from {iso(window.since)} to {iso(window.until)}")
    for number, what in ((judged.folded, "processes"), (judged.folded_connections, "connections")):
        if number:
            print(f"  {number:,} equal short {what} folded into rows that count them (setting folding)")
    for reason in judged.reasons:
        print(f"  - {show.printable(reason)}")
    for spot in judged.blind_spots:
        print(f"  blind spot: {show.printable(spot)}")


def _sheets(rows: list[dict[str, Any]]) -> None:
    """Rows that are wide, one below the other: only what is known."""
    from firsthand.ask import show

    for row in rows:
        print(f"\n{row.get('relation', '')} {row.get('event', '')}".rstrip())
        for key, value in row.items():
            if value not in (None, "", []) and key not in ("relation", "event"):
                print(f"  {key:<18} {show.cell(value)}")
