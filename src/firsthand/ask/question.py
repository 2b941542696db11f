"""The declaration of a question. Each module of ask/questions/ exports `QUESTIONS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from firsthand.ask.answer import Asked, Found
from firsthand.ask.predicate import Predicate
from firsthand.ask.reliance import Relies

#: Fields of a request that can narrow every question.
FILTERS = ("namespace", "pod", "selector", "node")
#: No limit on the number of arguments.
ANY = 1_000


@dataclass(frozen=True)
class Question:
    """A question: its help text, its usage, the function that answers it, and the tables that it reads.

    `takes`: the least and the most arguments. `subject`: the argument is a pod, a container or a process. `filters`: fields of a request
    that narrow it. `options`: fields of a request that only some questions have. `predicates`: columns that its arguments can be
    conditions on. `relies`: columns by which it chooses rows, with the kinds of rows that fill them. `arguments_matter`, `names_matter`:
    the answer depends on arguments, on names of containers.

    `running`: it needs the processes that ran at the window's begin; `lasting`: the connections that were open then. `standing`: it needs
    the sockets that were open at the window's end. `whole`: tables of what settings choose count only if they were on.
    `recent`: the length of its window without --since, at most half of the history. `compares`: it compares the window with all of the
    record before it. `moment`: it is about one moment (--at). `draws`: it has a graph. `rank`: its place in lists of questions.
    """

    doc: str
    usage: str
    answer: Callable[[Asked], Found]
    needs: tuple[str, ...]
    arguments_matter: bool = False
    names_matter: bool = False
    running: bool = False
    lasting: bool = False
    standing: bool = False
    whole: bool = False
    recent: timedelta | None = None
    compares: bool = False
    moment: bool = False
    draws: bool = False
    takes: tuple[int, int] = (0, 0)
    subject: bool = False
    filters: tuple[str, ...] = FILTERS
    options: frozenset[str] = frozenset()
    predicates: Callable[[], dict[str, Predicate]] = dict
    relies: tuple[Relies, ...] = ()
    rank: int = 1_000
