"""The follower: a process that asks container runtimes for names (`python -m firsthand.roles.follower '{"history": ...}'`)."""

from __future__ import annotations

import sys
from pathlib import Path

from firsthand.errors import FirsthandError
from firsthand.history import place
from firsthand.history.keep.patience import begun
from firsthand.host import ending
from firsthand.observe.follower import Follower
from firsthand.observe.options import FollowerOptions, decode


def main(arguments: list[str]) -> int:
    """The follower process: 0 after an orderly end, 1 with a message where it cannot follow."""
    options = decode(FollowerOptions, arguments[0])
    stops = ending.stops()
    try:
        place.create(Path(options.history))
        follower = begun(lambda: _opened(options), "follower", stops)
    except FirsthandError as error:
        print(f"follower: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    if follower is not None:
        follower.run(stops)
        follower.close()
    return 0


def _opened(options: FollowerOptions) -> Follower:
    follower = Follower(options)
    follower.open()
    return follower


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
