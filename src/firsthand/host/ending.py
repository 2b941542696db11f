"""How a process of ours is told to end."""

from __future__ import annotations

import os
import signal
import stat

#: Exit code of a process that ended because it has nothing to do for long, and is to be started again when it has.
RESTS = 75


def stops() -> list[int]:
    """Descriptors that end the run: the pipe that signals write to, and standard input where it is a pipe or socket."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(writing, b"."))
    mode = os.fstat(0).st_mode
    return [reading, 0] if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else [reading]
