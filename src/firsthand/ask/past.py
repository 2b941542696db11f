"""How much the history holds from before a window, for questions that compare the window with it."""

from __future__ import annotations

from datetime import timedelta

from firsthand.ask import completeness
from firsthand.ask.answer import Asked, iso

#: Less than this says little of what is usual.
LEAST = timedelta(days=1)


def length(asked: Asked) -> timedelta:
    """From the history's first sign of an observer to the window."""
    begins = min((span.begin for span in completeness.spans(asked.connection, asked.window.until)), default=None)
    return max(asked.window.since - begins, timedelta(0)) if begins is not None else timedelta(0)


def reasons(asked: Asked) -> list[str]:
    """Why a comparison says less than it seems to."""
    found = length(asked)
    if found >= LEAST:
        return []
    begins = iso(asked.window.since)
    if not found:
        return [f"nothing was recorded before the window's begin at {begins}: there is no past to compare with"]
    return [f"only {words(found)} were recorded before the window's begin at {begins}: what is usual is hardly known"]


def words(found: timedelta) -> str:
    """A length of time to be read."""
    hours = found.total_seconds() / 3600
    if hours >= 48:
        return f"{hours / 24:.0f} days"
    return f"{hours:.0f} hours" if hours >= 2 else f"{hours * 60:.0f} minutes"
