"""A process inside a test's cgroup and network namespace that does what the test tells it, step by step."""

from __future__ import annotations

import json
import subprocess
import textwrap
from pathlib import Path
from typing import Any

from tests.cgroups import TestCgroup
from tests.networks import Namespace

_PROGRAM = Path(__file__).with_name("programs") / "agent.py"
#: The interpreter as the kernel names it.
EXE = Path("/usr/bin/python3").resolve()


class RefusedCall(Exception):
    """What an agent was told raised an exception there, `name`."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name


class Agent:
    """Statements go in by `do`, which returns what the last of them is worth (as JSON can say it)."""

    def __init__(self, cgroup: TestCgroup, namespace: Namespace | None = None, **options: Any) -> None:
        within = namespace.within if namespace else []
        command = [*within, str(EXE), "-I", "-S", str(_PROGRAM)]
        self.process = cgroup.run(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
        self.pid = self.process.pid
        self.do("None")  # the program runs: whatever `ip` did before is over

    def do(self, code: str) -> Any:
        """Refused where it raised."""
        self.begin(code)
        return self.end()

    def begin(self, code: str) -> None:
        """Tell it, and go on; `end` waits for the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(textwrap.dedent(code)).encode() + b"\n")
        self.process.stdin.flush()

    def end(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the agent ended, exit code {self.process.wait()}"
        done, *said = json.loads(line)
        if not done:
            raise RefusedCall(*said)
        return said[0]

    def leave(self) -> None:
        """Its end, with all that it holds."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait() == 0


def listening(agent: Agent, family: str = "AF_INET") -> tuple[int, int]:
    """Port and cookie of a new listener `l`, on every address."""
    told = f"l = socket.socket(socket.{family}); l.bind(('', 0)); l.listen(); l.getsockname()[1], cookie(l)"
    port, cookie = agent.do(told)
    return port, cookie


def connected(client: Agent, host: str, port: int) -> int:
    """The cookie of a new connection `s`."""
    cookie: int = client.do(f"s = socket.create_connection(('{host}', {port})); cookie(s)")
    return cookie
