"""The loader: the one process with great capabilities, and a short-lived one (`python -m firsthand.roles.loader OPTIONS SOCKET`).

It mounts the BPF filesystem, loads, attaches, pins or takes over, hands descriptors to the observer through the socket, and ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys

from firsthand.errors import FirsthandError
from firsthand.observe.options import ObserverOptions, decode
from firsthand.probe import handover, load


def main(arguments: list[str]) -> int:
    """0 after handing over; 1 with one JSON line on standard output where it could not."""
    options = decode(ObserverOptions, arguments[0])
    try:
        load.check_machine()
        loaded = load.bring_in(options.load_options())
        try:
            handover.hand_over(loaded, socket.socket(fileno=int(arguments[1])))
        finally:
            loaded.forget()
    except BrokenPipeError:  # the observer has died meanwhile, and is seen to by the supervisor
        return 1
    except (FirsthandError, OSError) as error:
        _tell(error)
        return 1
    return 0


def _tell(error: Exception) -> None:
    """Say it to the supervisor; where nobody listens any more, observer and supervisor are gone or begin anew."""
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps({"event": "failed", "kind": type(error).__name__, "error": str(error)}), flush=True)
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the end flushes once more


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
