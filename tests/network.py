"""Network namespaces that a test makes for itself, with their own loopback, resolver and servers, and takes away again."""

from __future__ import annotations

import shutil
import socket
import subprocess
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from tests.cgroups import TestCgroup

T = TypeVar("T")


class NetworkNamespace:
    """A network namespace by `ip netns`; programs in it find `resolver` in their resolv.conf."""

    def __init__(self, resolver: str = "127.0.0.1") -> None:
        self.name = f"firsthand-test-{uuid.uuid4().hex[:10]}"
        self._etc = Path("/etc/netns") / self.name
        self._resolver = resolver

    def __enter__(self) -> NetworkNamespace:
        self._etc.mkdir(parents=True)
        (self._etc / "resolv.conf").write_text(f"nameserver {self._resolver}\noptions timeout:2 attempts:2\n")
        self.ip("netns", "add", self.name)
        self.ip("-n", self.name, "link", "set", "lo", "up")
        return self

    @staticmethod
    def ip(*words: str) -> str:
        """One command of iproute2."""
        return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout

    def command(self, argv: Sequence[str]) -> list[str]:
        """The same command, inside."""
        return ["ip", "netns", "exec", self.name, *argv]

    @property
    def number(self) -> int:
        """Its inode number, as ns_net has it."""
        return (Path("/run/netns") / self.name).stat().st_ino

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], check=False)
        shutil.rmtree(self._etc)


class DnsServer:
    """dnsmasq in a namespace, on loopback, with records of its own and no upstream."""

    def __init__(
        self, cgroup: TestCgroup, namespace: NetworkNamespace, folder: Path, *options: str, address: str = "127.0.0.1"
    ) -> None:
        words = [
            "dnsmasq",
            "--keep-in-foreground",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--conf-file=/dev/null",
        ]
        words += [
            f"--listen-address={address}",
            f"--pid-file={folder / f'{address}.pid'}",
            "--user=root",
            "--log-facility=-",
        ]
        words += ["--local=/example/", *options]
        self.process = cgroup.run(namespace.command(words), stderr=subprocess.PIPE)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if b"started" in line:
                return
        raise AssertionError(f"dnsmasq did not start: {self.process.wait()}")


def until(look: Callable[[], T], process: subprocess.Popen[Any] | None = None) -> T:
    """Look again and again until something is there; while `process` lives."""
    while not (found := look()):
        assert process is None or process.poll() is None
    return found


def free_port() -> int:
    """A port that nobody uses now; in a namespace of one's own it stays so."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
