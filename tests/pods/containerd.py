"""A containerd of the test's own, and containers by it: own root, state, socket and runc root, in the test's cgroup.

Containers are made by `ctr`, at cgroup paths that the test chooses, so that every runtime's spelling can be had for real.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.cgroups import TestCgroup
from tests.pods import image

IMAGE = "docker.io/firsthand/test:latest"
#: The same, whose processes run as 65534.
AS_NOBODY = "docker.io/firsthand/nobody:latest"
READY_WITHIN = 60.0
#: runc takes what is mounted at /sys/fs/cgroup for the machine's layout (libcontainer/cgroups: IsCgroup2UnifiedMode).
_OWN = ["unshare", "--mount", "sh", "-c"]
_LAYOUTS = {
    "": [],
    "v2": [*_OWN, 'mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup && exec "$0" "$@"'],
    "v1": [*_OWN, 'umount /sys/fs/cgroup/unified && exec "$0" "$@"'],
}
#: Where v2 carries no controllers, v1 having them all, runc cannot set limits there: a container is made without any.
_UNLIMITED = """#!/bin/sh
for word; do [ "$last" = --bundle ] && bundle=$word; last=$word; done
[ -n "$bundle" ] && python3 -c 'import json, sys
with open(sys.argv[1], "r+") as file:
    spec = json.load(file)
    spec["linux"]["resources"] = {"devices": [{"allow": True, "access": "rwm"}]}
    file.seek(0)
    json.dump(spec, file)
    file.truncate()' "$bundle/config.json"
exec runc "$@"
"""
PAUSE = "docker.io/firsthand/pause:latest"
#: Pods' addresses; the bridge is the test's own.
SUBNET = "10.213.77.0/26"
#: Where libcni keeps what plugins answered, whatever the configuration: NETWORK-CONTAINER-INTERFACE (libcni/api.go).
_ANSWERS = Path("/var/lib/cni/results")
#: Where a shim says which socket is its own, below the daemon's state: NAMESPACE/CONTAINER/address (runtime/v2/shim/util_unix.go).
_SHIMS = "io.containerd.runtime.v2.task/*/*/address"
_CONFIG = """version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [{disabled}"io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
    "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.tracing"]
[grpc]
address = "{folder}/socket"
[ttrpc]
address = "{folder}/ttrpc"
"""
_DISABLED = '"io.containerd.grpc.v1.cri", '
#: Pods by CRI: names local to the test, no AppArmor, no raised OOM score (CAP_SYS_RESOURCE may be missing).
_CRI = """[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
Root = "{folder}/runc"
BinaryName = "{runc}"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{folder}/cni"
"""
_CNI = {
    "cniVersion": "0.4.0",
    "plugins": [
        {"type": "bridge", "isGateway": True, "ipMasq": False, "hairpinMode": False, "ipam": {"type": "host-local"}}
    ],
}
#: Through a node's namespace: each pod by a pair of its own, routed, as most clusters do it.
_ROUTED = {"type": "ptp", "ipMasq": False, "ipam": {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}]}}


def new_id() -> str:
    """64 hexadecimal digits, as runtimes name containers."""
    return uuid.uuid4().hex + uuid.uuid4().hex


@dataclass
class Container:
    """One container: its id, cgroup path below each hierarchy's root, and the host's pid of its first process."""

    daemon: OwnContainerd
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
class OwnContainerd:
    """Runs until the block ends, then everything that it made is gone."""

    cgroup: TestCgroup
    folder: Path
    cri: bool = False
    #: How /sys/fs/cgroup looks to the runtime: as on this machine, or, in a mount namespace of its own, v2 alone or v1 alone.
    layout: str = ""
    #: As a node has /run/containerd: the socket has its usual name.
    node: bool = False
    #: The network namespace, by its name in /run/netns, that stands for the node's: the runtime runs in it and pods are routed through it.
    network: str = ""
    containers: list[Container] = field(default_factory=list)

    def __enter__(self) -> OwnContainerd:
        self.folder.mkdir(mode=0o711)
        if self.node:
            (self.folder / "containerd.sock").symlink_to("socket")
        self.namespace = "k8s.io" if self.cri else self.folder.name
        self._configure()
        self._log = (self.folder / "log").open("wb")
        self.start()
        self._import()
        return self

    def _configure(self) -> None:
        text = _CONFIG.format(folder=self.folder, disabled="" if self.cri else _DISABLED)
        if self.cri:
            runc = self.folder / "runc-unlimited"
            runc.write_text(_UNLIMITED)
            runc.chmod(0o755)
            text += _CRI.format(folder=self.folder, pause=PAUSE, runc=runc if self.layout == "v2" else "runc")
            self.bridge = f"fh{self.folder.name[-12:]}"[:15]
            network: dict[str, Any] = {**json.loads(json.dumps(_CNI)), "name": self.folder.name}
            plugin = network["plugins"][0]
            if self.network:
                plugin = network["plugins"][0] = json.loads(json.dumps(_ROUTED))
            else:
                plugin["bridge"] = self.bridge
            plugin["ipam"] |= {"subnet": SUBNET, "dataDir": str(self.folder / "ipam")}
            (self.folder / "cni").mkdir()
            (self.folder / "cni" / "10-test.conflist").write_text(json.dumps(network))
        (self.folder / "config.toml").write_text(text)

    def stop(self) -> None:
        """End the daemon; its containers go on."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(READY_WITHIN)

    def start(self) -> None:
        """Start the daemon, and wait until it is ready."""
        (self.folder / "ready").unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(self.folder / "ready"))
            ready.settimeout(READY_WITHIN)
            within = ["nsenter", f"--net=/run/netns/{self.network}"] if self.network else []
            command = [*within, *_LAYOUTS[self.layout], "containerd", "--config", str(self.folder / "config.toml")]
            environment = {**os.environ, "NOTIFY_SOCKET": str(self.folder / "ready")}
            self.process = self.cgroup.run(command, stdout=self._log, stderr=self._log, env=environment)
            while b"READY=1" not in ready.recv(4096):
                pass

    def _import(self) -> None:
        programs = {f"bin/{name}": self._program(name) for name in ("spawn", "pause")}
        kinds = ((IMAGE, "0", "/bin/sh"), (AS_NOBODY, "65534", "/bin/sh"), (PAUSE, "65535", "/bin/pause"))
        for name, user, command in kinds:
            image.archive(self.folder / "image.tar", name, programs, user, command)
            self.ctr("image", "import", "--snapshotter", "overlayfs", str(self.folder / "image.tar"))

    def _program(self, name: str) -> bytes:
        """One of programs/, linked statically."""
        source, target = Path(__file__).with_name("programs") / f"{name}.c", self.folder / name
        subprocess.run(["gcc", "-static", "-O2", "-o", str(target), str(source)], check=True)
        return target.read_bytes()

    def command(self, *arguments: str) -> list[str]:
        """The words of a ctr command on this daemon."""
        return ["ctr", "-a", str(self.folder / "socket"), "-n", self.namespace, *arguments]

    def next_address(self, address: str) -> None:
        """The pod that is made next gets this one, where it is free (host-local goes on behind the last one that it gave)."""
        (self.folder / "ipam" / self.folder.name / "last_reserved_ip.0").write_text(str(IPv4Address(address) - 1))

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
            if self.process.poll() is None:
                self.stop()
            self.cgroup.kill()  # shims that a failed removal left
            self._log.close()
            self._forget()

    def sockets(self) -> list[Path]:
        """Those of its shims, by which the daemon finds them again."""
        return [Path(told.read_text().removeprefix("unix://")) for told in (self.folder / "state").glob(_SHIMS)]

    def _forget(self) -> None:
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            if line.split()[1].startswith(f"{self.folder}/"):
                subprocess.run(["umount", line.split()[1]], check=True)
        sockets = self.sockets()
        shutil.rmtree(self.folder)
        if self.cri and Path(f"/sys/class/net/{self.bridge}").exists():
            subprocess.run(["ip", "link", "delete", self.bridge], check=True)
        for path in [*sockets, *_ANSWERS.glob(f"{self.folder.name}-*")]:
            path.unlink(missing_ok=True)
