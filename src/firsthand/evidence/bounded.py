"""Verifying a stranger's bundle within bounds: in a child process with so much memory and processor time, and no more.

A Parquet file of some megabytes can unpack without end (run lengths, dictionaries), so what is read is not bounded by what is sent.
Limits: setrlimit(2), RLIMIT_DATA (private writable memory, since Linux 4.7) and RLIMIT_CPU (SIGXCPU, then SIGKILL).
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from firsthand.errors import DamagedError, FirsthandError, HistoryError
from firsthand.evidence.verdict import BundleVerdict
from firsthand.history.store.chain import Head

#: Bytes of memory.
MEMORY = 4 << 30
#: Seconds of processor time: for any bundle, and for so many bytes of it one more.
SECONDS, BYTES_A_SECOND = 20, 4 << 20


def check(path: Path, known: Sequence[Head] = (), digest: str | None = None) -> BundleVerdict:
    """As checking.check, in a child. DamagedError where the bundle takes more than the bounds, else that child's own error."""
    from firsthand.evidence import checking

    return _within(path, _seconds(path), lambda: checking.check(path, known, digest))


def _seconds(path: Path) -> int:
    try:
        return SECONDS + path.stat().st_size // BYTES_A_SECOND
    except OSError as error:
        raise HistoryError(f"{path}: the bundle cannot be read ({error.strerror})") from error


def _within(path: Path, seconds: int, run: Callable[[], BundleVerdict]) -> BundleVerdict:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _serve(writing, seconds, run)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as file:
            told = file.read()
    except BaseException:  # Ctrl-C: the child has nobody to tell
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(child, 0)
    return _told(path, seconds, told, status)


def _serve(writing: int, seconds: int, run: Callable[[], BundleVerdict]) -> None:
    """The child: the verdict, or the error, to the parent; nothing of the parent's is run at its end."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    try:
        found: Any = run()
    except FirsthandError as error:
        found = error
    except BaseException as error:
        found = DamagedError(f"the bundle cannot be read ({error!r:.200})")
    try:
        with os.fdopen(writing, "wb") as file:
            pickle.dump(found, file)
    finally:
        os._exit(0)


def _told(path: Path, seconds: int, told: bytes, status: int) -> BundleVerdict:
    if not told:
        ended = (
            signal.Signals(os.WTERMSIG(status)).name
            if os.WIFSIGNALED(status)
            else f"exit code {os.waitstatus_to_exitcode(status)}"
        )
        raise DamagedError(
            f"{path}: refused: verifying it took more than {seconds} s of processor time or {MEMORY >> 30} GiB of memory ({ended}); "
            "a bundle of its size takes less"
        )
    found = pickle.loads(told)
    if isinstance(found, BaseException):
        raise found
    assert isinstance(found, BundleVerdict)
    return found
