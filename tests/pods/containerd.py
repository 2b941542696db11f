"""A containerd of the test's own, and containers by it: own root, state, socket and runc root, in the test's cgroup.

Containers are made by `ctr`, at cgroup paths that the test chooses, so that every runtime's spelling can be had for real.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tests.cgroups import TestCgroup
from tests.pods import image

IMAGE = "docker.io/firsthand/test:latest"
#: The same, whose processes run as 65534.
AS_NOBODY = "docker.io/firsthand/nobody:latest"
READY_WITHIN = 60.0
#: Where containerd's shims keep their sockets, whatever its configuration (runtime/v2/shim/util_unix.go).
_SHIMS = Path("/run/containerd")
_CONFIG = """version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.tracing"]
[grpc]
address = "{folder}/socket"
[ttrpc]
address = "{folder}/ttrpc"
"""


def new_id() -> str:
    """64 hexadecimal digits, as runtimes name containers."""
    return uuid.uuid4().hex + uuid.uuid4().hex


@dataclass
class Container:
    """One container: its id, cgroup path below each hierarchy's root, and the host's pid of its first process."""

    daemon: Containerd
    id: str
    cgroup: str
    pid: int

    def exec(self, *argv: str) -> str:
        """Run a command inside, as `kubectl exec` does; its output."""
        return self.daemon.ctr("task", "exec", "--exec-id", uuid.uuid4().hex[:8], self.id, *argv)

    def wait(self) -> None:
        """Until its first process has ended."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            assert select.select([handle], [], [], READY_WITHIN)[0], f"container {self.id} does not end"
        finally:
            os.close(handle)

    def remove(self) -> None:
        """Kill what runs in it and forget it."""
        self.daemon.ctr("task", "rm", "-f", self.id)
        self.daemon.ctr("container", "rm", self.id)
        self.daemon.containers.remove(self)


@dataclass
class Containerd:
    """Runs until the block ends, then everything that it made is gone."""

    cgroup: TestCgroup
    folder: Path
    containers: list[Container] = field(default_factory=list)

    def __enter__(self) -> Containerd:
        self._shims_before = set(_SHIMS.rglob("*")) | ({_SHIMS} if _SHIMS.exists() else set())
        self.folder.mkdir(mode=0o711)
        self.namespace = self.folder.name
        (self.folder / "config.toml").write_text(_CONFIG.format(folder=self.folder))
        self._log = (self.folder / "log").open("wb")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(self.folder / "ready"))
            ready.settimeout(READY_WITHIN)
            command = ["containerd", "--config", str(self.folder / "config.toml")]
            environment = {**os.environ, "NOTIFY_SOCKET": str(self.folder / "ready")}
            self.process = self.cgroup.run(command, stdout=self._log, stderr=self._log, env=environment)
            while b"READY=1" not in ready.recv(4096):
                pass
        self._import()
        return self

    def _import(self) -> None:
        program = self.folder / "spawn"
        source = Path(__file__).with_name("programs") / "spawn.c"
        subprocess.run(["gcc", "-static", "-O2", "-o", str(program), str(source)], check=True)
        for name, user in ((IMAGE, "0"), (AS_NOBODY, "65534")):
            image.archive(self.folder / "image.tar", name, {"bin/spawn": program.read_bytes()}, user)
            self.ctr("image", "import", "--snapshotter", "overlayfs", str(self.folder / "image.tar"))

    def command(self, *arguments: str) -> list[str]:
        """The words of a ctr command on this daemon."""
        return ["ctr", "-a", str(self.folder / "socket"), "-n", self.namespace, *arguments]

    def ctr(self, *arguments: str) -> str:
        """Run ctr; its output. AssertionError with what it said where it fails."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"ctr {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def _run_words(
        self, identity: str, cgroup: str, options: Sequence[str], argv: Sequence[str], image_name: str = IMAGE
    ) -> list[str]:
        words = ["run", "--snapshotter", "overlayfs", "--runc-root", str(self.folder / "runc"), "--cgroup", cgroup]
        return [*words, *options, image_name, identity, *argv]

    def path(self, identity: str, pod: str = "") -> str:
        """A pod's container's cgroup as the cgroupfs driver spells it, below the test's cgroup."""
        return f"/{self.cgroup.name}/kubepods/burstable/pod{pod or uuid.uuid4()}/{identity}"

    def container(
        self, *argv: str, options: Sequence[str] = (), cgroup: str = "", identity: str = "", image_name: str = IMAGE
    ) -> Container:
        """Start a container in the background; `cgroup` a path below the hierarchies' roots, a pod's by default."""
        identity = identity or new_id()
        cgroup = cgroup or self.path(identity)
        pid_file = self.folder / f"{identity[:12]}.pid"
        words = ["--detach", "--null-io", "--pid-file", str(pid_file), *options]
        self.ctr(*self._run_words(identity, cgroup, words, argv, image_name))
        made = Container(self, identity, cgroup, int(pid_file.read_text()))
        self.containers.append(made)
        return made

    def foreground(self, identity: str, *argv: str) -> subprocess.Popen[bytes]:
        """A container that is removed at its end; its output is the process's."""
        words = self._run_words(identity, self.path(identity), ["--rm"], argv)
        return subprocess.Popen(self.command(*words), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for one in list(self.containers):
                one.remove()
        finally:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(READY_WITHIN)
            self.cgroup.kill()  # shims that a failed removal left
            self._log.close()
            self._forget()

    def _forget(self) -> None:
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if line.split()[1].startswith(f"{self.folder}/"):
                subprocess.run(["umount", line.split()[1]], check=True)
        shutil.rmtree(self.folder)
        for path in sorted(set(_SHIMS.rglob("*")) - self._shims_before, reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        if _SHIMS not in self._shims_before and _SHIMS.exists():
            _SHIMS.rmdir()
