"""Docker and Podman of the test's own: own root, socket and cgroup; driven over their HTTP sockets, as their own clients do."""

from __future__ import annotations

import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from tests.cgroups import TestCgroup
from tests.pods import image

IMAGE = "docker.io/firsthand/test:latest"
READY_WITHIN = 60.0
#: Below the machine's own: raising a limit wants CAP_SYS_RESOURCE, which may be missing.
LIMITS = [{"Name": "nofile", "Soft": 1024, "Hard": 1024}, {"Name": "nproc", "Soft": 1024, "Hard": 1024}]


class _EngineConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self.path))


class OwnEngine:
    """A daemon that runs until the block ends; then everything that it made is gone."""

    kind = ""

    def __init__(self, cgroup: TestCgroup, folder: Path) -> None:
        self.cgroup = cgroup
        self.folder = folder
        self.socket = folder / f"{self.kind}.sock"
        self.made: list[str] = []

    def command(self) -> list[str]:
        """The daemon's command line."""
        raise NotImplementedError

    def __enter__(self) -> OwnEngine:
        self.folder.mkdir(mode=0o711)
        self._log = (self.folder / "log").open("wb")
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(self.folder)}
        self.process = self.cgroup.run(self.command(), stdout=self._log, stderr=self._log, env=environment)
        handle = os.pidfd_open(self.process.pid)
        try:
            while not self._answers():
                assert not select.select([handle], [], [], 0.05)[0], (self.folder / "log").read_text()
        finally:
            os.close(handle)
        self.load()
        return self

    def _answers(self) -> bool:
        try:
            return self.ask("GET", "/_ping", raw=True) == b"OK"
        except OSError:
            return False

    def load(self) -> None:
        """Bring the image in."""
        layer = image.layer({"etc/passwd": b"root:x:0:0::/:\ninside:x:4321:4321::/:\n"})
        path = f"/images/create?fromSrc=-&repo={quote('docker.io/firsthand/test', safe='')}&tag=latest"
        self.ask("POST", path, layer, {"Content-Type": "application/x-tar"}, raw=True)

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, *, raw: bool = False
    ) -> Any:
        """One request; AssertionError with the answer where it is refused."""
        connection = _EngineConnection(self.socket)
        try:
            if isinstance(body, dict):
                body, headers = json.dumps(body), {"Content-Type": "application/json"}
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status < 400, f"{method} {path}: {answer.status} {text!r}"
            return text if raw else json.loads(text or b"{}")
        finally:
            connection.close()

    def create(self, name: str, *argv: str, labels: dict[str, str] | None = None, user: str = "", **host: Any) -> str:
        """Make a container; `host` are words of HostConfig. Its id."""
        parent = f"/{self.cgroup.name}/{self.kind}"
        config = {"CgroupParent": parent, "NetworkMode": "none", "Ulimits": LIMITS, **host}
        made = {"Image": IMAGE, "Cmd": list(argv), "Labels": labels or {}, "HostConfig": config, "Env": ["PATH=/bin"]}
        made |= {"User": user}
        identity = str(self.ask("POST", f"/containers/create?name={name}", made)["Id"])
        self.made.append(identity)
        return identity

    def run(self, name: str, *argv: str, **more: Any) -> str:
        """Make a container and start it; its id."""
        identity = self.create(name, *argv, **more)
        self.ask("POST", f"/containers/{identity}/start", raw=True)
        return identity

    def wait(self, identity: str) -> None:
        """Until it has ended."""
        self.ask("POST", f"/containers/{identity}/wait", raw=True)

    def remove(self, identity: str) -> None:
        """Kill and forget it."""
        self.ask("DELETE", f"/containers/{identity}?force=true", raw=True)
        self.made.remove(identity)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for identity in list(self.made):
                self.remove(identity)
        finally:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(READY_WITHIN)
            self.cgroup.kill()
            self._log.close()
            for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
                if line.split()[1].startswith(f"{self.folder}/"):
                    subprocess.run(["umount", line.split()[1]], check=True)
            shutil.rmtree(self.folder)


class Docker(OwnEngine):
    """dockerd, with a containerd of its own below it."""

    kind = "docker"

    def command(self) -> list[str]:
        """Without network: neither bridge nor firewall rules."""
        folders = [
            "--data-root",
            f"{self.folder}/root",
            "--exec-root",
            f"{self.folder}/exec",
            "-p",
            f"{self.folder}/pid",
        ]
        network = [
            "--iptables=false",
            "--ip6tables=false",
            "--bridge=none",
            "--exec-opt",
            "native.cgroupdriver=cgroupfs",
        ]
        return ["dockerd", "-H", f"unix://{self.socket}", *folders, *network, "--storage-driver", "overlay2"]


class Podman(OwnEngine):
    """`podman system service`."""

    kind = "podman"

    def words(self, *words: str) -> list[str]:
        """A podman command on the test's own storage."""
        folders = ["--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run", "--tmpdir", f"{self.folder}/tmp"]
        return [
            "podman",
            *folders,
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "file",
            "--storage-driver",
            "overlay",
            *words,
        ]

    def command(self) -> list[str]:
        """Without an end by idleness."""
        return self.words("system", "service", "-t", "0", f"unix://{self.socket}")
