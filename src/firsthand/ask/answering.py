"""A question as plain data in, an answer out: the same for the terminal, HTTP and evidence.

It is judged here whether the question's words can be answered at all, whether its names are known, and whether what was searched can
prove the answer (law 11).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from firsthand import settings
from firsthand.ask import claims, completeness, known, predicate, reliance, selector
from firsthand.ask.answer import Answer as Answer
from firsthand.ask.answer import Asked, Filters, Found, Window
from firsthand.ask.answer import Request as Request
from firsthand.ask.completeness import Completeness, Span
from firsthand.ask.nearest import meant
from firsthand.ask.reach import Reach
from firsthand.ask.registry import FILTERS, QUESTIONS, Question
from firsthand.errors import UsageError
from firsthand.history.engine import duckdb
from firsthand.history.store.connection import History, LazyConnection, explained
from firsthand.probe import spec
from firsthand.schema import capability
from firsthand.settings.sections.network import Network
from firsthand.settings.sections.top import Top
from firsthand.subjects.columns import WHOSE


def answer(history: History, request: Request, now: datetime | None = None) -> Answer:
    """The answer. UsageError for what cannot be asked, HistoryError where the history cannot be read.

    Damage beyond what a reader checks is looked for once more, and the answer given from what is left.
    """
    question = checked(request)
    now = now or datetime.now(UTC)
    try:
        return _answered(history, question, request, now)
    except duckdb.Error:
        try:
            return _answered(History(history.directory, check=sys.maxsize), question, request, now)
        except duckdb.Error as error:
            raise explained(error) from error


def checked(request: Request) -> Question:
    """The question that is asked. UsageError for one that there is not, and for words that say nothing to it."""
    question = QUESTIONS.get(request.question)
    name = request.question
    if question is None:
        raise UsageError(f"no question {name!r}{meant(name, QUESTIONS)}; there are {', '.join(QUESTIONS)}")
    least, most = question.takes
    if not least <= len(request.arguments) <= most:
        raise UsageError(
            f"`ask {name}` takes {question.usage or 'no argument'}; found {' '.join(request.arguments) or 'none'}"
        )
    given = {option for option, unset in _OPTIONS.items() if getattr(request, option) != unset}
    for option in sorted(given - question.options):
        raise UsageError(f"{_words(option)} is not for `ask {name}`, {_whose(option)}")
    for option in FILTERS:
        if getattr(request, option) is not None and option not in question.filters:
            raise UsageError(f"{_words(option)} narrows nothing in `ask {name}`: leave it out")
    return question


#: For windows that ended so long ago it is not waited for flows that begin now.
_RECENT = timedelta(minutes=1)
#: Options that only some questions have, and their values where they are not given.
_OPTIONS: dict[str, Any] = {
    "at": None,
    "everything": False,
    "could": False,
    "tree": False,
    "threshold": None,
    "without": (),
}


def _words(option: str) -> str:
    return {"everything": "--all", "namespace": "--namespace", "without": "--except"}.get(option, f"--{option}")


def _whose(option: str) -> str:
    having = [name for name, one in QUESTIONS.items() if option in one.options]
    also = "; this one takes --since and --until" if option == "at" else ""
    return f"but for {', '.join(f'`ask {name}`' for name in having)}{also}"


def _answered(history: History, question: Question, request: Request, now: datetime) -> Answer:
    flows = "connection" in question.needs and (request.until is None or request.until >= now - _RECENT)
    with history.connection(flows=flows) as connection:
        return from_connection(connection, request, now, history.damage, question=question)


def from_connection(
    connection: LazyConnection,
    request: Request,
    now: datetime,
    damage: Sequence[str] = (),
    *,
    question: Question | None = None,
) -> Answer:
    """The answer from a connection that is open. `damage`: what of the history could not be read."""
    question = question or checked(request)
    spans = completeness.spans(connection, now)
    beyond = None if question.running or request.at else completeness.held(connection, question.needs)
    judging = _asked(connection, spans, question, request, now, beyond)
    asked = replace(judging, window=_with_waited(connection, judging.window, request))
    named = known.names(asked, question.subject)
    with _damage_named(damage):
        known.check(asked, named)
        if request.selector:
            known.check_labels(asked, request.selector)
        known.check_together(asked)
        known.check(asked, known.named(_tests(question, asked)))
        found = question.answer(asked)
    judged = _judged(connection, damage, spans, question, judging, beyond)
    host = question.subject and asked.arguments[:1] == ["host"]
    reasons = (
        judged.reasons + found.reasons + (claims.on_host(connection, asked.window, question.needs) if host else [])
    )
    reasons += [] if found.total else reliance.reasons(asked, question.relies)
    reasons += selector.cut(connection, request.selector) if request.selector else []
    away = [] if found.total else known.outside(asked, named, question.needs)
    judged = replace(judged, reasons=reasons, complete=not reasons)
    return Answer(request.question, _sentence(found, judged, away), found, judged, judging.window)


@contextmanager
def _damage_named(damage: Sequence[str]) -> Iterator[None]:
    """What cannot be asked may be in a part that cannot be read: then the error says so."""
    try:
        yield
    except UsageError as error:
        if damage:
            raise UsageError(f"{error}; a part of the history cannot be read: {'; '.join(damage)}") from error
        raise


def _judged(
    connection: Any,
    damage: Sequence[str],
    spans: list[Span],
    question: Question,
    asked: Asked,
    beyond: Window | None,
) -> Completeness:
    by_name = question.names_matter or asked.filters.by_name or _named(question, asked)
    lasting = question.running or question.lasting
    began = min(asked.window.since, asked.session or asked.window.since) if lasting else asked.window.since
    matter = question.arguments_matter or any(text.startswith("args") for text in asked.arguments)
    return completeness.judge(
        connection,
        spans,
        asked.window,
        question.needs,
        spec.needed(),
        node=asked.filters.node,
        arguments_matter=matter,
        names_from=began if by_name else None,
        filters=asked.filters,
        reaches=min((span.begin for span in spans), default=None) if question.compares else None,
        stands=asked.session if lasting else asked.at_end if question.standing else None,
        damage=damage,
        beyond=beyond,
        whole=question.whole,
    )


#: Columns of a row that say whose it is.
_WHOSE = {*WHOSE, "workload_source", "runtime", "claimed"}


def _named(question: Question, asked: Asked) -> bool:
    """Whether the arguments go by a pod or a container: as the subject, or in a condition on a column that says whose a row is."""
    if question.subject and asked.arguments and asked.arguments[0] != "host" and not known.process(asked.arguments[0]):
        return True
    return any(one.predicate.name in _WHOSE for one in _tests(question, asked))


def _tests(question: Question, asked: Asked) -> list[predicate.Test]:
    """The conditions that a question's arguments are."""
    predicates = question.predicates()
    return [predicate.parse(text, predicates, asked.window.until) for text in asked.arguments] if predicates else []


def _asked(
    connection: Any, spans: list[Span], question: Question, request: Request, now: datetime, beyond: Window | None
) -> Asked:
    window = _window(completeness.extent(spans, now, beyond), question, request, now)
    chosen = selector.choose(connection, request.selector) if request.selector else None
    found = settings.load()
    return Asked(
        connection,
        window,
        list(request.arguments),
        Filters(request.namespace, request.pod, chosen, request.node),
        request.limit,
        capability.bits(found[Top].ordinary_capabilities),
        request.could,
        completeness.session_began(spans, window.since),
        completeness.session_began(spans, window.until),
        completeness.reach(spans),
        everything=request.everything,
        threshold=request.threshold,
        without=request.without,
        tree=request.tree,
        reach=Reach(found[Network].cluster, found[Network].expected),
    )


def _with_waited(connection: Any, window: Window, request: Request) -> Window:
    """With the time of rows that were waited for: of flows and attempts that had begun and had none yet. What is judged is the window."""
    through = connection.through if isinstance(connection, LazyConnection) else None
    if through is None or request.until or request.at:
        return window
    return Window(window.since, max(window.until, through.rows))


def _window(whole: Window, question: Question, request: Request, now: datetime) -> Window:
    """What was asked for, else the whole history, or its last part for a question about that."""
    if request.at:
        return Window(request.at, request.at)
    since = request.since or whole.since
    until = request.until or (now if request.since else whole.until)
    if since > until:
        raise UsageError(f"the window ends before it begins: --since {since.isoformat()}, --until {until.isoformat()}")
    if question.recent is not None and not request.since:
        since = max(until - question.recent, whole.since + (until - whole.since) / 2)
    return Window(since, until)


def _sentence(found: Found, judged: Completeness, away: Sequence[str]) -> str:
    """The answer; never a `no` where nothing was recorded, or where what was asked for is held for another time."""
    if not judged.observed and not found.total:
        return "Not recorded: " + "; ".join(judged.reasons or ["nothing was observed in this window"])
    scope = f" (in the scope {', '.join(judged.scope)})" if judged.scope else ""
    if away:
        return f"Not in this window: {'; '.join(away)}{scope}"
    return f"{found.sentence}{scope}"
