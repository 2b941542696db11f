"""The reader's process (`python -m firsthand.roles.reader DIRECTORY IDLE [DESCRIPTOR]`). Its working directory is the history.

DESCRIPTOR is a listening socket; without it systemd passed one (sd_listen_fds(3)). The process ends at SIGTERM, at the end of its
standard input if that is a pipe, and, with the exit code RESTS, after IDLE seconds without a question.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from firsthand.confine import rights
from firsthand.errors import UsageError
from firsthand.host import ending
from firsthand.reader.serving import Reader

#: SD_LISTEN_FDS_START.
_FIRST = 3


def _listening(given: list[str]) -> socket.socket:
    if given:
        return socket.socket(fileno=int(given[0]))
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        raise UsageError("the reader is given its socket by `firsthand run` or by systemd; see docs/reader.md")
    return socket.socket(fileno=_FIRST)


def main(arguments: list[str]) -> int:
    """Returns 0 after a request to end, ending.RESTS if it ended because there was no question."""
    directory, idle, *given = arguments
    rights.leave_no_core()
    reader = Reader(_listening(given), Path(directory), float(idle))
    return ending.RESTS if reader.serve(ending.stops()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
