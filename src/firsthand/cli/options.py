"""Options that several verbs share."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from firsthand import settings
from firsthand.errors import FirsthandError, UsageError
from firsthand.settings.sections.top import Top

_Function = TypeVar("_Function", bound=Callable[..., Any])
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
#: Seconds of a duration, at most: a hundred years.
LONGEST = 100 * 366 * 86400
FORMATS = ("table", "wide", "json", "jsonl", "csv", "parquet")


def history_option(function: _Function) -> _Function:
    """--history, with its variable."""
    return click.option(
        "--history",
        type=click.Path(path_type=Path, readable=False),
        help="The history's folder. [env: FIRSTHAND_HISTORY]",
    )(function)


def verbose_option(function: _Function) -> _Function:
    """--verbose: who answered."""
    return click.option("--verbose", is_flag=True, help="Say whether the reader answered, and why not.")(function)


def tell(verbose: bool, text: str) -> None:
    """Say it on standard error, where that is wanted."""
    if verbose:
        print(f"firsthand: {text}", file=sys.stderr)


def output_option(*formats: str) -> Callable[[_Function], _Function]:
    """-o, of these formats, the first being the default."""
    return click.option(
        "-o", "--output", type=click.Choice(formats), default=formats[0], help="The form of the output."
    )


def place(given: Path | None) -> Path:
    """The history in force: the option, the variable, the settings file, the default."""
    from firsthand.history.place import default_directory

    if given is not None:
        return given
    named = os.environ.get("FIRSTHAND_HISTORY") or settings.load()[Top].history
    return Path(named) if named else default_directory()


def unchecked(given: Path | None) -> Path:
    """The same for whoever may do without: an empty path, in which there is no history, where `place` has an error."""
    try:
        return place(given)
    except FirsthandError:
        return Path()


def nobody_reads(directory: Path, verbose: bool) -> bool:
    """Whether a history has no reader, which `verbose` says. Where it may have one, the reader's client finds out."""
    from firsthand.reader.place import absent

    found = directory.is_absolute() and absent(directory)
    tell(verbose and found, "the history is read here, without the reader: there is none")
    return found


def seconds(text: str) -> float:
    """A duration such as 30s, 5m, 2h, 30d, 1.5h. UsageError for anything else, and for more than LONGEST."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", text.strip())
    length = float(found[1]) * _UNITS[found[2] or "s"] if found else math.inf
    if length > LONGEST:
        raise UsageError(f"{text!r:.80} is no duration; write 30s, 5m, 2h or 30d")
    return length


def moment(text: str, now: datetime) -> datetime:
    """A moment: a duration ago, or an ISO time (UTC where it has no zone). UsageError for anything else, and for no year of a calendar."""
    if text == "now":
        return now
    if re.fullmatch(r"\d+(?:\.\d+)?[smhdw]", text.strip()):
        return now - timedelta(seconds=seconds(text))
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r:.80} is no time; write 30d, 2h, or an ISO time such as 2026-05-01T12:00Z") from None
