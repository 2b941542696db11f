"""The names that a mistyped one may have meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(text: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Up to `most` of the known names: those that begin with the text or hold it, then those that are spelled alike."""
    every = sorted(set(known))
    lower = text.lower()
    found = [one for one in every if lower and one.lower().startswith(lower)]
    found += [one for one in every if lower and lower in one.lower() and one not in found]
    found += [one for one in get_close_matches(text, every, most, 0.6) if one not in found]
    return found[:most]


def meant(text: str, known: Iterable[str]) -> str:
    """`; did you mean ...?`, or nothing where no name is near."""
    found = nearest(text, known)
    return f"; did you mean {' or '.join(found)}?" if found else ""
