"""All questions, by name: those of each module of ask/questions/ and those that subjects declare, in the order of their ranks."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.util import find_spec

from firsthand.ask import listing, questions
from firsthand.ask.question import FILTERS, Question

__all__ = ["FILTERS", "QUESTIONS", "Question"]


def _all() -> dict[str, Question]:
    """Returns all questions. Raises ValueError if two modules export the same name."""
    found: dict[str, Question] = listing.questions()
    for module in pkgutil.iter_modules(questions.__path__, f"{questions.__name__}."):
        own: dict[str, Question] = importlib.import_module(module.name).QUESTIONS
        if twice := found.keys() & own.keys():
            raise ValueError(f"{module.name} has a question that another module has: {', '.join(sorted(twice))}")
        found |= own
    return dict(sorted(found.items(), key=lambda one: one[1].rank))


class _Questions(Mapping[str, Question]):
    """All questions. One that has its module's name is found there, and the other modules are not imported for it."""

    @cached_property
    def _every(self) -> dict[str, Question]:
        return _all()

    def __getitem__(self, name: str) -> Question:
        module = f"{questions.__name__}.{name}"
        if "_every" not in vars(self) and name.isidentifier() and find_spec(module):
            own: dict[str, Question] = importlib.import_module(module).QUESTIONS
            if name in own:
                return own[name]
        return self._every[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._every)

    def __len__(self) -> int:
        return len(self._every)


QUESTIONS: Mapping[str, Question] = _Questions()
