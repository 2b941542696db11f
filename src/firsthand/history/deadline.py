"""How long a connection may work on what a user asked, checks and tables that are made for it included."""

from __future__ import annotations

import contextlib
import threading

from firsthand.history.engine import duckdb

#: Seconds between two interrupts when the time is over: one that comes between two statements stops neither.
AGAIN = 0.05


class Deadline:
    """Interrupts what a connection runs after some seconds, from now on until `end`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, seconds: float) -> None:
        self.seconds = seconds
        self._connection = connection
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="deadline", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        wait = self.seconds
        while not self._ended.wait(wait):
            with contextlib.suppress(duckdb.Error):
                self._connection.interrupt()
            wait = AGAIN

    def end(self) -> None:
        """The work is done or given up. May be called twice."""
        self._ended.set()
        self._thread.join()
