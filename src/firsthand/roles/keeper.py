"""The keeper: a process that hands the durable log over to Parquet segments (`python -m firsthand.roles.keeper --history DIR`)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from firsthand import settings
from firsthand.errors import FirsthandError
from firsthand.history import place
from firsthand.history.keep.keeper import EVERY, GRACE, LINGER, Keeper, run
from firsthand.history.keep.patience import begun
from firsthand.host import ending
from firsthand.host.ending import RESTS
from firsthand.settings.sections.integrity import Integrity
from firsthand.settings.sections.retention import Limits


def main(arguments: list[str]) -> int:
    """The keeper process: 0 after its last pass, RESTS where it rests, 1 with a message where it cannot keep."""
    parser = argparse.ArgumentParser(prog="python -m firsthand.roles.keeper", description=__doc__.splitlines()[0])
    parser.add_argument("--history", type=Path, default=None, help="the history's directory")
    parser.add_argument("--every", type=float, default=EVERY, help="seconds between looks at the log, at most 10")
    parser.add_argument(
        "--linger", type=float, default=LINGER, help="seconds that a log file stays after its hand-over"
    )
    parser.add_argument("--grace", type=float, default=GRACE, help="seconds that rows wait in the log for their names")
    parser.add_argument("--heads", type=Path, help="a file outside the history to which the chain's head is appended")
    parser.add_argument("--limits", help="the section retention as JSON; the settings file's by default")
    parser.add_argument(
        "--scrub-days", type=int, help="days in which all is read again; the settings file's by default"
    )
    parser.add_argument("--rests", action="store_true", help=f"end with exit code {RESTS} where little happens")
    options = parser.parse_args(arguments)
    stops = ending.stops()
    try:
        limits = _limits(options.limits) if options.limits else settings.load()[Limits]
        history = options.history or place.default_directory()
        times = {"linger": options.linger, "grace": options.grace}
        times["scrub_days"] = options.scrub_days or settings.load()[Integrity].scrub_days
        keeper = begun(lambda: Keeper(history, **times, limits=limits, heads=options.heads), "keeper", stops)
        if keeper is not None:
            rests = run(keeper, min(options.every, 10.0), stops, rests=options.rests)
            keeper.close(rests=rests)
            return RESTS if rests else 0
    except FirsthandError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _limits(text: str) -> Limits:
    return msgspec.json.decode(text, type=Limits)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
