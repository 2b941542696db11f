"""The checker: a process that compares cached pages of files with the disk (`python -m firsthand.roles.checker OPTIONS SOCKET`)."""

from __future__ import annotations

import gc
import select
import socket
import sys

from firsthand.confine import rights
from firsthand.content.checker import Checker, CheckerOptions, Pace, Reports
from firsthand.content.compare import Comparer
from firsthand.host import ending

#: CAP_FOWNER of linux/capability.h.
_FOWNER = 3


def main(arguments: list[str]) -> int:
    """The checker process: 0 after an orderly end."""
    stops = ending.stops()
    line = Reports(socket.socket(fileno=int(arguments[1])), stops)
    comparer = Comparer(owner_of_all=bool(rights.held() >> _FOWNER & 1))
    gc.freeze()
    checker = Checker(CheckerOptions.decode(arguments[0]), line, comparer, Pace())
    checker.run()
    select.select(stops, [], [])  # without an observer it waits for its end: the supervisor starts it with the next one
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
