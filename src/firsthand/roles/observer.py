"""The observer: a process that brings what the rings hold into the log (`python -m firsthand.roles.observer OPTIONS SOCKET CONTROL CHECKS`)."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys

from firsthand.errors import FirsthandError
from firsthand.observe.observer import Observer, tell
from firsthand.observe.options import ObserverOptions, decode
from firsthand.probe import handover


def main(arguments: list[str]) -> int:
    """The observer process: 0 after an orderly end, 1 with an error line where it could not observe."""
    options = decode(ObserverOptions, arguments[0])
    source = socket.socket(fileno=int(arguments[1]))
    others = [socket.socket(fileno=int(one)) for one in arguments[2:4]]
    reading, writing = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(writing, b"stop\n"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return _observe(options, [source, *others], reading)
    except (FirsthandError, OSError) as error:
        tell({"event": "failed", "kind": type(error).__name__, "error": str(error)})
        return 1


def _observe(options: ObserverOptions, sockets: list[socket.socket], stop: int) -> int:
    source, *others = sockets
    observer = Observer(options, *others)
    try:
        observer.open(handover.receive(source))
        source.close()
        observer.read_existing()
        tell(observer.report("reading"))  # rounds of canaries begin now: what runs already is none of them
        observer.prove()
        gc.freeze()
        tell(observer.report("ready"))
        word = observer.run(stop)
        observer.close(word)
        tell(observer.report("stopped"))
    finally:
        observer.forget()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
