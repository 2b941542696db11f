"""roles/checker.py: the process without its wall, which tests/kernel/confine/test_wall.py has."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

from firsthand.content.checker import CheckerOptions


def test_it_reports_and_ends_with_its_input(tmp_path: Path) -> None:
    """Law: a round is reported; without an observer it waits, and it ends when its standard input does."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    options = CheckerOptions(10, (), (str(tmp_path / "none"),), default=False)
    assert CheckerOptions.decode(options.encode()) == options
    with its:
        command = [sys.executable, "-m", "firsthand.roles.checker", options.encode(), str(its.fileno())]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[its.fileno()])
    with ours:
        while (told := json.loads(ours.recv(1 << 16)))["event"] != "round":
            assert told["event"] in ("beat", "listed")
        assert (told["checked"], told["unchecked"]) == (0, 0)
    assert process.poll() is None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait() == 0
