"""A command on a terminal of a given width."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import subprocess
import termios
import threading
import tty
from collections.abc import Mapping, Sequence


def run(command: Sequence[str], env: Mapping[str, str], columns: int) -> subprocess.CompletedProcess[str]:
    """What it wrote to the terminal, its standard output, as it wrote it; its standard error is a pipe."""
    ours, its = pty.openpty()
    tty.setraw(its)
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    kept = {name: value for name, value in env.items() if name != "COLUMNS"}
    shown = io.BytesIO()
    with subprocess.Popen(command, stdout=its, stderr=subprocess.PIPE, env=kept) as process:
        os.close(its)
        reader = threading.Thread(target=_read, args=(ours, shown))
        reader.start()
        assert process.stderr is not None
        said = process.stderr.read().decode()
        reader.join()
    os.close(ours)
    return subprocess.CompletedProcess(command, process.returncode, shown.getvalue().decode(), said)


def _read(terminal: int, to: io.BytesIO) -> None:
    try:
        while part := os.read(terminal, 65536):
            to.write(part)
    except OSError:  # EIO: nobody has the other end any more
        pass
