"""All questions, by name: those of each module of ask/questions/ and those that subjects declare, in the order of their ranks."""

from __future__ import annotations

import importlib
import pkgutil

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


QUESTIONS = _all()
