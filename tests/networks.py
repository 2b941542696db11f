"""Network namespaces that a test makes for itself, joined by veth pairs, and takes away again."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType


@dataclass(frozen=True)
class Namespace:
    """One of them. `within` is what a command line begins with to run inside."""

    name: str

    @property
    def path(self) -> Path:
        """The file that stands for it."""
        return Path("/run/netns") / self.name

    @property
    def inode(self) -> int:
        """Its number, as in /proc/PID/ns/net."""
        return self.path.stat().st_ino

    @property
    def within(self) -> list[str]:
        return ["ip", "netns", "exec", self.name]

    def ip(self, *words: str) -> str:
        """`ip` on it; CalledProcessError with its words where that fails."""
        return _run("ip", "-n", self.name, *words)

    def set(self, name: str, value: str) -> None:
        """A sysctl of it, such as net.ipv4.ip_forward."""
        self.run("sysctl", "-qw", f"{name}={value}")

    def run(self, *words: str) -> str:
        """A command inside, and what it printed."""
        return _run(*self.within, *words)


def _carries(end: Namespace, name: str) -> None:
    """Wait until the kernel has noticed the other end (net/core/link_watch.c takes up to a second): what is sent before is dropped."""
    until = time.monotonic() + 10
    while "state UP" not in end.ip("link", "show", "dev", name) or "tentative" in end.ip(
        "-6", "addr", "show", "dev", name
    ):
        assert time.monotonic() < until, f"{name} carries nothing"


class TestNetworks:
    """`add` namespaces, `link` two; at the end all are removed, and with them what was made inside."""

    __test__ = False

    def __init__(self) -> None:
        self.prefix = f"firsthand-test-{uuid.uuid4().hex[:8]}"
        self.made: list[Namespace] = []

    def __enter__(self) -> TestNetworks:
        return self

    def add(self, word: str) -> Namespace:
        """A new one, its loopback up. A socket that was closed waits 5 s for its peer's end, not 60: it does so where the peer's answer comes
        while close(2) has the socket (net/ipv4/tcp_input.c, TCP_FIN_WAIT1)."""
        made = Namespace(f"{self.prefix}-{word}")
        _run("ip", "netns", "add", made.name)
        self.made.append(made)
        made.ip("link", "set", "lo", "up")
        made.set("net.ipv4.tcp_fin_timeout", "5")
        return made

    def link(self, one: Namespace, other: Namespace, number: int) -> tuple[str, str]:
        """A veth pair: `to-N` at both ends, with 10.9.N.1 and .2, fd09:N::1 and ::2. The IPv4 addresses are returned."""
        name = f"to-{number}"
        _run("ip", "link", "add", name, "netns", one.name, "type", "veth", "peer", "name", name, "netns", other.name)
        for end, host in ((one, 1), (other, 2)):
            end.ip("addr", "add", f"10.9.{number}.{host}/24", "dev", name)
            end.ip("addr", "add", f"fd09:{number}::{host}/64", "dev", name, "nodad")
            end.ip("link", "set", name, "up")
        for end in (one, other):
            _carries(end, name)
        return f"10.9.{number}.1", f"10.9.{number}.2"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for made in self.made:
            _run("ip", "netns", "del", made.name)


def _run(*words: str) -> str:
    """Debian keeps `ip` and others outside of an ordinary user's path."""
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: exit code {done.returncode}: {done.stderr}"
    return done.stdout
